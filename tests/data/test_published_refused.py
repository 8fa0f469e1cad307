"""Published data sets that cannot be used: missing, damaged, misnamed, or of another set. One line each."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets
import torch
from scipy.io import savemat
from test_published import TINY, config

from fastgan import train
from fastgan.config import command_line
from fastgan.data import cifar, loading, mnist
from fastgan.errors import ConfigError, DataError

NAMES = ("kmnist", "emnist", "usps", "cifar10", "svhn")


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
def test_a_download_that_is_interrupted_leaves_no_part_of_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count as damaged the next time."""

    def begin(url: str, path: Any, *_: Any, **__: Any) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"the first bytes")
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", begin)
    folder = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        loading.load(config(name, folder))
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


def refusal_beside(name: str, folder: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a data set that is to be read from a folder with nothing but an empty file."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(b"")
    out_of_reach(monkeypatch)
    with pytest.raises(DataError) as caught:
        loading.load(config(name, folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "words"),
    [
        ("usps", "usps (1).bz2", "is nearly the name usps.bz2; rename it"),
        ("usps", "lib/svm/usps.bz2", "is not in {folder} itself; add --data-dir {folder}/lib/svm"),
        ("svhn", "Train-32x32.mat", "is nearly the name train_32x32.mat; rename it"),
        ("svhn", "cropped/train_32x32.mat", "add --data-dir {folder}/cropped"),
        ("cifar10", "cifar-10-python (1).tar.gz", "is nearly the name cifar-10-python.tar.gz; rename it"),
        ("cifar10", "cifar10/cifar-10-batches-py/data_batch_1", "add --data-dir {folder}/cifar10/cifar-10-batches-py"),
        ("emnist", "emnist_letters_train_images_idx3_ubyte.gz", "rename it"),
    ],
)
def test_names_that_are_nearly_right_are_told(
    name: str, file: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal_beside(name, tmp_path, file, monkeypatch)
    assert words.format(folder=tmp_path) in message and (tmp_path / file).exists()


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
    message = refusal_beside(name, tmp_path, file, monkeypatch)
    assert words in message and str(tmp_path / file) in message


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
