"""USPS in LIBSVM's text files and SVHN's cropped digits in MATLAB's, read and downloaded by torchvision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastgan.data.downloads import Source, download
from fastgan.data.idx_names import near_misses
from fastgan.data.image_set import ImageSet
from fastgan.data.other_sets import found_instead
from fastgan.errors import DataError

CLASSES = 10
USPS = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps"
SVHN = "http://ufldl.stanford.edu/housenumbers/"


def usps(folder: Path, which: str) -> ImageSet:
    """The 7,291 training or 2,007 test images, uint8 [N, 1, 16, 16]; downloaded if they are not in `folder`.

    Args:
        which: train or test.

    Raises:
        DataError: when the file is missing, damaged, or of another data set.
    """
    from torchvision import datasets

    def read(fetch: bool) -> Any:
        return datasets.USPS(str(folder), train=which == "train", download=fetch)

    found = _read(folder, datasets.USPS.split_list[which][1], Source("USPS", _names(datasets.USPS), USPS), read)
    return _image_set(folder / datasets.USPS.split_list[which][1], "usps", found.data[:, None], found.targets)


def svhn(folder: Path, which: str) -> ImageSet:
    """The 73,257 training or 26,032 test images, uint8 [N, 3, 32, 32]; downloaded if they are not in `folder`.

    A file must have its published MD5 sum. Arguments and errors as in `usps`.
    """
    from torchvision import datasets

    def read(fetch: bool) -> Any:
        return datasets.SVHN(str(folder), split=which, download=fetch)

    found = _read(folder, datasets.SVHN.split_list[which][1], Source("SVHN", _names(datasets.SVHN), SVHN), read)
    return _image_set(folder / datasets.SVHN.split_list[which][1], "svhn", found.data, found.labels)


def _names(kind: Any) -> list[str]:
    """The names of torchvision's files for training and test."""
    return [kind.split_list[which][1] for which in ("train", "test")]


def _read(folder: Path, name: str, source: Source, read: Callable[[bool], Any]) -> Any:
    """torchvision's data set, its file downloaded if it is absent."""
    path = folder / name
    if not path.is_file():
        found: list[Any] = []
        if near := near_misses(folder, [name], below=False):
            raise DataError(near)
        hint = near_misses(folder, [name]) or found_instead(folder, source.title.lower())
        download(folder, source, lambda: found.append(read(True)), [path], hint)
        return found[0]
    try:
        return read(False)
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error
    except Exception as error:  # noqa: BLE001 - torchvision raises many kinds; each means that this file cannot be used
        cause = " ".join(str(error).partition(". You can")[0].split()) or type(error).__name__
        raise DataError(
            f"{path}: damaged, or not a file of {source.title} ({cause}); fetch it again from {source.site}"
        ) from error


def _image_set(path: Path, name: str, images: np.ndarray, labels: Any) -> ImageSet:
    pixels, numbers = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.atleast_1d(labels)).long()
    side, channels = (16, 1) if name == "usps" else (32, 3)
    right = pixels.dtype == torch.uint8 and tuple(pixels.shape) == (len(numbers), channels, side, side)
    if not (right and len(numbers) and 0 <= int(numbers.min()) <= int(numbers.max()) < CLASSES):
        raise DataError(
            f"{path}: not a file of {name.upper()}: images {list(pixels.shape)}, {len(numbers)} labels; fetch it again"
        )
    return ImageSet(name, pixels, numbers, CLASSES)
