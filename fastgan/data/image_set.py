"""The common form of all data sets: uint8 images, and labels that only evaluation uses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastgan.data.facts import Facts

DIGESTED = 1024  # images that a digest reads at once


@dataclass(frozen=True)
class ImageSet:
    """N images and, if known, their real classes.

    images: uint8 [N, C, H, W]. labels: int64 [N] in [0, label_count), or None. paths: of the image files, relative to
    the data folder, or None. class_names: of the labels, or None. intensity_range: black and white of grey images of
    more than 8 bits, if there are any. facts: what was seen of image files while they were decoded, or None. coloured:
    of images that were not files and are grey here, the share that had colours.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    label_count: int
    paths: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    intensity_range: tuple[float, float] | None = None
    facts: Facts | None = None
    coloured: float = 0.0

    def to(self, device: torch.device) -> ImageSet:
        """The same set with its images on `device`; labels stay on the CPU, where evaluation uses them."""
        return replace(self, images=self.images.to(device))

    def rows(self, chosen_N: Tensor) -> ImageSet:
        """Some of the images, copied; `chosen_N` bool [N]."""
        index = torch.nonzero(chosen_N).squeeze(1)
        return replace(
            self,
            images=self.images[index],
            labels=None if self.labels is None else self.labels[index],
            paths=None if self.paths is None else tuple(self.paths[row] for row in index.tolist()),
            facts=None if self.facts is None else Facts(self.facts.rows[index.numpy()]),
        )

    def class_frequencies(self) -> Tensor | None:
        """The share of each real class, float64 [label_count]; None without labels."""
        if self.labels is None:
            return None
        return torch.bincount(self.labels, minlength=self.label_count).double() / len(self.labels)

    def extremes(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The darkest and the brightest value of each image, [N] each."""
        if self.facts is not None:
            return self.facts.rows["darkest"], self.facts.rows["brightest"]
        parts = [extremes_of(part) for part in self.images.split(DIGESTED)]
        return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])

    def add_pixels(self, hasher: hashlib._Hash) -> None:
        """Update `hasher` with the pixels, DIGESTED images at a time."""
        for part in self.images.split(DIGESTED):
            hasher.update(part.cpu().contiguous().numpy().data)


@dataclass(frozen=True)
class JudgeSet:
    """Labelled images to train the judge and to test it.

    train_rows, test_rows: int64 indices of the images of `train` and `test` that are used; None for all.
    """

    name: str
    train: ImageSet
    test: ImageSet
    train_rows: Tensor | None = None
    test_rows: Tensor | None = None


def resized(images: Tensor, size: int) -> Tensor:
    """uint8 [N, C, H, W] at size x size pixels (bicubic, antialiased); the same tensor if it already has that size."""
    if tuple(images.shape[-2:]) == (size, size):
        return images
    parts = [
        F.interpolate(part.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False)
        for part in images.split(4096)
    ]
    return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)


def extremes_of(images_NCHW: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The darkest and the brightest value of each of some uint8 images, [N] each."""
    pixels_NP = images_NCHW.flatten(1)
    return pixels_NP.amin(1).cpu().numpy(), pixels_NP.amax(1).cpu().numpy()


def to_unit_range(images_BCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images [B, C, H, W] in [0, 255] to `dtype` in [-1, 1]."""
    return images_BCHW.to(dtype) / 127.5 - 1.0
