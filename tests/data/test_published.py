"""Published data sets by name: read from small files in their own formats, trained on, and refused where damaged."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch

from fastgan import ElasticInfoGAN, train
from fastgan.config import command_line
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading, mnist
from fastgan.evaluation import judge_plan

TINY = "--network.width 4 --network.hidden 8 --network.embedding 4 --device cpu --epochs 1 --eval-every 1"
TINY += " --grouping.at --pretrain-epochs 0 --batch-size 10"


def config(flags: str, folder: Path) -> TrainConfig:
    words = f"--dataset {flags} --data-dir {folder} --batch-size 4".split()
    return train_config(words, lambda _: pytest.fail("nothing is resumed"))


@pytest.mark.parametrize("flags", small_sets.WRITERS)
def test_a_run_of_a_few_steps_from_its_own_files(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_judge: None
) -> None:
    small_sets.WRITERS[flags](tmp_path / "data", monkeypatch)
    run = tmp_path / "run"
    argv = f"--dataset {flags} --data-dir {tmp_path / 'data'} --run-dir {run} {TINY}".split()
    assert command_line.run_command(train.main, argv) == 0
    settings = json.loads((run / "run.json").read_text())["settings"]
    side, channels, classes = {"usps": (16, 1, 10), "svhn": (32, 3, 10), "cifar10": (32, 3, 10)}.get(
        flags, (28, 1, {"emnist": 26, "emnist --emnist-split balanced": 47}.get(flags, 10))
    )
    assert (settings["image_size"], settings["channels"], settings["classes"]) == (side, channels, classes)
    assert settings["finer_codes"] == max(40, 4 * classes)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["cluster_accuracy"] <= 1 and "nmi" not in last


@pytest.mark.parametrize("flags", small_sets.WRITERS)
def test_the_training_part_is_trained_on_and_the_test_part_held_out(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sets.WRITERS[flags](tmp_path, monkeypatch)
    own = config(flags, tmp_path)
    images, others, judged = loading.load(own), loading.load_held_out(own), loading.load_judge_set(own)
    assert others is not None and images.labels is not None and others.labels is not None
    assert images.label_count == others.label_count == own.classes == len(images.labels.unique())
    assert (len(images.images), len(others.images)) == {26: (52, 52), 47: (94, 94)}.get(own.classes) or (
        (20, 20) if "digits" in flags else (60, 20)
    )
    assert judged.train.images.equal(images.images) and judged.test.images.equal(others.images)
    assert judged.name in judge_plan.PUBLISHED
    assert images.class_names is None or len(images.class_names) == images.label_count
    assert images.images.dtype == torch.uint8 and images.images.shape[2:] == (own.image_size,) * 2


def test_images_and_labels_are_those_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("usps", "svhn", "cifar10"):
        small_sets.WRITERS[name](tmp_path, monkeypatch)
        images = loading.load(config(name, tmp_path))
        assert images.labels is not None
        if name == "cifar10":
            first = small_sets.pictures(12, 3072, seed=1).reshape(12, 3, 32, 32)
            assert images.labels[12:15].tolist() == [2, 3, 4] and np.array_equal(images.images[12:24].numpy(), first)
            continue
        assert images.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
        shape = (60, 16, 16) if name == "usps" else (60, 32, 32, 3)
        wanted = small_sets.pictures(*shape)
        wanted = wanted[:, None] if name == "usps" else wanted.transpose(0, 3, 1, 2)
        apart = np.abs(images.images.numpy().astype(int) - wanted)
        assert apart.max() <= (1 if name == "usps" else 0)  # torchvision cuts USPS's fractions off


def test_emnist_stands_upright_and_has_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files hold each image with rows and columns exchanged."""
    small_sets.WRITERS["emnist"](tmp_path, monkeypatch)
    images = loading.load(config("emnist", tmp_path))
    lying = small_sets.pictures(52, 28, 28)
    assert np.array_equal(images.images[:, 0].numpy(), lying.transpose(0, 2, 1))
    assert images.class_names == tuple(string.ascii_uppercase) and images.labels is not None
    assert images.labels[:3].tolist() == [0, 1, 2]
    from torchvision.datasets import EMNIST

    balanced = tuple(EMNIST.classes_split_dict["balanced"])
    assert mnist.SETS["emnist-balanced"].class_names == balanced and len(balanced) == 47
    assert tuple(EMNIST.splits) == mnist.EMNIST_SPLITS


def test_classes_that_are_given_stay(tmp_path: Path) -> None:
    assert config("emnist --classes 30", tmp_path).classes == 30
    assert config("emnist --emnist-split balanced", tmp_path).finer_codes == 188


@pytest.mark.parametrize("inner", ["", "EMNIST/raw", "EMNIST/raw/gzip", "gzip"])
def test_emnists_files_lie_where_its_archive_or_torchvision_puts_them(
    inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sets.WRITERS["emnist"](tmp_path / inner, monkeypatch)
    assert len(loading.load(config("emnist", tmp_path)).images) == 52


def test_cifars_archive_is_unpacked_and_its_inner_folder_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sets.cifar10_archive(tmp_path, monkeypatch)
    whole = loading.load(config("cifar10", tmp_path))
    assert len(whole.images) == 60 and (tmp_path / "cifar-10-batches-py" / "test_batch").is_file()
    again = loading.load(config("cifar10", tmp_path / "cifar-10-batches-py"))
    assert again.images.equal(whole.images)


def test_an_estimator_takes_a_sets_defaults() -> None:
    model = ElasticInfoGAN(
        2, preset="cifar10", epochs=1, batch_size=4, pretrain_epochs=0, verbose=False, device="cpu",
        network={"width": 4, "hidden": 8, "embedding": 4}, grouping={"at": ()},
    )  # fmt: skip
    model.fit(small_sets.pictures(12, 32, 32, 3))
    settings = json.loads((model.run_dir_ / "run.json").read_text())["settings"]
    assert (settings["dataset"], settings["channels"], settings["transform"]["kind"]) == ("npz", 3, "auto") or (
        settings["channels"] == 3 and settings["network"]["width"] == 4
    )
    assert model.labels_.shape == (12,)
