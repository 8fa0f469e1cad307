"""The images of each class as `python -m fastgan.cluster` prints them.

Legend: N images, K codes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet
from fastgan.text import pluralize, printable

SHOWN = 30  # classes that get a line
NAME = 24  # letters of a label


def class_table(
    codes_N: Tensor,
    confidences_N: Tensor,
    classes: int,
    labelled: ImageSet | None = None,
    names: Mapping[int, str] | None = None,
) -> str:
    """A line for each class with images, the largest first: how many, their share, and Q's mean confidence.

    Classes with the same name share a line, with the numbers of all of them.

    Args:
        codes_N, confidences_N: Q's code, int64, and its probability, on the CPU.
        classes: K.
        labelled: the images if they have labels, for the commonest label of each class and its share.
        names: of the classes that have one, for a last column.
    """
    if names:
        codes_N, numbers = _merged(codes_N, names)
    else:
        numbers = {}
    counts_K = torch.bincount(codes_N, minlength=classes)
    sums_K = torch.bincount(codes_N, confidences_N.double(), minlength=classes)
    order = [k for k in counts_K.argsort(descending=True, stable=True).tolist() if counts_K[k]]
    lines = [f"  {'class':>5}  {'images':>9}  {'share':>6}  {'confidence':>10}" + ("  mostly" if labelled else "")]
    lines[0] += "  name" if names else ""
    for k in order[:SHOWN]:
        count = int(counts_K[k])
        sure = float(sums_K[k]) / count
        line = f"  {numbers.get(k, str(k)):>5}  {count:>9,}  {count / len(codes_N):>6.1%}  {sure:>10.2f}"
        line += "" if labelled is None else f"  {_mostly(labelled, codes_N == k)}"
        lines.append(line + (f"  {_short(names[k])}" if names and k in names else ""))
    if rest := order[SHOWN:]:
        count = int(counts_K[rest].sum())
        found = pluralize(len(rest), "smaller class", "smaller classes")
        lines.append(f"  and {found} of {count:,} images ({count / len(codes_N):.1%})")
    return "\n".join(lines)


def _merged(codes_N: Tensor, names: Mapping[int, str]) -> tuple[Tensor, dict[int, str]]:
    """The codes, in which classes with the same name have the first one's number, and the numbers of each such class
    in words."""
    by_name: dict[str, list[int]] = {}
    for code, name in sorted(names.items()):
        by_name.setdefault(name, []).append(code)
    codes_N = codes_N.clone()
    for first, *others in by_name.values():
        for code in others:
            codes_N[codes_N == code] = first
    return codes_N, {own[0]: "+".join(map(str, own)) for own in by_name.values()}


def _short(name: str) -> str:
    """A name on one line, cut where it is long."""
    name = printable(name)
    return name if len(name) <= NAME else f"{name[: NAME - 3]}..."


def _mostly(images: ImageSet, chosen_N: Tensor) -> str:
    """The commonest label of the chosen images, and its share."""
    assert images.labels is not None
    counts = np.bincount(images.labels[chosen_N].numpy(), minlength=images.label_count)
    label = int(counts.argmax())
    name = str(label) if images.class_names is None else images.class_names[label]
    return f"{_short(name)} ({counts[label] / counts.sum():.0%})"
