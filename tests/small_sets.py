"""Small files of published data sets, each in its own format, for tests: a few random images of every class."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

TRAIN, TEST = 60, 20  # images of each part; of more classes than that, two of each class


def pictures(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random images [count, *shape]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    """An idx file, packed by gzip."""
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def _write(path: Path, content: bytes) -> str:
    """Write a file; returns its MD5 sum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def kmnist(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Also what MNIST and FashionMNIST look like."""
    for part, name, count in (("train", "train", TRAIN), ("test", "t10k", TEST)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        _write(folder / f"{name}-images-idx3-ubyte.gz", idx(pictures(count, 28, 28, seed=len(part))))
        _write(folder / f"{name}-labels-idx1-ubyte.gz", idx(labels))


def emnist(split: str, classes: int, first: int) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """The writer of a split; its labels begin with `first`."""

    def write(folder: Path, patch: pytest.MonkeyPatch) -> None:
        for part in ("train", "test"):
            labels = (np.arange(2 * classes) % classes + first).astype(np.uint8)
            stem = f"emnist-{split}-{part}"
            _write(folder / f"{stem}-images-idx3-ubyte.gz", idx(pictures(len(labels), 28, 28)))
            _write(folder / f"{stem}-labels-idx1-ubyte.gz", idx(labels))

    return write


def usps_lines(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> bytes:
    """LIBSVM's text: labels from 1, values from -1 to 1."""
    rows = []
    for image, label in zip(images.reshape(len(images), -1), labels, strict=True):
        values = " ".join(f"{place}:{value / 127.5 - 1:.6f}" for place, value in enumerate(image.tolist(), 1))
        rows.append(f"{label + 1} {values} \n")
    return "".join(rows).encode()


def usps(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        _write(folder / name, bz2.compress(usps_lines(pictures(count, 16, 16), np.arange(count) % 10)))


def svhn(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """MATLAB's files [32, 32, 3, N], the digit 0 as class 10; their sums take the place of the published ones."""
    from torchvision.datasets import SVHN

    sums = dict(SVHN.split_list)
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = np.arange(count) % 10
        labels[labels == 0] = 10
        file = io.BytesIO()
        savemat(file, {"X": pictures(count, 32, 32, 3).transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)})
        url, name, _ = SVHN.split_list[part]
        sums[part] = [url, name, _write(folder / name, file.getvalue())]
    patch.setattr(SVHN, "split_list", sums)


def python2_pickle(images: NDArray[np.uint8], labels: list[int]) -> bytes:
    """A dictionary of data and labels as Python 2 wrote it: text and bytes are one type, names are NumPy's old ones."""
    raw = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = struct.pack("<BiBi", ord("J"), images.shape[0], ord("J"), images.shape[1]) + b"\x86"
    state = b"(K\x01" + shape + kind + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(bytes((ord("K"), label)) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + state + b"U\x06labels" + listed + b"u."


def cifar_batches() -> dict[str, bytes]:
    """The six files, pickled as Python 2 did."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    found = {}
    for seed, name in enumerate(names):
        count = TEST if name == "test_batch" else TRAIN // 5
        labels = [(seed * count + row) % 10 for row in range(count)]
        found[name] = python2_pickle(pictures(count, 3072, seed=seed), labels)
    return found


def cifar_sums(patch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Let the sums of these files take the place of the published ones."""
    from torchvision.datasets import CIFAR10

    sums = [[name, hashlib.md5(content).hexdigest()] for name, content in files.items()]
    patch.setattr(CIFAR10, "train_list", [pair for pair in sums if pair[0] != "test_batch"])
    patch.setattr(CIFAR10, "test_list", [pair for pair in sums if pair[0] == "test_batch"])


def cifar10(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The unpacked folder."""
    files = cifar_batches()
    for name, content in files.items():
        _write(folder / "cifar-10-batches-py" / name, content)
    cifar_sums(patch, files)


def cifar10_archive(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The published archive."""
    from torchvision.datasets import CIFAR10

    files, packed = cifar_batches(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    cifar_sums(patch, files)
    patch.setattr(CIFAR10, "tgz_md5", _write(folder / CIFAR10.filename, packed.getvalue()))


WRITERS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "kmnist": kmnist,
    "emnist": emnist("letters", 26, 1),
    "emnist --emnist-split digits": emnist("digits", 10, 0),
    "emnist --emnist-split balanced": emnist("balanced", 47, 0),
    "usps": usps,
    "svhn": svhn,
    "cifar10": cifar10,
}
