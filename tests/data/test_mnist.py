"""MNIST's idx files: valid, damaged, missing, unreadable."""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastgan.config.presets import preset
from fastgan.data import loading, mnist
from fastgan.data.imbalance import class_counts
from fastgan.data.mnist import read_idx
from fastgan.errors import DataError

# --- idx files ---


def idx(shape: tuple[int, ...], body: bytes | None = None, *, magic: bytes | None = None) -> bytes:
    """An idx file; its body counts up unless it is given."""
    size = 1
    for side in shape:
        size *= side
    body = bytes(i % 251 for i in range(size)) if body is None else body
    return (magic or bytes((0, 0, 8, len(shape)))) + struct.pack(f">{len(shape)}I", *shape) + body


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some-idx3-ubyte"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5, 4, 3), (1, 1, 1), (7,)], ids=str)
def test_read_idx(file: Path, shape: tuple[int, ...], packed: bool) -> None:
    """gzip is recognised by its first bytes, not by the file name."""
    raw = idx(shape)
    file.write_bytes(gzip.compress(raw) if packed else raw)
    read = read_idx(file, len(shape))
    assert read.dtype == torch.uint8 and tuple(read.shape) == shape
    assert read.flatten().tolist() == [i % 251 for i in range(read.numel())]


WHOLE = idx((5, 4, 3))
PACKED = gzip.compress(WHOLE)
DAMAGED = {
    "one byte short": (WHOLE[:-1], "expected 60 bytes of data [5, 4, 3], found 59"),
    "no data": (WHOLE[:16], "expected 60 bytes of data [5, 4, 3], found 0"),
    "one byte too long": (WHOLE + b"x", "expected 60 bytes of data [5, 4, 3], found more than 60"),
    "header cut": (WHOLE[:15], "expected a header of 16 bytes, found 15"),
    "empty": (b"", "expected a header of 16 bytes, found 0"),
    "wrong magic": (idx((5, 4, 3), magic=b"\x00\x00\x0d\x03"), "it begins with 00000d03, expected 00000803"),
    "labels for images": (idx((60,)), "it begins with 00000801, expected 00000803"),
    "text": (b"<html><body>404 Not Found</body></html>", "not an idx file"),
    "header bomb": (idx((2**32 - 1,) * 3, b""), "its header declares 79228162458924105385300197375 bytes"),
    "header over the cap": (idx((2**30, 2, 1), b""), "its header declares 2147483648 bytes"),
    "header below the cap": (idx((2**29, 1, 1), b"abc"), "expected 536870912 bytes of data [536870912, 1, 1], found 3"),
    "gzip cut": (PACKED[:-12], "damaged gzip data"),
    "gzip trailer cut": (PACKED[:-1], "damaged gzip data"),
    "gzip header only": (PACKED[:5], "damaged gzip data"),
    "gzip magic only": (PACKED[:2], "damaged gzip data"),
    "gzip checksum": (PACKED[:-8] + b"\x00" * 4 + PACKED[-4:], "damaged gzip data"),
    "gzip with more behind": (PACKED + b"more", "damaged gzip data"),
    "short inside gzip": (gzip.compress(WHOLE[:-1]), "expected 60 bytes of data [5, 4, 3], found 59"),
    "long inside gzip": (gzip.compress(WHOLE + b"x"), "found more than 60"),
    "bomb inside gzip": (gzip.compress(idx((2**32 - 1,) * 3, b"")), "its header declares"),
}


@pytest.mark.parametrize("content, message", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_named(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 28, 28), (5, 0, 3), (0, 2**32 - 1, 2**32 - 1), (2**31, 2**31, 0)], ids=str)
def test_headers_with_a_zero(file: Path, shape: tuple[int, ...]) -> None:
    """No data at all is refused like any other damage."""
    file.write_bytes(idx(shape, b""))
    with pytest.raises(DataError, match=str(file)):
        read_idx(file, 3)


def test_no_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: cannot be read .No such file"):
        read_idx(tmp_path / "absent", 3)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path, 3)


FUZZ = settings(
    max_examples=200, derandomize=True, database=None, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def reads_or_refuses(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for dimensions in (1, 3):
        try:
            read = read_idx(file, dimensions)
        except DataError as error:
            assert str(file) in str(error)
        else:
            assert isinstance(read, Tensor) and read.dim() == dimensions


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes(file: Path, content: bytes) -> None:
    reads_or_refuses(file, content)


@FUZZ
@given(
    packed=st.booleans(),
    cut=st.integers(0, 20),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    more=st.binary(max_size=8),
)
def test_mutated_files(file: Path, packed: bool, cut: int, changes: list[tuple[int, int]], more: bytes) -> None:
    """A valid file, plain or gzip, with bytes changed, the end cut off and something else put behind it."""
    content = bytearray(PACKED if packed else WHOLE)
    for place, value in changes:
        content[place % len(content)] = value
    reads_or_refuses(file, bytes(content[: len(content) - cut]) + more)


# --- the four files of MNIST ---

NAMES = [name for name, _ in mnist.FILES.values()]


def write_mnist(folder: Path, *, packed: bool = False, **contents: bytes) -> None:
    """Twelve training and six test images; a part of `contents` takes the place of a file."""
    files = {
        "train_images": idx((12, 28, 28)),
        "train_labels": idx((12,), bytes(i % 10 for i in range(12))),
        "test_images": idx((6, 28, 28)),
        "test_labels": idx((6,), bytes(9 - i for i in range(6))),
    } | contents
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(NAMES, files.values(), strict=True):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("inner", ["", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_from_files(tmp_path: Path, inner: str, packed: bool) -> None:
    write_mnist(tmp_path / inner, packed=packed)
    train, test = mnist.parts(tmp_path)
    assert train.images.shape == (12, 1, 28, 28) and test.images.shape == (6, 1, 28, 28)
    assert train.labels is not None and test.labels is not None
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1] and test.labels.tolist() == [9, 8, 7, 6, 5, 4]
    everything = mnist.everything(tmp_path, 32)
    assert everything.images.shape == (18, 1, 32, 32) and everything.labels is not None
    assert everything.labels.tolist() == train.labels.tolist() + test.labels.tolist()
    judged = mnist.judge_set(tmp_path, 16)
    assert judged.train.images.shape == (12, 1, 16, 16) and judged.test.images.shape == (6, 1, 16, 16)


@pytest.mark.parametrize("name", NAMES)
def test_one_of_four_is_missing(tmp_path: Path, name: str) -> None:
    write_mnist(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*missing"):
        mnist.parts(tmp_path)


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"train_labels": idx((11,), bytes(11))}, "12 train images but 11 labels"),
        ({"test_labels": idx((7,), bytes(7))}, "6 test images but 7 labels"),
        ({"train_labels": idx((12,), bytes([0] * 11 + [10]))}, "train labels reach 10, expected 0 to 9"),
        ({"test_labels": idx((6,), bytes([255] * 6))}, "test labels reach 255, expected 0 to 9"),
        ({"train_images": idx((12, 28, 28))[:-5]}, "expected 9408 bytes of data [12, 28, 28], found 9403"),
        ({"train_images": idx((0, 28, 28)), "train_labels": idx((0,))}, "train"),
    ],
    ids=["few labels", "many labels", "label 10", "label 255", "cut", "no images"],
)
def test_files_that_do_not_belong_together(tmp_path: Path, contents: dict[str, bytes], message: str) -> None:
    write_mnist(tmp_path, **contents)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        mnist.parts(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("shape", [(6, 32, 32), (6, 28, 27), (6, 0, 28)], ids=str)
def test_images_of_another_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_mnist(tmp_path, test_images=idx(shape))
    with pytest.raises(DataError, match="28"):
        mnist.everything(tmp_path, 28)


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), OSError("closed port")], ids=repr)
def test_download_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The message gives the cause, each file and where to put it; torchvision raises either kind. Nothing stays."""
    folder = tmp_path / "data"

    def refuse(root: str, **_: Any) -> None:
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / f"{NAMES[0]}.gz").write_bytes(b"of another hash")
        raise error

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(DataError) as caught:
        mnist.parts(folder)
    message = str(caught.value)
    assert all(name in message for name in NAMES)
    assert str(error).rstrip(".") in message
    assert str(folder) in message and "--data-dir" in message and "\n" not in message
    assert tmp_path.is_dir() and not folder.exists()


def test_no_download_where_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: pytest.fail("it must not download"))
    write_mnist(tmp_path)
    mnist.parts(tmp_path)


def test_an_unreadable_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / NAMES[0]).chmod(0)
    if os.access(tmp_path / NAMES[0], os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataError, match="cannot be read"):
        mnist.parts(tmp_path)


def test_real_mnist(mnist_dir: Path) -> None:
    everything = mnist.everything(mnist_dir, 28)
    assert everything.images.shape == (70_000, 1, 28, 28) and everything.labels is not None
    assert torch.bincount(everything.labels).tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    chosen, _ = mnist.choose(everything, 1, 0)
    assert chosen.labels is not None and len(chosen.images) == len(chosen.labels) == 42_794
    assert torch.bincount(chosen.labels).tolist() == class_counts(1).tolist()


def test_load_follows_the_config(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    config = dataclasses.replace(preset("mnist"), data_dir=tmp_path, imbalance="none", batch_size=18, image_size=16)
    assert loading.load(config).images.shape == (18, 1, 16, 16)
    assert len(loading.load_judge_set(config).test.images) == 6


# --- FashionMNIST, whose files have the same names ---

FASHION_LABELS = bytes([9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 1, 8])


def test_fashion_mnist_and_its_five_classes(tmp_path: Path) -> None:
    write_mnist(tmp_path, train_labels=idx((12,), FASHION_LABELS))
    config = dataclasses.replace(preset("fashion-mnist"), data_dir=tmp_path, batch_size=2, imbalance="none", classes=2)
    everything = loading.load(config)
    assert everything.name == "fashion-mnist" and len(everything.images) == 18
    assert everything.class_names is not None and everything.class_names[9] == "ankle boot"
    assert loading.load_held_out(config) is None
    five = dataclasses.replace(config, imbalance="fmnist-5")
    images, held_out, judged = loading.load(five), loading.load_held_out(five), loading.load_judge_set(five)
    assert images.labels is not None and held_out is not None and held_out.labels is not None
    assert images.label_count == 5 and images.labels.tolist() == [4, 2, 2, 2, 2, 3, 4, 3, 4, 4, 0, 1]
    assert held_out.labels.tolist() == [4, 1, 4, 3, 4, 3]  # 9 8 7 6 5 4
    assert judged.name == "fashion-mnist-5" and len(judged.train.images) == 12 and len(judged.test.images) == 6


@pytest.mark.parametrize(
    ("data_set", "labels", "other"),
    [
        ("mnist", FASHION_LABELS, "fashion-mnist"),
        ("fashion-mnist", bytes([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5]), "mnist"),
    ],
)
def test_files_of_the_other_data_set(tmp_path: Path, data_set: str, labels: bytes, other: str) -> None:
    write_mnist(tmp_path, train_labels=idx((12,), labels))
    with pytest.raises(DataError, match=f"use --dataset {other}, or another --data-dir"):
        mnist.parts(tmp_path, data_set)


def test_each_data_set_has_its_own_download_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, **_: Any) -> None:
        write_mnist(Path(root) / "FashionMNIST" / "raw", train_labels=idx((12,), FASHION_LABELS))

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    write_mnist(tmp_path / "MNIST" / "raw")
    assert mnist.parts(tmp_path, "mnist")[0].name == "mnist"
    assert mnist.parts(tmp_path, "fashion-mnist")[0].name == "fashion-mnist"


def test_deepdpms_counts(mnist_dir: Path) -> None:
    config = dataclasses.replace(preset("mnist"), data_dir=mnist_dir, imbalance="deepdpm")
    images, held_out = loading.load(config), loading.load_held_out(config)
    assert images.labels is not None and held_out is not None and held_out.labels is not None
    assert torch.bincount(images.labels).tolist() == [6903, 7877, 350, 7141, 6824, 1263, 6876, 7293, 683, 2088]
    assert len(images.images) + len(held_out.images) == 70_000
