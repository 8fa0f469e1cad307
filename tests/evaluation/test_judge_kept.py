"""Where judges are kept, and under what: other data in the place of some have another judge."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_images import config, few_steps, flat, like_mnist
from safetensors import SafetensorError

from fastgan.data import held_out, loading
from fastgan.data.image_set import JudgeSet
from fastgan.errors import ConfigError
from fastgan.evaluation import judge, judge_plan
from fastgan.evaluation.judge_network import Judge, JudgeNetwork

CPU = torch.device("cpu")


def kept(cache: Path) -> list[Path]:
    """The files of judges in a cache."""
    return sorted((cache / "judges").iterdir())


@pytest.fixture(name="few_steps")
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)


def test_other_images_labels_shares_or_plans_have_another_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    images = flat(40)
    assert images.labels is not None and images.paths is not None
    other = images.images.clone()
    other[7, 0, 3, 3] ^= 1
    changed = [
        dataclasses.replace(images, images=other),
        dataclasses.replace(images, labels=images.labels.flip(0)),
        dataclasses.replace(images, class_names=("a", "c")),
        dataclasses.replace(images, label_count=3),
        dataclasses.replace(images, images=images.images.view(40, 1, 4, 16)),
        dataclasses.replace(images, name="digits"),
    ]
    shares = held_out.judge_set(images)
    assert shares.train_rows is not None and shares.test_rows is not None
    sets = [shares, *(held_out.judge_set(each) for each in changed)]
    sets.append(dataclasses.replace(shares, train_rows=shares.train_rows[1:]))
    sets.append(dataclasses.replace(shares, test_rows=shares.test_rows[1:]))
    keys = [judge.identity(each) for each in sets]
    monkeypatch.setattr(judge_plan, "FEWEST_STEPS", 41)
    keys.append(judge.identity(shares))
    monkeypatch.setattr(judge, "FORMAT", "0")
    keys.append(judge.identity(shares))
    assert len(set(keys)) == len(keys)


def test_the_same_images_under_other_names_have_the_same_judge() -> None:
    renamed = dataclasses.replace(flat(40), paths=tuple(f"{number}.png" for number in range(40)))
    assert judge.identity(held_out.judge_set(renamed)) == judge.identity(held_out.judge_set(flat(40)))


def test_another_data_set_in_the_place_of_mnist_has_another_judge(tmp_path: Path) -> None:
    """FashionMNIST is published in files of MNIST's names and shapes."""
    digits, fashion = like_mnist(0), like_mnist(1)
    keys = {judge.identity(digits), judge.identity(fashion)}
    for ours, theirs in (("train", "test"), ("test", "train")):  # either part counts
        keys.add(judge.identity(JudgeSet("mnist", **{ours: getattr(digits, ours), theirs: getattr(fashion, theirs)})))
    assert len(keys) == 4 and judge.identity(like_mnist(0)) in keys


@pytest.mark.usefixtures("few_steps")
def test_a_judge_of_idx_files_is_kept_apart_from_that_of_others(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_plan, "PUBLISHED", {})
    given = {"digits": like_mnist(0), "fashion": like_mnist(1)}
    own = config(dataset="mnist", data_dir=here)
    found = []
    for name in ("digits", "fashion", "digits"):
        monkeypatch.setattr(loading, "load_judge_set", lambda *_, name=name: given[name])
        found.append(judge.obtain_judge(own, given[name].train, CPU))
    first, second, again = (each.network.state_dict()["classes.weight"] for each in found if each is not None)
    assert first.equal(again) and not first.equal(second)
    assert len(kept(tmp_path / "user-cache" / "fastgan")) == 2 and list(here.iterdir()) == []


@pytest.mark.usefixtures("few_steps")
def test_a_judge_of_ones_own_images_is_trained_once_and_kept_in_the_cache(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, images = config(data_dir=here), flat(200)
    found = judge.obtain_judge(own, images, CPU)
    assert found is not None and found.reliable
    assert "the judge's accuracy on 40 held-out images is 100.0%" in capsys.readouterr().err
    assert [path.suffix for path in kept(tmp_path / "user-cache" / "fastgan")] == [".safetensors"]
    assert list(here.iterdir()) == []

    monkeypatch.setattr(judge, "train", lambda *_: pytest.fail("trained again"))
    again = judge.obtain_judge(own, images, CPU)
    assert again is not None and again.accuracy == 1.0 and capsys.readouterr().err == ""
    assert again.network.state_dict()["classes.weight"].equal(found.network.state_dict()["classes.weight"])
    for changed, other in ((own, flat(210)), (dataclasses.replace(own, cache_dir=tmp_path / "other"), images)):
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            judge.obtain_judge(changed, other, CPU)


@pytest.mark.usefixtures("few_steps")
def test_a_judge_that_cannot_be_kept_serves_this_run_alone(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = held_out.judge_set(flat(100))
    place = tmp_path / "user-cache" / "fastgan" / "judges"

    def said() -> str:
        assert judge.obtain(shares, CPU).reliable
        return capsys.readouterr().err.strip().splitlines()[-1]

    def full(_: Any, path: str, **other: Any) -> None:
        Path(path).write_bytes(b"a part")
        raise SafetensorError("I/O error: no space left")  # what safetensors makes of every OSError

    with monkeypatch.context() as patch:
        patch.setattr(judge, "save_file", full)
        expected = f"warning: {place}: the judge cannot be kept there and serves this run only ("
        assert said() == f"{expected}I/O error: no space left); name a folder that can be written by --cache-dir"
    assert list(place.iterdir()) == []  # nothing half-written stays
    place.rmdir()
    place.touch()
    assert said().startswith(f"{expected}File exists)")


def test_a_judge_is_not_trained_for_a_cache_of_the_flags_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "train", lambda *_: pytest.fail("trained"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"^--cache-dir {tmp_path}/file: cannot be written .*name a folder that can$"):
        judge.obtain_judge(config(cache_dir=tmp_path / "file"), flat(100), CPU)


@pytest.mark.parametrize("change", ["accuracy", "weights"])
def test_a_judge_whose_file_was_changed_is_not_read(change: str, tmp_path: Path) -> None:
    """Its accuracy decides whether it is reliable, so it is checked like its weights."""
    path = tmp_path / "judge.safetensors"
    judge._write(Judge(JudgeNetwork(1, 3, 8), 0.94, 0.95), path)
    kept = judge._read(path, 8, 0.95, CPU)
    assert kept is not None and kept.accuracy == 0.94
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.94", b"0.99") if change == "accuracy" else content[:-1] + b"\x7f")
    assert path.read_bytes() != content and judge._read(path, 8, 0.95, CPU) is None
