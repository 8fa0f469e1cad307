"""CIFAR-10 in its Python form: six pickled files, or the archive that they are published in.

Each file must have its published MD5 sum, as torchvision wants it. They are not read by pickle.load, which runs what a
file says, but by a reader that makes arrays, numbers, text and containers, and nothing else.
"""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastgan.data.downloads import Source, download
from fastgan.data.idx_names import near_misses
from fastgan.data.image_set import ImageSet
from fastgan.data.other_sets import found_instead
from fastgan.errors import DataError

NAMES = (*("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),)
SIDE = 32
SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"
# What the published files name, NumPy's under its older and newer name.
_ARRAY = np.zeros(0).__reduce__()[0]
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain values only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return ALLOWED[module, name]


def part(folder: Path, which: str) -> ImageSet:
    """The 50,000 training or 10,000 test images, uint8 [N, 3, 32, 32]; fetched or unpacked if they are not there.

    Args:
        folder: holds cifar-10-batches-py, its archive or its files.
        which: train or test.

    Raises:
        DataError: when a file is missing, damaged, or of another data set.
    """
    from torchvision.datasets import CIFAR10

    place = _place(folder)
    lists: dict[str, list[list[str]]] = {"train": CIFAR10.train_list, "test": CIFAR10.test_list}
    batches = [_batch(place / name, md5) for name, md5 in lists[which]]
    images = torch.from_numpy(np.concatenate([images for images, _ in batches]))
    labels = torch.tensor([label for _, labels in batches for label in labels])
    return ImageSet("cifar10", images, labels, len(NAMES), class_names=NAMES)


def _place(folder: Path) -> Path:
    """The folder of the files, after they were unpacked or downloaded there if necessary."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    inner, archive = folder / CIFAR10.base_folder, folder / CIFAR10.filename
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    for place in (inner, folder):
        if any((place / name).is_file() for name in names):
            return place
    if archive.is_file() and not _intact(check_integrity, archive, CIFAR10.tgz_md5):
        raise DataError(f"{archive}: damaged, or another file (its MD5 sum is not {CIFAR10.tgz_md5}); fetch it again")

    hint = ""
    if not archive.exists():
        if near := near_misses(folder, [CIFAR10.filename], below=False):
            raise DataError(near)
        hint = near_misses(folder, [CIFAR10.filename, *names]) or found_instead(folder, "cifar10")

    def call() -> None:
        download_and_extract_archive(CIFAR10.url, str(folder), filename=CIFAR10.filename, md5=CIFAR10.tgz_md5)

    makes = [archive, *(inner / name for name in (*names, "batches.meta", "readme.html"))]
    wanted = [f"{CIFAR10.filename} or the folder {CIFAR10.base_folder}"]
    source = Source("CIFAR-10", wanted, SITE)
    download(folder, source, call, makes, hint)
    return inner


def _intact(check: Any, path: Path, md5: str) -> bool:
    try:
        return bool(check(str(path), md5))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error


def _batch(path: Path, md5: str) -> tuple[np.ndarray, list[int]]:
    """The images uint8 [n, 3, 32, 32] and labels of one file."""
    from torchvision.datasets.utils import check_integrity

    if not path.is_file():
        raise DataError(f"{path}: missing; CIFAR-10's other files are there, fetch this one as well from {SITE}")
    if not _intact(check_integrity, path, md5):
        raise DataError(f"{path}: damaged, or another file (its MD5 sum is not {md5}); fetch it again from {SITE}")
    try:
        with path.open("rb") as file:
            entry = _Unpickler(file, encoding="latin1").load()
        images, labels = np.asarray(entry["data"]), [int(label) for label in entry["labels"]]
        if images.dtype != np.uint8 or images.shape != (len(labels), 3 * SIDE**2):
            raise ValueError(f"images of shape {images.shape} and type {images.dtype}, and {len(labels)} labels")
        if not labels or not 0 <= min(labels) <= max(labels) < len(NAMES):
            raise ValueError("labels other than 0 to 9")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises many kinds; none of it was run
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: no file of CIFAR-10 ({cause}); fetch it again from {SITE}") from error
    return images.reshape(-1, 3, SIDE, SIDE), labels
