"""Published data sets by name: read from small files in their own formats, trained on, and refused where damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import pickle
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets
import torch
from scipy.io import savemat

from fastgan import train
from fastgan.config import command_line
from fastgan.config.command_line import train_config
from fastgan.config.schema import TrainConfig
from fastgan.data import cifar, loading, mnist
from fastgan.errors import ConfigError, DataError
from fastgan.evaluation import judge_plan

TINY = "--network.width 4 --network.hidden 8 --network.embedding 4 --device cpu --epochs 1 --eval-every 1"
TINY += " --grouping.at --pretrain-epochs 0 --batch-size 10"
NAMES = ("kmnist", "emnist", "usps", "cifar10", "svhn")


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


# --- what cannot be used ---


def out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: whatever torchvision opens is refused."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


WANTED = {
    "kmnist": ("train-images-idx3-ubyte[.gz]", "github.com/rois-codh/kmnist"),
    "emnist": ("emnist-letters-train-images-idx3-ubyte[.gz]", "nist.gov"),
    "usps": ("usps.bz2, usps.t.bz2", "csie.ntu.edu.tw"),
    "cifar10": ("cifar-10-python.tar.gz or the folder cifar-10-batches-py", "cs.toronto.edu"),
    "svhn": ("train_32x32.mat, test_32x32.mat", "ufldl.stanford.edu"),
}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_there_and_no_network_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the files and where they are; nothing stays behind."""
    out_of_reach(monkeypatch)
    folder = tmp_path / "data"
    with pytest.raises(DataError, match="is not in .* and cannot be downloaded") as caught:
        loading.load(config(name, folder))
    message = str(caught.value)
    assert all(words in message for words in (*WANTED[name], str(folder), "--data-dir")) and "\n" not in message
    assert not folder.exists()


@pytest.mark.parametrize("name", NAMES)
def test_files_of_another_set_are_recognised(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"svhn": "cifar10", "cifar10": "svhn"}.get(name, "usps" if name != "usps" else "emnist")
    small_sets.WRITERS[other](tmp_path, monkeypatch)
    out_of_reach(monkeypatch)
    kept = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=rf"is of [\w-]+; use --dataset {other}, or another --data-dir"):
        loading.load(config(name, tmp_path))
    assert sorted(tmp_path.rglob("*")) == kept


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("cifar10", "cifar-10-binary.tar.gz", "its Python form is read"),
        ("cifar10", "cifar-100-python.tar.gz", "is CIFAR-100"),
        ("svhn", "digitStruct.mat", "its cropped digits are read"),
        ("emnist", "gzip.zip", "packed; unpack it"),
        ("kmnist", "kmnist-train-imgs.npz", "its idx files are read"),
    ],
)
def test_other_forms_of_a_set_are_recognised(
    name: str, file: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_bytes(b"")
    out_of_reach(monkeypatch)
    with pytest.raises(DataError) as caught:
        loading.load(config(name, tmp_path))
    assert words in str(caught.value) and str(tmp_path / file) in str(caught.value)


def test_kmnists_files_are_told_from_those_of_the_same_names() -> None:
    """By their labels: 6,000 of each class, and not FashionMNIST's first ones."""
    labels = torch.arange(60_000) % 10
    fashion = torch.cat((torch.tensor([9, 0, 0, 3, 0, 2, 7, 2]), labels[8:]))
    for wanted, given, found in (
        ("mnist", labels, "kmnist"),
        ("fashion-mnist", labels, "kmnist"),
        ("kmnist", fashion, "fashion-mnist"),
        ("kmnist", torch.tensor([5, 0, 4, 1, 9, 2, 1, 3, 1]), "mnist"),
    ):
        with pytest.raises(DataError, match=f"use --dataset {found}, or another --data-dir"):
            mnist._check_title(Path("data"), wanted, given)
    mnist._check_title(Path("data"), "kmnist", labels)
    mnist._check_title(Path("data"), "mnist", labels[:59_990])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("kmnist", "train-images-idx3-ubyte.gz"),
        ("emnist", "emnist-letters-test-labels-idx1-ubyte.gz"),
        ("usps", "usps.bz2"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("svhn", "train_32x32.mat"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_sets.WRITERS[name](tmp_path, monkeypatch)
    cut(tmp_path / file)
    argv = f"--dataset {name} --data-dir {tmp_path} --run-dir {tmp_path / 'run'} {TINY}".split()
    assert command_line.run_command(train.main, argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and str(tmp_path / file) in lines[0] and "fetch" in lines[0], lines


def test_a_damaged_archive_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sets.cifar10_archive(tmp_path, monkeypatch)
    out_of_reach(monkeypatch)
    archive = tmp_path / "cifar-10-python.tar.gz"
    cut(archive)
    with pytest.raises(DataError, match="cifar-10-python.tar.gz: damaged, or another file"):
        loading.load(config("cifar10", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_one_of_several_files_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_reach(monkeypatch)
    for name, file in (
        ("cifar10", "cifar-10-batches-py/data_batch_2"),
        ("usps", "usps.bz2"),
        ("svhn", "train_32x32.mat"),
        ("emnist", "emnist-letters-test-images-idx3-ubyte.gz"),
    ):
        small_sets.WRITERS[name](tmp_path / name, monkeypatch)
        (tmp_path / name / file).unlink()
        with pytest.raises(DataError, match=r"missing|cannot be downloaded"):
            loading.load(config(name, tmp_path / name))
        assert not (tmp_path / name / file).exists()


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Evil(), "which is no array"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "labels other than 0 to 9"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "and 1 labels"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}, "of shape"),
        ({"fine_labels": [0]}, "'data'"),
        ([], "no file of CIFAR-10"),
    ],
)
def test_a_pickle_runs_nothing_and_holds_cifar(
    entry: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even one whose sum is right."""
    small_sets.cifar10(tmp_path, monkeypatch)
    files = small_sets.cifar_batches() | {"data_batch_1": pickle.dumps(entry, protocol=2)}
    small_sets.cifar_sums(monkeypatch, files)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(files["data_batch_1"])
    with pytest.raises(DataError, match="data_batch_1: no file of CIFAR-10") as caught:
        cifar.part(tmp_path, "train")
    assert words in str(caught.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        b"not bzip2",
        bz2.compress(b"1 1:0.5 2:0.5\n"),
        bz2.compress(small_sets.usps_lines(small_sets.pictures(3, 16, 16), np.array([0, 1, 10]))),
        bz2.compress(b""),
    ],
    ids=["no bzip2", "two pixels", "eleven classes", "empty"],
)
def test_a_file_that_is_not_usps(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "usps.bz2").write_bytes(content)
    with pytest.raises(DataError, match=r"usps.bz2: (damaged, or )?not a file of USPS.*fetch it again"):
        loading.load(config("usps", tmp_path))


def test_a_matlab_file_without_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    file = io.BytesIO()
    savemat(file, {"Z": np.zeros(3)})
    sums = dict(SVHN.split_list)
    sums["train"] = [*SVHN.split_list["train"][:2], small_sets._write(tmp_path / "train_32x32.mat", file.getvalue())]
    monkeypatch.setattr(SVHN, "split_list", sums)
    with pytest.raises(DataError, match="train_32x32.mat: damaged, or not a file of SVHN"):
        loading.load(config("svhn", tmp_path))


def test_labels_outside_a_split_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sets.WRITERS["emnist"](tmp_path, monkeypatch)
    path = tmp_path / "emnist-letters-train-labels-idx1-ubyte.gz"
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[8] = 0
    path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(DataError, match="train labels reach 0, expected 1 to 26"):
        loading.load(config("emnist", tmp_path))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("cifar10 --channels 1", "--channels 1: is for --dataset folder or .*; leave it out with cifar10"),
        ("kmnist --channels 3", "--channels 3: is for"),
        ("mnist --emnist-split digits", "--emnist-split digits: is for --dataset emnist; leave it out with mnist"),
        ("emnist --emnist-split byclass", "--emnist-split byclass: must be one of"),
    ],
)
def test_flags_of_others_are_refused(flags: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        config(flags, tmp_path)
