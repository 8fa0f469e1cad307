"""Whatever holds images in Python as one array of them: arrays, tensors, and data sets of pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data import arrays, loading
from fastgan.data.arrays import MOST_SIDE
from fastgan.data.image_set import ImageSet
from fastgan.inference import unlike
from fastgan.inference.trained_run import TrainedRun

COLUMNS = ("image", "img", "pixel_values")  # of a Hugging Face data set, in this order
LABELS = ("label", "labels", "fine_label")


def as_arrays(data: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images as an array that `data/arrays.py` understands, and labels [N] if the data set has them.

    Args:
        data: an array or a tensor, [N, H, W], [N, H, W, C] or [N, C, H, W]; or a sequence with a length, such as a
            torch Dataset, whose items are images (PIL images, arrays or tensors) or tuples that begin with an image
            and an integer label; or one of dictionaries with a column "image" or "img", and perhaps "label".

    Raises:
        ValueError: for anything else, and for no images.
    """
    if hasattr(data, "detach"):  # a torch tensor
        return data.detach().cpu().numpy(), None
    if isinstance(data, np.ndarray):
        return data, None
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ValueError(f"images: {type(data).__name__} is neither an array nor a sequence of images, nor a path")
    images, labels = [], []
    for index in range(len(data)):
        image, label = _parts(data[index])
        images.append(_picture(image, index))
        if label is not None:
            labels.append(int(label))
    if not images:
        raise ValueError("images: none; expected at least as many as classes")
    if labels and len(labels) != len(images):
        raise ValueError(f"images: {len(images)} images but {len(labels)} labels")
    return _stacked(images), np.array(labels) if labels else None


def in_memory(found: NDArray[Any], config: TrainConfig) -> ImageSet:
    """Images that `as_arrays` returned, in the form that a run takes them."""
    pixels = arrays.to_pixels(found, config.image_size, config.channels)
    return ImageSet("images", pixels, None, 0, coloured=arrays.coloured_share(found))


def for_run(run: TrainedRun, images: Any) -> Tensor:
    """Images for a run to label, as the networks take them, uint8 [N, C, S, S].

    A warning says where they are clearly unlike those that the run was trained on.

    Args:
        images: a folder's path, or what `as_arrays` takes.
    """
    config = run.config
    if isinstance(images, (str, os.PathLike)):
        given = loading.load_folder(config, Path(images), skip_bad=config.skip_bad)
    else:
        given = in_memory(as_arrays(images)[0], config)
    if note := unlike.note(run, given):
        warnings.warn(note, stacklevel=4)  # of who calls the estimator's method
    return given.images


def _parts(item: Any) -> tuple[Any, Any]:
    """The image and the label, or None, of an item of a data set."""
    if isinstance(item, dict):
        image = next((item[name] for name in COLUMNS if name in item), None)
        if image is None:
            raise ValueError(f"images: items with {', '.join(map(str, item))}; expected one of {', '.join(COLUMNS)}")
        return image, next((item[name] for name in LABELS if name in item), None)
    if isinstance(item, (tuple, list)):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _picture(image: Any, index: int) -> NDArray[Any]:
    """One image as [H, W] or [H, W, C]."""
    if isinstance(image, Image.Image):
        return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    pixels = image.detach().cpu().numpy() if hasattr(image, "detach") else np.asarray(image)
    if pixels.ndim not in (2, 3):
        raise ValueError(
            f"images: item {index} has shape {tuple(pixels.shape)}; expected [H, W], [H, W, C] or [C, H, W]"
        )
    if pixels.ndim == 3 and arrays.channel_axis(pixels[None]) == 1:
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels


def _stacked(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Images of one size as they are, [N, ...]; of several sizes or channels each as uint8 [N, S, S, 3]."""
    if len({image.shape for image in images}) == 1:
        return np.stack(images)
    side = min(MOST_SIDE, *(extent for image in images for extent in image.shape[:2]))
    square = [arrays.to_pixels(image[None], side, 3)[0].numpy() for image in images]
    return np.stack(square).transpose(0, 2, 3, 1)
