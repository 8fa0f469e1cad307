"""What was seen of images while they were decoded, kept beside them, so that no file is opened again to know it.

Legend: N images.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgan.config.schema import IntensityRange
from fastgan.data.intensity import FLOAT, INTEGER, choose

BYTES = 8  # of an image's digest
COLOURED = 4  # levels of 255 between the channels, in the mean of the pixels, above which an image has colours
FLAT = 8  # levels of 255 between the darkest and the brightest pixel, at most, of an image of (nearly) one colour
SOURCE = [
    ("hidden", "?"),  # see Facts.hidden
    ("samples", "S16"),  # see intensity.py
    ("low", "<f8"),  # of the file's values; NaN of 8 bits
    ("high", "<f8"),
    ("format", "S8"),  # Pillow's name
    ("chroma", "u1"),  # of what is made grey: levels between the channels of the file, in the mean of its pixels
    ("width", "<u4"),  # of the file
    ("height", "<u4"),
]
ROW = np.dtype(
    [
        *SOURCE,
        ("digest", "<u8"),  # of the decoded pixels
        ("darkest", "u1"),  # of the decoded pixels
        ("brightest", "u1"),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What was seen of N images, in their order: a field of ROW is an array [N], as `rows["width"]`.

    rows: ROW [N].
    """

    rows: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def flat(self) -> NDArray[np.bool_]:
        """Whether an image is of (nearly) one colour, [N]."""
        return is_flat(self.rows["darkest"], self.rows["brightest"])

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """Whether an image is flat on this --ground although its transparency has a shape, [N]."""
        return self.rows["hidden"]

    @property
    def deep(self) -> NDArray[np.bool_]:
        """Whether an image is grey of more than 8 bits, and its range of values is chosen here, [N]."""
        return (self.rows["samples"] == INTEGER) | (self.rows["samples"] == FLOAT)

    @property
    def coloured(self) -> NDArray[np.bool_]:
        """Whether the file of an image that was made grey has colours, [N]."""
        return self.rows["chroma"] > COLOURED

    def twins(self) -> NDArray[np.int64]:
        """The first image with the same pixels, [N]; an image's own number if there is none before it."""
        _, first, group = np.unique(self.rows["digest"], return_index=True, return_inverse=True)
        return first[group.reshape(-1)]

    def telling(self) -> int:
        """How many different images are not flat."""
        return len(np.unique(self.rows["digest"][~self.flat]))

    def chosen_range(self, wanted: IntensityRange) -> IntensityRange:
        """The range of the images' values, as `intensity.choose`."""
        return choose(wanted, *(self.rows[name] for name in ("samples", "low", "high")))

    def to_bytes(self) -> bytes:
        """The content of a .npy file of them."""
        out = io.BytesIO()
        np.save(out, self.rows, allow_pickle=False)
        return out.getvalue()

    @classmethod
    def load(cls, path: Path, count: int) -> Facts:
        """Read the file of `count` images; OSError or ValueError if it is absent, damaged or of others."""
        rows = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if rows.dtype != ROW or rows.shape != (count,):
            raise ValueError(f"{path}: facts of other images")
        return cls(rows)


def is_flat(darkest: NDArray[np.uint8], brightest: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether images with these darkest and brightest pixels are of (nearly) one colour, [n]."""
    return brightest.astype(int) - darkest <= FLAT


def seen(sources: Sequence[tuple[Any, ...]], images: NDArray[np.uint8]) -> NDArray[Any]:
    """What was seen of decoded images, ROW [n], from the fields of SOURCE of each and its pixels."""
    rows = np.zeros(len(images), ROW)
    if len(images):
        rows[[name for name, _ in SOURCE]] = np.array(sources, SOURCE)
        note_pixels(rows, images)
    return rows


def note_pixels(rows: NDArray[Any], images: NDArray[np.uint8]) -> None:
    """Fill in what rows [n] say of decoded pixels, uint8 [n, C, S, S]."""
    flat = images.reshape(len(images), int(np.prod(images.shape[1:])))
    rows["darkest"], rows["brightest"] = flat.min(axis=1), flat.max(axis=1)
    rows["digest"] = np.frombuffer(digests(flat), "<u8")
    rows["hidden"] &= is_flat(rows["darkest"], rows["brightest"])


def chroma(pixels: NDArray[Any], axis: int) -> NDArray[Any]:
    """Levels between the channels along `axis`, in the mean of each image's pixels, [n] of pixels [n, ...]."""
    planes = np.moveaxis(pixels, axis, 0)  # NumPy reduces an axis of three numbers ten times as slowly
    between = reduce(np.maximum, planes) - reduce(np.minimum, planes)
    between = between.reshape(len(between), -1)
    return np.add.reduce(between, axis=1, dtype=np.float32) / np.float32(between.shape[1])


def digests(images: NDArray[np.uint8]) -> bytes:
    """BYTES bytes for each of the images [n, ...], by its pixels."""
    return b"".join(hashlib.sha256(image.data).digest()[:BYTES] for image in images)
