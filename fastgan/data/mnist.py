"""MNIST and FashionMNIST from idx files, gzip or plain, or downloaded by torchvision if they are absent."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastgan.data import idx_names
from fastgan.data.image_set import ImageSet, JudgeSet, resized
from fastgan.data.imbalance import imbalanced
from fastgan.errors import DataError

FILES = {
    ("train", "images"): ("train-images-idx3-ubyte", 3),
    ("train", "labels"): ("train-labels-idx1-ubyte", 1),
    ("test", "images"): ("t10k-images-idx3-ubyte", 3),
    ("test", "labels"): ("t10k-labels-idx1-ubyte", 1),
}
SIDE = 28
TITLES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # torchvision's classes; it extracts to TITLE/raw
FASHION = (*("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),)
FIVE = ("trouser", "bag", "T-shirt or dress", "pullover, coat or shirt", "shoe")
TO_FIVE = (2, 0, 3, 2, 3, 4, 3, 4, 1, 4)  # FashionMNIST's class -> its class of FIVE (arXiv 2106.05319, section 5)
OTHER_DATA = "name the folder of its own files with --data-dir, or write the images out for --dataset folder"
MOST_BYTES = 1 << 30  # a header that declares more is treated as damaged


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 array in an idx file, plain or gzip.

    Raises:
        DataError: naming the file, when it is truncated, too long or not an idx file of uint8 in `dimensions`.
    """
    try:
        with path.open("rb") as file:
            plain = file.read(2) != b"\x1f\x8b"
            file.seek(0)
            if plain:
                return _parse_idx(file, path, dimensions)
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _parse_idx(io.BufferedReader(unzipped), path, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error


def _parse_idx(file: BinaryIO, path: Path, dimensions: int) -> Tensor:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path}: expected a header of {4 + 4 * dimensions} bytes, found {len(header)}; fetch the file again"
        )
    if header[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"{path}: not an idx file of {dimensions}-dimensional bytes (it begins with {header[:4].hex()}, "
            f"expected 000008{dimensions:02x}); fetch the file again"
        )
    shape = np.frombuffer(header, ">u4", offset=4).tolist()
    expected = math.prod(shape)
    if not 0 < expected <= MOST_BYTES:
        raise DataError(
            f"{path}: its header declares {expected} bytes {shape}, as no MNIST file does; fetch the file again"
        )
    body = file.read(expected + 1)
    if len(body) != expected:
        found = f"{len(body)}" if len(body) < expected else f"more than {expected}"
        raise DataError(f"{path}: expected {expected} bytes of data {shape}, found {found}; fetch the file again")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).reshape(shape)


def _find(folder: Path, name: str, data_set: str) -> Path | None:
    for inner in (f"{TITLES[data_set]}/raw", ""):
        for file_name in (name, f"{name}.gz"):
            if (folder / inner / file_name).is_file():
                return folder / inner / file_name
    return None


def _download(folder: Path, data_set: str) -> None:
    from torchvision import datasets

    title = TITLES[data_set]
    raw = folder / title / "raw"
    makes = [path for path in (raw, *raw.parents) if not path.exists()]
    try:
        getattr(datasets, title)(str(folder), download=True)
    except Exception as error:  # noqa: BLE001 - torchvision raises many kinds; each means that the download failed
        # Remove what torchvision leaves: empty folders, and files that may be damaged and would be read the next time
        # instead of being downloaded (none existed before).
        for name, _ in FILES.values():
            for path in (raw / name, raw / f"{name}.gz"):
                with contextlib.suppress(OSError):
                    path.unlink()
        for path in makes:
            with contextlib.suppress(OSError):
                path.rmdir()
        cause = " ".join(str(error).split()).rstrip(":. ") or type(error).__name__
        names = [name for name, _ in FILES.values()]
        near, wanted = idx_names.near_misses(folder, names), ", ".join(f"{name}[.gz]" for name in names)
        raise DataError(
            f"{title} is not in {folder} and cannot be downloaded ({cause}); put {wanted} there, "
            f"or name their folder with --data-dir{near and f'; {near}'}"
        ) from error


def parts(folder: Path, data_set: str = "mnist") -> tuple[ImageSet, ImageSet]:
    """The 60,000 training and 10,000 test images, 28x28; downloaded if they are not in `folder`.

    Raises:
        DataError: when a file is missing, damaged, or of the other data set.
    """
    if not any(_find(folder, name, data_set) for name, _ in FILES.values()):
        for place in (folder, folder / TITLES[data_set] / "raw"):
            if near := idx_names.near_misses(place, [name for name, _ in FILES.values()], below=False):
                raise DataError(near)
        _download(folder, data_set)
    arrays = {}
    for key, (name, dimensions) in FILES.items():
        path = _find(folder, name, data_set)
        if path is None:
            near = idx_names.near_misses(folder, [name], below=False)
            others = f"the other {TITLES[data_set]} files are there"
            raise DataError(f"{folder / name}[.gz]: missing; {near or f'{others}, fetch this one as well'}")
        arrays[key] = read_idx(path, dimensions)
    sets = []
    for part in ("train", "test"):
        images, labels = arrays[part, "images"], arrays[part, "labels"]
        if len(images) != len(labels) or len(images) == 0:
            raise DataError(f"{folder}: {len(images)} {part} images but {len(labels)} labels; fetch both files again")
        if tuple(images.shape[1:]) != (SIDE, SIDE):
            size = "x".join(map(str, images.shape[1:]))
            raise DataError(f"{folder}: {part} images are {size}, expected {SIDE}x{SIDE}; {OTHER_DATA}")
        if int(labels.max()) > 9:
            found = idx_names.of_emnist(labels) or "fetch the file again, or"
            raise DataError(
                f"{folder}: {part} labels reach {int(labels.max())}, expected 0 to 9; {found} name "
                f"{TITLES[data_set]}'s folder with --data-dir"
            )
        names = FASHION if data_set == "fashion-mnist" else None
        sets.append(ImageSet(data_set, images.unsqueeze(1), labels.long(), 10, class_names=names))
    _check_title(folder, data_set, arrays["train", "labels"])
    return sets[0], sets[1]


def _check_title(folder: Path, data_set: str, labels_N: Tensor) -> None:
    """Both data sets have files of the same names and sizes: the first training labels tell them apart."""
    first = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3], "fashion-mnist": [9, 0, 0, 3, 0, 2, 7, 2]}
    for name, labels in first.items():
        if name != data_set and labels_N[: len(labels)].tolist() == labels:
            raise DataError(f"{folder}: these are {TITLES[name]}'s files; use --dataset {name}, or another --data-dir")


def everything(folder: Path, image_size: int, data_set: str = "mnist") -> ImageSet:
    """All 70,000 images, resized to image_size pixels."""
    train, test = parts(folder, data_set)
    assert train.labels is not None and test.labels is not None
    images, labels = torch.cat((train.images, test.images)), torch.cat((train.labels, test.labels))
    return replace(train, images=resized(images, image_size), labels=labels)


def five(folder: Path, image_size: int) -> tuple[ImageSet, ImageSet]:
    """FashionMNIST's training and test images, its ten classes merged into five of unequal size (FMNIST-5)."""
    train, test = (_merged(part, image_size) for part in parts(folder, "fashion-mnist"))
    return train, test


def _merged(images: ImageSet, image_size: int) -> ImageSet:
    assert images.labels is not None
    labels = torch.tensor(TO_FIVE)[images.labels]
    return ImageSet("fashion-mnist-5", resized(images.images, image_size), labels, len(FIVE), class_names=FIVE)


def choose(full: ImageSet, split: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """The subset with the class counts of `split`, and the rest."""
    return imbalanced(full, split, seed)


def judge_set(folder: Path, image_size: int, data_set: str = "mnist") -> JudgeSet:
    """The data set's own training and test images, resized to image_size pixels."""
    train, test = (replace(part, images=resized(part.images, image_size)) for part in parts(folder, data_set))
    return JudgeSet(data_set, train, test)
