"""Data: the published class frequencies, subsets that never change, MNIST's files whole and damaged, orders."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import data
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.data import digits, loading
from fastgan.data.image_set import ImageSet
from fastgan.data.imbalance import class_counts, imbalanced
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
    assert digest(digits.choose(digits.full(8), 1, 0)[0]) == expected
    torch.manual_seed(3)  # the global generator has no part in it
    assert digest(digits.choose(digits.full(8), 1, 0)[0]) == expected


def test_another_split_or_seed_is_another_subset() -> None:
    chosen = [
        digest(digits.choose(digits.full(8), split, seed)[0]) for split, seed in ((1, 0), (2, 0), (1, 1), (50, 7))
    ]
    assert len(set(chosen)) == 4


@pytest.mark.parametrize("split", [1, 2, 50])
def test_digits_are_as_frequent_as_the_split_says(split: int) -> None:
    """Scaled so that 174 images, the rarest digit's, stand for 6,300."""
    chosen, rest = digits.choose(digits.full(8), split, 0)
    assert len(chosen.images) + len(rest.images) == 1797
    assert chosen.labels is not None
    expected = (class_counts(split) * (174 / 6300)).round().long()
    assert torch.bincount(chosen.labels).tolist() == expected.tolist()
    frequencies = chosen.class_frequencies()
    assert frequencies is not None
    torch.testing.assert_close(frequencies, expected / expected.sum().double())


def test_a_subset_has_no_image_twice() -> None:
    """Every image holds its number, so that the chosen ones can be identified."""
    count, split = 70_000, 1
    number = torch.arange(count)
    images = torch.stack([(number >> shift) & 255 for shift in (0, 8, 16)], dim=1).to(torch.uint8).view(count, 3, 1, 1)
    labels = number % 10
    chosen, rest = imbalanced(ImageSet("numbers", images, labels, 10), split, seed=0)
    assert chosen.labels is not None
    index, others = ((x.images.flatten(1).long() * torch.tensor([1, 256, 65_536])).sum(1) for x in (chosen, rest))
    assert torch.equal(torch.cat((index, others)).sort().values, number)  # the held-out images are all the others
    assert len(index.unique()) == len(index) == sum(FIRST_SPLIT)
    assert torch.equal(chosen.labels, index % 10)  # an image keeps its label
    assert torch.bincount(chosen.labels).tolist() == FIRST_SPLIT
    assert (index.diff() > 0).all()  # in the data's own order: the order of training is drawn elsewhere


def test_a_split_that_needs_more_than_there_is() -> None:
    few = ImageSet("few", torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.arange(10), 10)
    with pytest.raises(DataError, match="--split 1: needs 6,300 images of class 0, the data has 1"):
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
    assert len(digits.full(size).images) == 1797


def test_judge_tests_on_digits_that_it_was_not_trained_on() -> None:
    judged = digits.judge_set(16)
    both = torch.cat((judged.train.images, judged.test.images)).flatten(1)
    assert (len(judged.train.images), len(judged.test.images)) == (1438, 359)
    assert torch.equal(both.sort(0).values, digits.full(16).images.flatten(1).sort(0).values)
    assert digest(judged.test) == digest(digits.judge_set(16).test)
    assert judged.test.labels is not None and len(judged.test.labels.unique()) == 10


# --- what a run asks for ---


def config(**changes: Any) -> TrainConfig:
    return dataclasses.replace(preset("digits"), **changes)


def test_load_follows_the_config(tmp_path: Path) -> None:
    assert loading.load(config()).images.shape == (1182, 1, 16, 16)
    assert loading.load(config(imbalance="none", image_size=28)).images.shape == (1797, 1, 28, 28)
    assert len(loading.load_judge_set(config()).test.images) == 359
    assert loading.data_folder(config(data_dir=tmp_path)) == tmp_path and loading.data_folder(config()) == Path("data")


def test_a_batch_larger_than_the_data() -> None:
    assert len(loading.load(config(batch_size=1182)).images) == 1182
    with pytest.raises(ConfigError, match="--batch-size 1183: larger than the data, which has 1,182 images; lower it"):
        loading.load(config(batch_size=1183))


def test_more_classes_than_images() -> None:
    with pytest.raises(ConfigError, match="--classes 1183"):
        loading.load(config(classes=1183))


def test_an_empty_folder_is_no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: 1 / 0)
    with pytest.raises(DataError, match="MNIST is not in"):
        loading.load(config(dataset="mnist", data_dir=tmp_path))


@pytest.mark.parametrize("count", [1, 2, 1182])
def test_an_order_is_a_permutation(count: int) -> None:
    order = loading.epoch_order(config(), count, 3)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(count))


def test_an_order_follows_from_seed_and_epoch() -> None:
    torch.manual_seed(1)
    first = loading.epoch_order(config(), 1182, 0)
    torch.manual_seed(2)
    assert torch.equal(loading.epoch_order(config(), 1182, 0), first)
    # About one place in 1,182 agrees by chance.
    for other in (loading.epoch_order(config(), 1182, 1), loading.epoch_order(config(seed=1), 1182, 0)):
        assert (other == first).sum() < 10
    assert (first == torch.arange(1182)).sum() < 10


def test_an_order_never_changes() -> None:
    """PCG64's raw output and a stable sort: a checkpoint resumes with the same order under any NumPy."""
    assert loading.epoch_order(config(), 10, 0).tolist() == [7, 1, 5, 3, 6, 4, 9, 8, 0, 2]
