"""Whatever holds images in Python as one array: arrays, tensors, data sets of pictures; and their labels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data import arrays, loading
from fastgan.data.arrays import MOST_SIDE
from fastgan.data.image_set import ImageSet
from fastgan.inference import unlike
from fastgan.inference.trained_run import TrainedModel, TrainedRun
from fastgan.text import pluralize

STACK = 5  # frames up to who calls a method of the estimator
COLUMNS = ("image", "img", "pixel_values")  # of a Hugging Face data set, in this order
LABELS = ("label", "labels", "fine_label")
KINDS = "give an array [N, H, W], [N, H, W, C] or [N, C, H, W], a sequence of images, or a folder's path"


def as_arrays(data: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Images as an array that `data/arrays.py` understands, and labels [N] if the data set has them.

    Args:
        data: an array or a tensor, [N, H, W], [N, H, W, C] or [N, C, H, W]; or a sequence with a length, such as a
            torch Dataset, whose items are images (PIL images, arrays or tensors) or tuples that begin with an image
            and an integer label; or one of dictionaries with a column "image" or "img", and perhaps "label".

    Raises:
        ValueError: for anything else, and for no images.
    """
    if (array := _array(data)) is not None and array.dtype != object:
        return array, None
    if hasattr(data, "toarray"):
        raise ValueError(f"images: a sparse {type(data).__name__}; {KINDS}, such as images.toarray().reshape(-1, 8, 8)")
    if isinstance(data, Mapping):
        raise ValueError(f"images: a dictionary with {', '.join(map(str, data)) or 'nothing'}; give the images in it")
    if array is not None and array.ndim != 1:  # of Python objects; one axis of them are images
        raise ValueError(f"images: an array of Python objects, of shape {array.shape}; {KINDS}, of numbers")
    if isinstance(data, Image.Image) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        loader = "; give its dataset" if hasattr(data, "dataset") else f"; {KINDS}"
        raise ValueError(f"images: {type(data).__name__} is neither an array nor a sequence of images{loader}")
    images, labels = [], []
    for index in range(len(data)):
        image, label = _parts(data[index])
        images.append(_picture(image, index))
        if label is not None:
            labels.append(int(label))
    if not images:
        raise ValueError("images: none; give at least as many as classes")
    if labels and len(labels) != len(images):
        raise ValueError(f"images: {len(images)} images but {len(labels)} labels; give every item a label, or none")
    return _stacked(images), np.array(labels) if labels else None


def as_labels(y: ArrayLike, count: int) -> NDArray[Any]:
    """Labels of `count` images as integers or words [count].

    Raises:
        ValueError: for another number of them, another type, or a second axis.
    """
    found = np.asarray(y.detach().cpu() if hasattr(y, "detach") else y)
    if found.dtype == object:  # as pandas keeps words
        items = found.ravel().tolist()
        if items and (all(isinstance(item, str) for item in items) or all(type(item) is int for item in items)):
            found = np.array(items).reshape(found.shape)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or found.dtype.kind not in "biuUS":
        raise ValueError(
            f"y: labels of shape {found.shape} and type {found.dtype}; give one integer or word for each image"
        )
    if len(found) != count:
        raise ValueError(f"y: {pluralize(len(found), 'label')} for {pluralize(count, 'image')}; give one for each")
    return found


def _array(data: Any) -> NDArray[Any] | None:
    """An array, or a tensor, as an array; None for anything else."""
    if hasattr(data, "detach"):  # a torch tensor; NumPy has no bfloat16
        tensor = data.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.asarray(data) if hasattr(data, "__array__") and not isinstance(data, Image.Image) else None


def in_memory(found: NDArray[Any], config: TrainConfig) -> ImageSet:
    """Images that `as_arrays` returned, in the form that a run takes them."""
    pixels = arrays.to_pixels(found, config.image_size, config.channels)
    return ImageSet("images", pixels, None, 0, coloured=arrays.coloured_share(found))


def for_model(model: TrainedModel, images: Any) -> Tensor:
    """Images for a model to label, as the networks take them, uint8 [N, C, S, S].

    A warning says where they are clearly unlike those of the training, as far as a run's folder tells.

    Args:
        images: the path of a folder or of a .npz or .npy file, or what `as_arrays` takes.
    """
    config = model.config
    if isinstance(images, (str, os.PathLike)):
        given = loading.load_folder(config, Path(images), skip_bad=config.skip_bad)
    else:
        given = in_memory(as_arrays(images)[0], config)
    if isinstance(model, TrainedRun) and (note := unlike.note(model, given, "this model")):
        warnings.warn(note, stacklevel=STACK)
    return given.images


def _parts(item: Any) -> tuple[Any, Any]:
    """The image and the label, or None, of an item of a data set."""
    if isinstance(item, dict):
        image = next((item[name] for name in COLUMNS if name in item), None)
        if image is None:
            raise ValueError(f"images: items with {', '.join(map(str, item))}; expected one of {', '.join(COLUMNS)}")
        return image, next((item[name] for name in LABELS if name in item), None)
    if isinstance(item, (tuple, list)) and item and not np.isscalar(item[0]):
        rows = isinstance(item, list) and isinstance(item[0], (list, tuple))  # an image as lists of numbers
        return (item, None) if rows else (item[0], item[1] if len(item) > 1 else None)
    return item, None


def _picture(image: Any, index: int) -> NDArray[Any]:
    """One image as [H, W] or [H, W, C]."""
    if isinstance(image, Image.Image):
        return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    if isinstance(image, (str, bytes)) or image is None:
        raise ValueError(
            f"images: item {index} is {image!r}, no pixels; open it with PIL.Image, or give its folder's path"
        )
    pixels = found if (found := _array(image)) is not None else np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "biuf":
        raise ValueError(
            f"images: item {index} has shape {tuple(pixels.shape)} and type {pixels.dtype}; give numbers [H, W], "
            "[H, W, C] or [C, H, W]"
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
