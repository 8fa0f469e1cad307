"""Whether images are like those that a run was trained on, as far as simple figures tell.

A run keeps a `Look` of its training images: the share with colours, and of each figure below the range of all but one
image in 200. Other images are unlike them where more than half of the other images
1. have colours, or have none, and at most one training image in 50 was so; or
2. lie outside the range of a figure, widened on both sides by a quarter of its width, by MARGIN levels at least.

So a run's own images, held-out ones and any one class of them raise no alarm, and few images as little as many; and
images of another kind whose figures are similar are not noticed.

Legend: N images, n those that are looked at, C channels, S the side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgan.data.facts import COLOURED, chroma
from fastgan.data.image_set import ImageSet

LOOKED_AT = 4096  # images, at most, spread evenly
TOGETHER = 256  # of them, at a time
FEWEST = 20  # training images, below which their ranges say little
TAIL = 0.005  # share of the training images below, and above, a figure's range
RARE = 0.02  # share of the training images up to which colours, or grey, are rare
MOST = 0.5  # share of other images above which they are unlike
WIDER = 0.25  # share of a range's width by which it is widened
MARGIN = 16.0  # levels of 255, at least
# Of each image, in levels of 255; the names as a note has them.
FIGURES = {
    "brightest": "brightest pixels",
    "darkest": "darkest pixels",
    "mean": "mean brightness",
    "contrast": "contrast (standard deviation)",
}
Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """What images look like. images: how many; coloured: the share with colours; others: the range of each figure."""

    images: int
    coloured: float
    brightest: Range
    darkest: Range
    mean: Range
    contrast: Range

    def summary(self) -> dict[str, Any]:
        """For run.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, images: ImageSet) -> Look:
        """The look of a set of images."""
        found = {}
        for name, values_n in _figures(images).items():
            low, high = np.quantile(values_n, (TAIL, 1 - TAIL))
            found[name] = round(float(low), 1), round(float(high), 1)
        return cls(len(images.images), round(float(_coloured(images).mean()), 4), **found)

    @classmethod
    def read(cls, summary: Any) -> Look | None:
        """The inverse of `summary`; None for anything else."""
        try:
            ranges = {name: (float(summary[name][0]), float(summary[name][1])) for name in FIGURES}
            return cls(int(summary["images"]), float(summary["coloured"]), **ranges)
        except (KeyError, TypeError, ValueError, IndexError):
            return None


def differences(before: Look, images: ImageSet) -> list[str]:
    """How images differ from those of a look, a few words each; empty where they do not clearly."""
    if before.images < FEWEST:
        return []
    with_colours = float(_coloured(images).mean())
    found = []
    if with_colours > MOST and before.coloured <= RARE:
        found.append("in colour, those were grey")
    if 1 - with_colours > MOST and before.coloured >= 1 - RARE:
        found.append("grey, those were in colour")
    for name, values_n in _figures(images).items():
        low, high = getattr(before, name)
        margin = max(WIDER * (high - low), MARGIN)
        if float(((values_n < low - margin) | (values_n > high + margin)).mean()) > MOST:
            found.append(f"{FIGURES[name]} {np.median(values_n):.0f} of 255, there {low:.0f} to {high:.0f}")
    return found


def _looked_at(images: ImageSet) -> NDArray[np.int64]:
    count = len(images.images)
    return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(np.int64))


def _coloured(images: ImageSet) -> NDArray[Any]:
    """Whether each of the images that are looked at has colours, [n]; or a share of all, [1]."""
    if images.images.shape[1] == 3:
        return np.concatenate([chroma(part, axis=1) > COLOURED for part in _pixels(images)])
    if images.facts is not None:
        return images.facts.coloured
    return np.array([images.coloured])


def _pixels(images: ImageSet) -> Iterator[NDArray[np.uint8]]:
    """Those that are looked at, uint8 [n, C, S, S], a few at a time: as floats they take four times as much."""
    chosen = _looked_at(images)
    for start in range(0, len(chosen), TOGETHER):
        yield images.images[chosen[start : start + TOGETHER]].cpu().numpy()


def _figures(images: ImageSet) -> dict[str, NDArray[Any]]:
    """Each of FIGURES, [n]."""
    found = {name: np.empty(_looked_at(images).size, np.float32) for name in FIGURES}
    done = 0
    for part in _pixels(images):
        pixels, rows = part.reshape(len(part), int(np.prod(part.shape[1:]))), slice(done, done + len(part))
        found["brightest"][rows], found["darkest"][rows] = pixels.max(axis=1), pixels.min(axis=1)
        found["mean"][rows] = pixels.mean(axis=1, dtype=np.float32)
        found["contrast"][rows] = pixels.std(axis=1, dtype=np.float32)
        done += len(part)
    return found
