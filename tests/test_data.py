"""Data: the published class frequencies, subsets that never change, MNIST's files whole and damaged, orders."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import hashlib
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

from fastgan import data
from fastgan.config import TrainConfig, preset
from fastgan.data import ImageSet, digits, mnist
from fastgan.data.imbalance import class_counts, imbalanced
from fastgan.data.mnist import read_idx
from fastgan.errors import ConfigError, DataError

CSV = Path(data.__file__).parent / "mnist_imbalance_50.csv"
FIRST_SPLIT = [6300, 1585, 1407, 6134, 5812, 4882, 2424, 4785, 6125, 3340]

# --- class frequencies and the subsets that they ask for ---


def test_counts_equal_the_published_table() -> None:
    """All 50 rows as the file has them, and the file as it was published."""
    with CSV.open(newline="") as file:
        rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    assert [class_counts(split).tolist() for split in range(1, 51)] == rows
    assert rows[0] == FIRST_SPLIT
    expected = "3f5f05aa8a51b669985cd8bc3e977aa222dc73fd6b26ecbdf84c5b8665e98f46"
    assert hashlib.sha256(CSV.read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("split", [0, 51, -1])
def test_there_are_fifty_splits(split: int) -> None:
    with pytest.raises(DataError, match=f"--split {split}: must be 1 to 50"):
        class_counts(split)


def digest(images: ImageSet) -> str:
    assert images.labels is not None
    return hashlib.sha256(images.labels.numpy().tobytes() + images.images.numpy().tobytes()).hexdigest()


def test_the_chosen_subset_never_changes() -> None:
    """Split 1, seed 0 of the digits at their own 8 x 8 pixels, where no resizing can round differently."""
    expected = "8c3ae48bbfce70a645cdf83845946ca8bbaf40efb291dc88c4cb2852a4ec874e"
    assert digest(digits.load(8, 1, 0, "split")) == expected
    torch.manual_seed(3)  # the global generator has no part in it
    assert digest(digits.load(8, 1, 0, "split")) == expected


def test_another_split_or_seed_is_another_subset() -> None:
    chosen = [digest(digits.load(8, split, seed, "split")) for split, seed in ((1, 0), (2, 0), (1, 1), (50, 7))]
    assert len(set(chosen)) == 4


@pytest.mark.parametrize("split", [1, 2, 50])
def test_digits_are_as_frequent_as_the_split_says(split: int) -> None:
    """Scaled so that 174 images, the rarest digit's, stand for 6,300."""
    chosen = digits.load(8, split, 0, "split")
    assert chosen.labels is not None
    expected = (class_counts(split) * (174 / 6300)).round().long()
    assert torch.bincount(chosen.labels).tolist() == expected.tolist()
    frequencies = chosen.class_frequencies()
    assert frequencies is not None
    torch.testing.assert_close(frequencies, expected / expected.sum().double())


def test_a_subset_has_no_image_twice() -> None:
    """Every image is its own number, so that the chosen ones can be told apart."""
    count, split = 70_000, 1
    number = torch.arange(count)
    images = torch.stack([(number >> shift) & 255 for shift in (0, 8, 16)], dim=1).to(torch.uint8).view(count, 3, 1, 1)
    labels = number % 10
    chosen = imbalanced(ImageSet("numbers", images, labels, 10), split, seed=0)
    assert chosen.labels is not None
    index = (chosen.images.flatten(1).long() * torch.tensor([1, 256, 65_536])).sum(1)
    assert len(index.unique()) == len(index) == sum(FIRST_SPLIT)
    assert torch.equal(chosen.labels, index % 10)  # an image keeps its label
    assert torch.bincount(chosen.labels).tolist() == FIRST_SPLIT
    assert (index.diff() > 0).all()  # in the data's own order: the order of training is drawn elsewhere


def test_a_split_that_wants_more_than_there_is() -> None:
    few = ImageSet("few", torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.arange(10), 10)
    with pytest.raises(DataError, match="split 1: wants 6300 images of class 0, the data has 1"):
        imbalanced(few, 1, seed=0)


@pytest.mark.parametrize("size", [8, 16, 28])
def test_digits_at_a_size(size: int) -> None:
    full = digits.full(size)
    assert full.images.shape == (1797, 1, size, size) and full.images.dtype == torch.uint8
    assert full.labels is not None and full.labels.dtype == torch.int64 and full.label_count == 10
    assert torch.bincount(full.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert full.images.min() == 0 and full.images.max() == 255
    # Resizing keeps the brightness of an image, and its labels.
    eight = digits.full(8)
    assert (full.images.float().mean((1, 2, 3)) - eight.images.float().mean((1, 2, 3))).abs().max() < 8
    assert torch.equal(full.labels, eight.labels)  # type: ignore[arg-type]
    assert len(digits.load(size, 1, 0, "none").images) == 1797


def test_judge_tests_on_digits_that_it_was_not_trained_on() -> None:
    judged = digits.judge_set(16)
    both = torch.cat((judged.train.images, judged.test.images)).flatten(1)
    assert (len(judged.train.images), len(judged.test.images)) == (1438, 359)
    assert torch.equal(both.sort(0).values, digits.full(16).images.flatten(1).sort(0).values)
    assert digest(judged.test) == digest(digits.judge_set(16).test)
    assert judged.test.labels is not None and len(judged.test.labels.unique()) == 10


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
    """gzip is told by its first bytes, whatever the file is called."""
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
    "header cut": (WHOLE[:15], "not an idx file"),
    "empty": (b"", "it begins with nothing, expected 00000803"),
    "wrong magic": (idx((5, 4, 3), magic=b"\x00\x00\x0d\x03"), "it begins with 00000d03, expected 00000803"),
    "labels for images": (idx((60,)), "it begins with 00000801, expected 00000803"),
    "text": (b"<html><body>404 Not Found</body></html>", "not an idx file"),
    "header bomb": (idx((2**32 - 1,) * 3, b""), "its header asks for 79228162458924105385300197375 bytes"),
    "header over the cap": (idx((2**30, 2, 1), b""), "its header asks for 2147483648 bytes"),
    "header below the cap": (idx((2**29, 1, 1), b"abc"), "expected 536870912 bytes of data [536870912, 1, 1], found 3"),
    "gzip cut": (PACKED[:-12], "damaged gzip data"),
    "gzip trailer cut": (PACKED[:-1], "damaged gzip data"),
    "gzip header only": (PACKED[:5], "damaged gzip data"),
    "gzip magic only": (PACKED[:2], "damaged gzip data"),
    "gzip checksum": (PACKED[:-8] + b"\x00" * 4 + PACKED[-4:], "damaged gzip data"),
    "gzip with more behind": (PACKED + b"more", "damaged gzip data"),
    "short inside gzip": (gzip.compress(WHOLE[:-1]), "expected 60 bytes of data [5, 4, 3], found 59"),
    "long inside gzip": (gzip.compress(WHOLE + b"x"), "found more than 60"),
    "bomb inside gzip": (gzip.compress(idx((2**32 - 1,) * 3, b"")), "its header asks for"),
}


@pytest.mark.parametrize("content, message", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_named(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_idx(file, 3)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.xfail(strict=True, reason="a zero in the header: a float tensor, or RuntimeError where strides overflow")
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
    everything = mnist.load(tmp_path, 32, 1, 0, "none")
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
        ({"train_images": idx((0, 28, 28)), "train_labels": idx((0,))}, ""),
    ],
    ids=["few labels", "many labels", "label 10", "label 255", "cut", "no images"],
)
def test_files_that_do_not_belong_together(tmp_path: Path, contents: dict[str, bytes], message: str) -> None:
    write_mnist(tmp_path, **contents)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        mnist.parts(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.xfail(strict=True, reason="images of any size are accepted; unequal sizes end in torch's RuntimeError")
@pytest.mark.parametrize("shape", [(6, 32, 32), (6, 28, 27), (6, 0, 28)], ids=str)
def test_images_of_another_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_mnist(tmp_path, test_images=idx(shape))
    with pytest.raises(DataError, match="28"):
        mnist.load(tmp_path, 28, 1, 0, "none")


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), OSError("closed port")], ids=repr)
def test_download_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The message names each file and where to put it; torchvision raises either kind."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    with pytest.raises(DataError) as caught:
        mnist.parts(tmp_path)
    message = str(caught.value)
    assert all(name in message for name in NAMES)
    assert str(tmp_path) in message and "--data-dir" in message and "\n" not in message


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
    everything = mnist.load(mnist_dir, 28, 1, 0, "none")
    assert everything.images.shape == (70_000, 1, 28, 28) and everything.labels is not None
    assert torch.bincount(everything.labels).tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    chosen = mnist.load(mnist_dir, 28, 1, 0, "split")
    assert chosen.labels is not None and len(chosen.images) == len(chosen.labels) == 42_794
    assert torch.bincount(chosen.labels).tolist() == FIRST_SPLIT


# --- what a run asks for ---


def config(**changes: Any) -> TrainConfig:
    return dataclasses.replace(preset("digits"), **changes)


def test_load_follows_the_config(tmp_path: Path) -> None:
    assert data.load(config()).images.shape == (1182, 1, 16, 16)
    assert data.load(config(imbalance="none", image_size=28)).images.shape == (1797, 1, 28, 28)
    write_mnist(tmp_path)
    numbers = data.load(config(dataset="mnist", data_dir=tmp_path, imbalance="none", batch_size=18))
    assert numbers.images.shape == (18, 1, 16, 16)
    assert len(data.load_judge_set(config(dataset="mnist", data_dir=tmp_path)).test.images) == 6
    assert len(data.load_judge_set(config()).test.images) == 359
    assert data.data_folder(config(data_dir=tmp_path)) == tmp_path and data.data_folder(config()) == Path("data")


def test_a_batch_larger_than_the_data() -> None:
    assert len(data.load(config(batch_size=1182)).images) == 1182
    with pytest.raises(ConfigError, match="--batch-size 1183: larger than the data, which has 1182 images"):
        data.load(config(batch_size=1183))


def test_an_empty_folder_is_no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: 1 / 0)
    with pytest.raises(DataError, match="MNIST is not in"):
        data.load(config(dataset="mnist", data_dir=tmp_path))


@pytest.mark.parametrize("count", [1, 2, 1182])
def test_an_order_is_a_permutation(count: int) -> None:
    order = data.epoch_order(config(), count, 3)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(count))


def test_an_order_follows_from_seed_and_epoch() -> None:
    torch.manual_seed(1)
    first = data.epoch_order(config(), 1182, 0)
    torch.manual_seed(2)
    assert torch.equal(data.epoch_order(config(), 1182, 0), first)
    # About one place in 1,182 agrees by chance.
    for other in (data.epoch_order(config(), 1182, 1), data.epoch_order(config(seed=1), 1182, 0)):
        assert (other == first).sum() < 10
    assert (first == torch.arange(1182)).sum() < 10


def test_an_order_never_changes() -> None:
    """PCG64's raw output and a stable sort: a checkpoint resumes with the same order under any NumPy."""
    assert data.epoch_order(config(), 10, 0).tolist() == ORDER_OF_TEN


ORDER_OF_TEN = [0]
