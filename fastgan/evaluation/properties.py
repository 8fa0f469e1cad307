"""What else than a class an image has: where its file lies, its size and date, its colour, brightness and sharpness.

Legend: N images, M images that are measured, D numbers for each, CHW an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastgan.data.image_set import ImageSet

BATCH = 500  # images at a time
LEVELS = ("subfolder", "second-level subfolder", "third-level subfolder")
FEW_VALUES = 12  # numbers with at most so many values are kinds, not quantities
TO_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
COPIED = 24 * 3600  # seconds within which files are likely to be one copy, whose order says nothing
GREY = 1 / 255  # spread of the mean colour, in units of the whole range, below which all images are equally grey


@dataclass(frozen=True)
class Property:
    """One property of M images.

    kinds_M: the number of each image's kind, int64, where it is one of few; else None, and values_MD are quantities,
    float64, NaN where unknown. names: of the kinds. shown: what an image shows decides it, as its brightness and, being
    compressed, the size of its file; else only where the file comes from does.
    """

    name: str
    kinds_M: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    values_MD: NDArray[np.float64] | None = None
    shown: bool = True

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether an image has a value, [M]."""
        if self.kinds_M is not None:
            return np.ones(len(self.kinds_M), bool)
        assert self.values_MD is not None
        return np.isfinite(self.values_MD.sum(1))


def measure(images: ImageSet, folder: Path | None, chosen_M: Tensor) -> list[Property]:
    """Every property that can be told of some of the images.

    Args:
        folder: that the paths of the images are relative to; None where they are no files.
        chosen_M: which images, int64 on the CPU.
    """
    found = list(_of_files(images, folder, chosen_M.numpy())) if folder is not None and images.paths else []
    return found + of_pixels(images.images, chosen_M)


def of_pixels(images_NCHW: Tensor, chosen_M: Tensor) -> list[Property]:
    """Brightness, contrast, sharpness and, of images with three channels, mean colour.

    brightness: mean luminance; contrast: its standard deviation; sharpness: variance of its Laplacian; mean colour: the
    mean's red less green and blue less yellow, without its brightness.

    Args:
        images_NCHW: uint8; chosen_M: which of them, int64 on the CPU.
    """
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).view(1, 1, 3, 3)
    rows: list[Tensor] = []
    for index in chosen_M.split(BATCH):
        part = images_NCHW[index.to(images_NCHW.device)].cpu().float() / 255.0
        weights = torch.tensor(TO_LUMINANCE if part.shape[1] == 3 else (1 / part.shape[1],) * part.shape[1])
        grey = (part * weights.view(1, -1, 1, 1)).sum(1, keepdim=True)
        sharp = F.conv2d(grey, kernel).flatten(1).var(1, correction=0)
        columns = [grey.mean((1, 2, 3)), grey.flatten(1).std(1, correction=0), sharp]
        if part.shape[1] == 3:
            red, green, blue = part.mean((2, 3)).unbind(1)
            columns += [red - green, blue - (red + green) / 2]
        rows.append(torch.stack(columns, 1))
    values_MD = torch.cat(rows).double().numpy()
    found = [
        Property(name, values_MD=values_MD[:, [i]]) for i, name in enumerate(("brightness", "contrast", "sharpness"))
    ]
    if values_MD.shape[1] > 3 and values_MD[:, 3:].std(0).max() > GREY:
        found.append(Property("mean colour", values_MD=values_MD[:, 3:]))
    return found


def _of_files(images: ImageSet, folder: Path, chosen_M: NDArray[np.int64]) -> Iterator[Property]:
    """What file names, the files' entries and their headers say; a file that has gone has no size and date.

    Dates that nearly all lie within COPIED of each other are left out.
    """
    paths = [(images.paths or ())[i] for i in chosen_M]
    parents = [path.split("/")[:-1] for path in paths]
    for level, name in enumerate(LEVELS[: max(map(len, parents), default=0)]):
        yield _kinds(name, ["/".join(each[level : level + 1]) for each in parents])
    if images.facts is not None:
        rows = images.facts.rows[chosen_M]
        yield _kinds("file format", [each.decode("ascii", "replace") for each in rows["format"].tolist()])
        yield _sizes(rows["width"].astype(np.float64), rows["height"].astype(np.float64))
    status = np.array([_status(folder / path) for path in paths])
    yield Property("file size", values_MD=status[:, [0]])
    if np.isfinite(status[:, 1]).any() and np.ptp(np.nanquantile(status[:, 1], (0.02, 0.98))) >= COPIED:
        yield Property("file date", values_MD=status[:, [1]], shown=False)


def _kinds(name: str, values: Sequence[str]) -> Property:
    names, kinds_M = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    return Property(name, kinds_M.reshape(-1).astype(np.int64), names.tolist(), shown=False)


def _sizes(width_M: NDArray[np.float64], height_M: NDArray[np.float64]) -> Property:
    """Width and height of the files: kinds where there are few, else quantities, by their area and shape."""
    both = np.stack([width_M, height_M], 1)
    if len(np.unique(both, axis=0)) <= FEW_VALUES:
        return _kinds("image size", [f"{int(w)} x {int(h)}" for w, h in both])
    values_MD = np.stack([np.log(width_M.clip(1) * height_M.clip(1)), np.log(width_M.clip(1) / height_M.clip(1))], 1)
    return Property("image size", values_MD=values_MD, shown=False)


def _status(path: Path) -> tuple[float, float]:
    """Bytes of a file, and when it was written, in seconds; NaN of one that has gone."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return np.nan, np.nan
    return float(found.st_size), found.st_mtime
