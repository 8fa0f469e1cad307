"""The images of each class as `python -m fastgan.cluster` prints them.

Legend: N images, K codes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet
from fastgan.text import pluralize, printable

SHOWN = 30  # classes that get a line
NAME = 24  # letters of a label


def class_table(codes_N: Tensor, confidences_N: Tensor, classes: int, labelled: ImageSet | None = None) -> str:
    """A line for each class with images, the largest first: how many, their share, and Q's mean confidence.

    Args:
        codes_N, confidences_N: Q's code, int64, and its probability, on the CPU.
        classes: K.
        labelled: the images if they have labels, for the commonest label of each class and its share.
    """
    counts_K = torch.bincount(codes_N, minlength=classes)
    sums_K = torch.bincount(codes_N, confidences_N.double(), minlength=classes)
    order = [k for k in counts_K.argsort(descending=True, stable=True).tolist() if counts_K[k]]
    lines = [f"  {'class':>5}  {'images':>9}  {'share':>6}  {'confidence':>10}" + ("  mostly" if labelled else "")]
    for k in order[:SHOWN]:
        count = int(counts_K[k])
        line = f"  {k:>5}  {count:>9,}  {count / len(codes_N):>6.1%}  {float(sums_K[k]) / count:>10.2f}"
        lines.append(line + ("" if labelled is None else f"  {_mostly(labelled, codes_N == k)}"))
    if rest := order[SHOWN:]:
        count = int(counts_K[rest].sum())
        found = pluralize(len(rest), "smaller class", "smaller classes")
        lines.append(f"  and {found} of {count:,} images ({count / len(codes_N):.1%})")
    return "\n".join(lines)


def _mostly(images: ImageSet, chosen_N: Tensor) -> str:
    """The commonest label of the chosen images, and its share."""
    assert images.labels is not None
    counts = np.bincount(images.labels[chosen_N].numpy(), minlength=images.label_count)
    label = int(counts.argmax())
    name = str(label) if images.class_names is None else printable(images.class_names[label])
    name = name if len(name) <= NAME else f"{name[: NAME - 3]}..."
    return f"{name} ({counts[label] / counts.sum():.0%})"
