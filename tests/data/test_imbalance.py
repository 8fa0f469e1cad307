"""--imbalance: long tails and given counts, on every data set with labels."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets
import torch
from own_images import speckled

from fastgan.config import imbalance as flag
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.data.imbalance import long_tailed, profiled
from fastgan.errors import ConfigError, DataError
from fastgan.runs import run_folder


def config(flags: str) -> TrainConfig:
    return train_config(flags.split(), lambda _: pytest.fail("nothing is resumed"))


def numbered(*counts: int) -> ImageSet:
    """So many images of each class, in turn; each holds its number."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images = torch.arange(len(labels)).view(-1, 1, 1, 1)
    return ImageSet("numbers", images, labels, len(counts))


def test_the_profile_is_that_of_long_tailed_cifar() -> None:
    """CIFAR-10-LT's published counts, at ratios of 100 and 10."""
    assert long_tailed([5000] * 10, 100) == (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    assert long_tailed([5000] * 10, 10) == (5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500)
    assert long_tailed([7] * 3, 1) == (7, 7, 7)


@pytest.mark.parametrize("ratio", [1, 3, 10, 40])
def test_of_unequal_classes_the_first_is_as_frequent_as_all_allow(ratio: float) -> None:
    held = [90, 120, 40, 200]
    counts = long_tailed(held, ratio)
    assert all(count <= most for count, most in zip(counts, held, strict=True))
    assert counts[0] / counts[-1] == pytest.approx(ratio, rel=0.5) and list(counts) == sorted(counts, reverse=True)
    more = [count + 1 for count in long_tailed([counts[0] + 1] * 4, ratio)]
    assert any(count > most for count, most in zip(more, held, strict=True))


def test_which_images_are_kept_follows_from_the_seed_alone() -> None:
    full = numbered(40, 50, 60)
    kept, rest = profiled(full, "long-tailed:4", 3)
    torch.manual_seed(9)
    again, _ = profiled(full, "long-tailed:4", 3)
    other, _ = profiled(full, "long-tailed:4", 4)
    assert kept.images.equal(again.images) and not kept.images.equal(other.images)
    assert kept.labels is not None and torch.bincount(kept.labels).tolist() == [40, 20, 10]
    both = torch.cat((kept.images, rest.images)).flatten().sort().values
    assert both.tolist() == list(range(150)) and kept.name == "numbers-long-tailed"
    assert full.labels is not None and kept.labels.equal(full.labels[kept.images.flatten()])
    fewer, _ = profiled(full, "long-tailed:8", 3)
    assert set(fewer.images.flatten().tolist()) < set(kept.images.flatten().tolist())


def test_given_counts() -> None:
    kept, rest = profiled(numbered(5, 5, 5), "counts:1, 5,2", 0)
    assert kept.labels is not None and torch.bincount(kept.labels).tolist() == [1, 5, 2] and len(rest.images) == 7
    with pytest.raises(DataError, match="--imbalance counts:1,6,2: needs 6 images of class 1, the data has 5; lower"):
        profiled(numbered(5, 5, 5), "counts:1,6,2", 0)
    with pytest.raises(ConfigError, match="--imbalance counts:1,2: 2 given, and numbers has 3 classes; give one"):
        profiled(numbered(5, 5, 5), "counts:1,2", 0)
    with pytest.raises(ConfigError, match="--imbalance long-tailed:50: leaves no image of class 1; use a lower ratio"):
        profiled(numbered(5, 5, 5), "long-tailed:50", 0)


BAD = ("long-tailed", "long-tailed:", "long-tailed:0.5", "long-tailed:x", "long-tailed:nan", "long-tailed:inf")
BAD += ("counts:", "counts:1,,2", "counts:1,0", "counts:-1,2", "counts:1;2", "counts", "tail:10", "none:3", "", "Split")


@pytest.mark.parametrize("text", BAD)
def test_a_bad_value_names_its_flag_and_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=f"^--imbalance {re.escape(text)}: must be one of split, none") as caught:
        train_config(["--dataset", "kmnist", "--imbalance", text], lambda _: pytest.fail("nothing is resumed"))
    assert "long-tailed:R" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("kmnist --imbalance counts:1,2", "--imbalance counts:1,2: 2 given, and kmnist has 10 classes"),
        (
            "emnist --imbalance split",
            "--imbalance split: the published frequencies are of 10 classes, and emnist has 26",
        ),
        ("emnist --imbalance counts:1,2", "emnist has 26 classes"),
        ("kmnist --imbalance deepdpm", "--imbalance deepdpm: is for --dataset mnist or fashion-mnist; use"),
        (
            "folder --data-dir x --imbalance long-tailed:9",
            "--imbalance long-tailed:9: needs classes; add --labels-from",
        ),
        (
            "youtube-faces --data-dir x --imbalance split",
            "and youtube-faces has 40; use --imbalance long-tailed:10, or",
        ),
    ],
)
def test_what_a_data_set_cannot_have_is_refused_before_it_is_read(flags: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(f"--dataset {flags}")
    assert words in str(caught.value)


def counts(images: ImageSet) -> list[int]:
    assert images.labels is not None
    return torch.bincount(images.labels, minlength=images.label_count).tolist()


@pytest.mark.parametrize("flags", small_sets.WRITERS)
def test_every_published_set_has_a_long_tail(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sets.WRITERS[flags](tmp_path, monkeypatch)
    whole = config(f"--dataset {flags} --data-dir {tmp_path} --batch-size 2 --grouping.at")
    own = dataclasses.replace(whole, imbalance="long-tailed:2")
    images, others = loading.load(own), loading.load_held_out(own)
    assert counts(images) == list(long_tailed(counts(loading.load(whole)), 2)) and others is not None
    assert others.images.equal(loading.load_held_out(whole).images)  # type: ignore[union-attr]  # the test part, whole


@pytest.mark.parametrize("name", ["kmnist", "usps", "svhn", "cifar10"])
def test_sets_of_ten_classes_have_the_published_splits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaled: six images of each class stand for 6,300."""
    small_sets.WRITERS[name](tmp_path, monkeypatch)
    own = config(f"--dataset {name} --data-dir {tmp_path} --imbalance split --split 1 --batch-size 2 --grouping.at")
    assert counts(loading.load(own)) == [6, 2, 1, 6, 6, 5, 2, 5, 6, 3]


def test_digits_have_a_long_tail_and_the_rest_is_held_out() -> None:
    own = config("--dataset digits --imbalance long-tailed:10")
    images, others = loading.load(own), loading.load_held_out(own)
    assert counts(images) == list(long_tailed([178, 182, 177, 183, 181, 182, 181, 179, 174, 180], 10))
    assert others is not None and len(images.images) + len(others.images) == 1797


@pytest.mark.parametrize("labelled", [True, False])
def test_arrays_have_a_long_tail_if_they_have_labels(labelled: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    named: dict[str, Any] = {"images": small_sets.pictures(30, 8, 8)}
    np.savez(path, **named, **({"labels": np.arange(30) % 2} if labelled else {}))
    own = config(f"--dataset npz --data-dir {path} --imbalance long-tailed:3 --batch-size 2 --classes 2")
    own = loading.sized(own)
    if not labelled:
        with pytest.raises(ConfigError, match="--imbalance long-tailed:3: needs labels, and .*a.npz has none; use"):
            loading.load(own)
        return
    images, others = loading.load(own), loading.load_held_out(own)
    assert counts(images) == [15, 5] and others is not None and counts(others) == [0, 10]


def test_a_sorted_folder_has_a_long_tail_with_the_paths_of_its_files(here: Path) -> None:
    for i in range(24):
        speckled(here / "ab"[i % 2] / f"{i:02}.png", i)
    flags = f"--dataset folder --data-dir {here} --image-size 8 --batch-size 2 --classes 2 --labels-from-folders"
    own = config(f"{flags} --imbalance counts:9,2")
    images, others = loading.load(own), loading.load_held_out(own)
    assert counts(images) == [9, 2] and images.name == "folder" and others is not None and counts(others) == [3, 10]
    assert images.paths is not None and images.facts is not None and len(images.facts) == len(images.paths) == 11
    assert [path[0] for path in images.paths] == ["ab"[label] for label in images.labels.tolist()]  # type: ignore[union-attr]
    whole = loading.load(dataclasses.replace(own, imbalance="none"))
    assert whole.paths is not None
    for row, path in enumerate(images.paths):
        assert images.images[row].equal(whole.images[whole.paths.index(path)])


def test_a_runs_folder_is_named_after_its_imbalance(tmp_path: Path) -> None:
    own = config("--dataset kmnist --imbalance long-tailed:50")
    assert run_folder.default_name(own).startswith("kmnist-long-tailed-50-k10-seed0-")
    many = "counts:" + ",".join(["12345"] * 10)
    name = run_folder.default_name(config(f"--dataset kmnist --imbalance {many}"))
    assert name.startswith("kmnist-counts-k10-seed0-")


def test_numbers_are_read_once() -> None:
    assert flag.ratio("long-tailed:1e2") == 100 and flag.counts("counts:3,4") == (3, 4)
    assert flag.ratio("split") is None and flag.counts("none") is None
