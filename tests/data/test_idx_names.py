"""Files that are nearly MNIST's: misnamed, in another place, or EMNIST's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from test_mnist import NAMES, idx, write_mnist

from fastgan.data import mnist
from fastgan.errors import DataError


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("{}".format, ""),
        (
            lambda name: name.replace("-idx", ".idx"),
            "is nearly the name train-images-idx3-ubyte; rename it, and 3 files",
        ),
        (lambda name: name.replace("-", "_"), "rename it"),
        (lambda name: name.upper(), "rename it"),
        (lambda name: f"{name} (1)", "rename it"),
        (lambda name: f"{name} copy", "rename it"),
        (lambda name: f"{name.replace('-idx', '.idx')}.gz", "is nearly the name train-images-idx3-ubyte.gz; rename it"),
        (lambda name: f"MNIST/raw/{name.replace('-idx', '.idx')}", "rename it"),
    ],
)
def test_names_that_are_nearly_right_are_told(
    tmp_path: Path, wrong: Callable[[str], str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: pytest.fail("it must not download"))
    write_mnist(tmp_path / "whole")
    for name in NAMES:
        place = tmp_path / "given" / wrong(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((tmp_path / "whole" / name).read_bytes())
    if not words:
        assert mnist.parts(tmp_path / "given")
        return
    with pytest.raises(DataError, match=re.escape(words.format(folder=tmp_path / "given"))) as caught:
        mnist.parts(tmp_path / "given")
    assert wrong(NAMES[0]).partition("/")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda name: f"{name}/{name}", "is not in {folder} itself; move it there, and 3 files likewise"),
        (lambda name: f"a/raw/{name}.gz", "is not in {folder} itself; add --data-dir {folder}/a/raw, and 3 files"),
    ],
)
def test_files_in_another_place_are_told_where_nothing_can_be_downloaded(
    tmp_path: Path, wrong: Callable[[str], str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be another data set's, so that the download comes first."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("closed port")

    monkeypatch.setattr("torchvision.datasets.MNIST", refuse)
    for name in NAMES:
        place = tmp_path / wrong(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    with pytest.raises(DataError, match=re.escape(words.format(folder=tmp_path))) as caught:
        mnist.parts(tmp_path)
    assert "cannot be downloaded (closed port)" in str(caught.value)


def test_the_one_file_that_is_misnamed_is_told(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / NAMES[3]).rename(tmp_path / NAMES[3].replace("-idx", ".idx"))
    with pytest.raises(DataError, match=r"missing; .*t10k-labels.idx1-ubyte is nearly the name t10k-labels-idx1-ubyte"):
        mnist.parts(tmp_path)


@pytest.mark.parametrize(("first", "classes", "split"), [(1, 26, "letters"), (0, 47, "balanced"), (0, 62, "by class")])
def test_emnist_is_named(tmp_path: Path, first: int, classes: int, split: str) -> None:
    labels = bytes(range(first, first + classes))
    write_mnist(tmp_path, train_images=idx((classes, 28, 28)), train_labels=idx((classes,), labels))
    with pytest.raises(DataError) as caught:
        mnist.parts(tmp_path)
    message = str(caught.value)
    assert f"their {classes} classes are those of EMNIST {split}" in message and "fetch the file again" not in message
    named = f"--dataset emnist --emnist-split {split}" if classes < 62 else f"--dataset folder --classes {classes}"
    assert named in message and "--data-dir" in message
