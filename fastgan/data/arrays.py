"""Images that are arrays already: in memory, or in a .npz or .npy file with or without labels.

Arrays become uint8 [N, C, S, S] by one rule. The axis of 1, 3 or 4 that comes last, else the one after the first, holds
the channels. Of four channels the last is left out. Integers must fit 0 to 255 and are kept; True is 255; floats are in
[0, 1] and become round(255 x). The central square is cut out and resized, bicubic and antialiased.

Legend: N images, C channels, H x W pixels, S the side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgan.config.schema import num_downsamples
from fastgan.data.facts import COLOURED, chroma
from fastgan.data.image_set import ImageSet, resized
from fastgan.errors import DataError
from fastgan.text import pluralize

# Names of arrays in a file: (training images, their labels, other images, their labels), tried in this order.
NAMES = (
    ("images", "labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST
    ("x_train", "y_train", "x_test", "y_test"),  # Keras
    ("x", "y", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
    ("arr_0", "arr_1", "", ""),  # numpy.savez without names
)
CHANNELS = (1, 3, 4)
LEAST_SIDE, MOST_SIDE = 8, 64  # pixels, of the side that is chosen for arrays
PART = 4096  # images converted at a time
COLOURS_OF = 1024  # images whose colours are looked for
LUMA = (0.299, 0.587, 0.114)  # of ITU-R 601, as Pillow's "L"


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file: images [N, ...] and labels [N], and other images of the same classes, if there are any."""

    images: NDArray[Any]
    labels: NDArray[Any] | None
    other_images: NDArray[Any] | None
    other_labels: NDArray[Any] | None


def read(path: Path) -> Arrays:
    """The arrays of a .npz or .npy file; a .npy file is mapped, not read.

    Raises:
        DataError: when the file is missing, damaged, holds Python objects or no images.
    """
    try:
        if path.suffix == ".npy":
            return Arrays(np.load(path, mmap_mode="r", allow_pickle=False), None, None, None)
        with path.open("rb") as file:  # numpy.load would leave a damaged archive open
            loaded = np.load(file, allow_pickle=False)
            return Arrays(loaded, None, None, None) if isinstance(loaded, np.ndarray) else _chosen(path, loaded)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; name the .npz or .npy file with your images by --data-dir") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - NumPy raises many kinds; each means that this file cannot be used
        raise DataError(
            f"{path}: not a readable .npz or .npy file, damaged, or of Python objects; save arrays with numpy.savez"
        ) from error


def _chosen(path: Path, loaded: Mapping[str, NDArray[Any]]) -> Arrays:
    for images, labels, other_images, other_labels in NAMES:
        if images in loaded:
            found = [loaded.get(name) for name in (labels, other_images, other_labels)]
            return Arrays(loaded[images], *found)
    wanted = ", ".join(names[0] for names in NAMES)
    raise DataError(f"{path}: holds {', '.join(loaded) or 'nothing'}; the images must be named one of {wanted}")


def image_set(name: str, arrays: Arrays, image_size: int, channels: int, *, others: bool = False) -> ImageSet | None:
    """The images of a file and their labels, uint8 [N, C, S, S]; `others` for the held-out ones, None without them.

    Classes are numbered in the order of their values, over both parts.

    Raises:
        DataError: for arrays that are not images, or labels that do not match them.
    """
    images, labels = (arrays.other_images, arrays.other_labels) if others else (arrays.images, arrays.labels)
    if images is None or (others and labels is None):
        return None
    pixels = to_pixels(images, image_size, channels, name)
    coloured = coloured_share(images)
    if labels is None:
        return ImageSet(name, pixels, None, 0, coloured=coloured)
    own = _labels(labels, name)
    if len(own) != len(pixels):
        counts = f"{pluralize(len(pixels), 'image')} but {pluralize(len(own), 'label')}"
        raise DataError(f"{name}: {counts}; give one for each, or leave them out")
    known = [_labels(each, name) for each in (arrays.labels, arrays.other_labels) if each is not None]
    values = np.unique(np.concatenate(known))
    if len(values) == 1:
        raise DataError(f"{name}: all labels are the same; give those of two classes or more, or leave them out")
    numbers = torch.from_numpy(np.searchsorted(values, own).astype(np.int64))
    named = tuple(str(value) for value in values)
    return ImageSet(name, pixels, numbers, len(values), class_names=named, coloured=coloured)


def _labels(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Labels [N]; a second axis of one, as in MedMNIST, is left out."""
    found = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if found.ndim != 1 or found.dtype.kind not in "biuUS":
        raise DataError(
            f"{name}: labels of shape {tuple(labels.shape)} and type {labels.dtype}; give one integer or word an image"
        )
    return found.astype(str) if found.dtype.kind in "US" else found.astype(np.int64)


def to_pixels(images: NDArray[Any], image_size: int, channels: int, name: str = "images") -> Tensor:
    """Images of any supported form as uint8 [N, C, S, S]: those of the file itself where nothing is to be changed.

    Args:
        images: [N, H, W], [N, H, W, C] or [N, C, H, W]; integers of 0 to 255, bool, or floats in [0, 1].
        channels: 1 for grey, 3 for RGB.
        name: of the array, for messages.

    Raises:
        DataError: for another form, other values, NaN, or no images.
    """
    last = channel_axis(images, name)
    parts = [_converted(images[start : start + PART], last, channels, name) for start in range(0, len(images), PART)]
    side = min(parts[0].shape[2:])
    top, left = ((extent - side) // 2 for extent in parts[0].shape[2:])
    square = [part[:, :, top : top + side, left : left + side] for part in parts]
    return torch.cat([resized(part, image_size) for part in square]).contiguous()


def coloured_share(images: NDArray[Any]) -> float:
    """The share of images, of any supported form, that have colours; of some of them where there are many."""
    last = channel_axis(images)
    if last is None or images.shape[last] == 1:
        return 0.0
    some = np.asarray(images[np.unique(np.linspace(0, len(images) - 1, COLOURS_OF).astype(int))])
    some = np.moveaxis(some, last, -1)[..., :3].astype(np.float32) * (255 if some.dtype.kind in "bf" else 1)
    return float((chroma(some, axis=3) > COLOURED).mean())


def suited_form(images: NDArray[Any], name: str = "images") -> tuple[int, Literal[1, 3]]:
    """Side and channels with which to train on these images; raises DataError if they are none."""
    axis = channel_axis(images, name)
    extents = [extent for place, extent in enumerate(images.shape) if place not in (0, axis)]
    return suited_side(min(extents)), 1 if axis is None or images.shape[axis] == 1 else 3


def suited_side(shorter: int) -> int:
    """The largest side that the networks can draw, at most that of the images and 64 pixels."""
    side = max(min(shorter, MOST_SIDE), LEAST_SIDE)
    while side % 2 ** num_downsamples(side):
        side -= 1
    return side


def channel_axis(images: NDArray[Any], name: str = "images") -> int | None:
    """Which axis holds the channels: 3, 1, or None for grey images without one; DataError if these are no images."""
    shape = tuple(images.shape)
    if images.dtype.kind not in "biuf":
        raise DataError(f"{name}: an array of type {images.dtype}; give numbers")
    if images.ndim not in (3, 4) or 0 in shape:
        side = isqrt(shape[1]) if images.ndim == 2 else 0
        rows = f", such as images.reshape(-1, {side}, {side})" if side and side**2 == shape[1] else ""
        raise DataError(f"{name}: an array of shape {shape}; give [N, H, W], [N, H, W, C] or [N, C, H, W]{rows}")
    if images.ndim == 3:
        return None
    for axis in (3, 1):
        if shape[axis] in CHANNELS:
            return axis
    raise DataError(
        f"{name}: an array of shape {shape}; neither its last nor its second axis has 1, 3 or 4 channels; move them"
    )


def _converted(part: NDArray[Any], last: int | None, channels: int, name: str) -> Tensor:
    """Some of the images, uint8 [n, C, H, W]."""
    values = _eight_bits(np.asarray(part), name)
    # A copy of what may not be written, such as a mapped file: torch's tensors may.
    pixels = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    pixels = pixels[:, None] if last is None else pixels.movedim(last, 1)
    pixels = pixels[:, :3]
    if channels == 3:
        return pixels.expand(-1, 3, -1, -1)
    if pixels.shape[1] == 1:
        return pixels
    grey = (pixels.float() * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return grey.round().to(torch.uint8)


def _eight_bits(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if np.isnan(low):
            count = int(np.isnan(values).reshape(len(values), -1).any(1).sum())
            raise DataError(f"{name}: {pluralize(count, 'image')} with NaN; leave them out, or fill their pixels")
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"{name}: floats from {low:.4g} to {high:.4g}; scale them to [0, 1], or give integers of 0 to 255"
            )
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise DataError(f"{name}: integers from {low} to {high}; scale them to 0 to 255, or give floats in [0, 1]")
    return values.astype(np.uint8)
