"""Agreement of two runs: known labelings, what is refused, and the command on two tiny runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fastgan import evaluate, train
from fastgan.config import command_line
from fastgan.config.serialization import to_json
from fastgan.data import loading
from fastgan.evaluation import agreement, diagnosis, metrics
from fastgan.inference import labelling, trained_run
from fastgan.runs import run_folder
from fastgan.tasks import evaluate as task

CPU = torch.device("cpu")
SMALL = "--network.width 8 --network.hidden 32 --network.embedding 16 --device cpu --grouping.at"


def labelings(*rows: list[int]) -> list[torch.Tensor]:
    return [torch.tensor(row) for row in rows]


# --- figures and words ---


def test_the_same_classes_by_other_names_agree() -> None:
    first, second = labelings([0, 0, 1, 1, 2, 2], [4, 4, 0, 0, 2, 2])
    assert set(metrics.agreement(first, second, 3, 5).values()) == {1.0}


def test_labelings_by_hand() -> None:
    """Of 15 pairs the first joins 3, the second 6, both 2: ARI = (2 - 3 * 6 / 15) / ((3 + 6) / 2 - 3 * 6 / 15)."""
    first, second = labelings([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 0])
    joined = [[bool(row[i] == row[j]) for i in range(6) for j in range(i)] for row in (first, second)]
    assert [sum(row) for row in joined] == [3, 6] and sum(a and b for a, b in zip(*joined, strict=True)) == 2
    found = metrics.agreement(first, second, 3, 2)
    assert found["agreement_ari"] == pytest.approx((2 - 18 / 15) / (9 / 2 - 18 / 15))
    assert found["agreement_accuracy"] == pytest.approx(4 / 6)
    assert found == pytest.approx(metrics.agreement(second, first, 2, 3))


def test_labelings_by_chance_do_not_agree() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randint(10, (5000,), generator=draw) for _ in range(2))
    found = metrics.agreement(first, second, 10, 10)
    assert abs(found["agreement_ari"]) < 0.01 and found["agreement_nmi"] < 0.02
    assert 0.1 < found["agreement_accuracy"] < 0.14


@pytest.mark.parametrize(("ari", "message"), [(0.9, "High agreement"), (0.6, "in part"), (0.1, "Low agreement")])
def test_agreement_in_words(ari: float, message: str) -> None:
    assert message in diagnosis.agreement(ari)


# --- two runs ---


@pytest.fixture(scope="module")
def other_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like the tiny one, with another seed and more codes."""
    run = tmp_path_factory.mktemp("other") / "run"
    flags = f"{SMALL} 1 --epochs 4 --eval-every 9 --seed 1 --classes 12 --run-dir {run}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastgan.reporting.run_reporter.obtain_judge", lambda *_: None)
        assert command_line.run_command(train.main, flags.split()) == 0
    return run


@pytest.fixture(autouse=True)
def _no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "obtain_judge", lambda *_: None)  # it would take longer than the test


def evaluated(*flags: object) -> int:
    return command_line.run_command(evaluate.main, [str(flag) for flag in flags])


def changed(run: Path, to: Path, **settings: Any) -> Path:
    """A copy of a run with other settings in its run.json."""
    shutil.copytree(run, to)
    values = run_folder.read_settings(to)
    values["settings"] = to_json(dataclasses.replace(run_folder.saved_config(run), **settings))
    (to / "run.json").write_text(json.dumps(values))
    return to


def test_the_command_says_how_two_runs_agree(
    tiny_run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(tiny_run, "--beside", other_run, "--json", tmp_path / "found.json") == 0
    printed = capsys.readouterr().out
    assert "adjusted Rand index" in printed and "Q's mean confidence" in printed
    assert f"beside {other_run}: This says nothing yet: {tiny_run} is hardly trained." in printed
    found = json.loads((tmp_path / "found.json").read_text())
    first, second = trained_run.load(tiny_run, CPU), trained_run.load(other_run, CPU)
    images = loading.load(first.config).images  # the digits that the first run's seed draws
    codes = [labelling.assign(run.networks, images, run.config, CPU)[0] for run in (first, second)]
    assert {key: found[key] for key in found if "agreement" in key} == metrics.agreement(*codes, 10, 12)
    assert found["beside"] == str(other_run)


def test_a_run_agrees_with_its_copy(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(tiny_run, tmp_path / "copy")
    assert evaluated(tiny_run, "--beside", tmp_path / "copy", "--json", tmp_path / "found.json") == 0
    assert json.loads((tmp_path / "found.json").read_text())["agreement_accuracy"] == 1.0
    assert "warning: both runs have --seed 0" in capsys.readouterr().err


def test_doubtful_comparisons_are_warned_of(
    tiny_run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = changed(other_run, tmp_path / "unfinished", epochs=300)
    assert evaluated(tiny_run, "--beside", unfinished) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Hardly trained. It has been shown 4,608 images;")
    assert "not shown for a run that is hardly trained" in printed.out
    assert f"warning: {tiny_run} is hardly trained (4,608 images" in printed.err
    assert f"warning: {unfinished} is unfinished (4,608 of 345,600 images)" in printed.err
    assert "both runs" not in printed.err
    long = [dataclasses.replace(trained_run.load(run, CPU), images_seen=345_600) for run in (tiny_run, unfinished)]
    assert agreement.doubts(*long, loading.load(long[0].config)) == []


@pytest.mark.parametrize("which", [0, 1])
def test_the_agreement_with_a_run_that_has_collapsed_is_withheld(
    tiny_run: Path, other_run: Path, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two such runs the adjusted Rand index would be 1."""
    runs = [trained_run.load(run, CPU) for run in (tiny_run, other_run)]
    images = loading.load(runs[0].config)
    codes = [torch.arange(len(images.images)) % 10 for _ in runs]
    monkeypatch.setattr(agreement, "assign", lambda *_: (codes[1], None))
    assert agreement.agreement(codes[0], *runs, images)[0]["agreement_ari"] == 1.0
    codes[which] = torch.zeros_like(codes[which])
    figures, message = agreement.agreement(codes[0], *runs, images)
    assert figures == {} and f"Withheld: {runs[which].run.path} has collapsed" in message and "code 0" in message


def test_the_command_withholds_it_too(
    tiny_run: Path, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agreement, "assign", lambda _, images, *__: (torch.zeros(len(images), dtype=torch.int64), None))
    assert evaluated(tiny_run, "--beside", other_run, "--json", tmp_path / "found.json") == 0
    printed = capsys.readouterr().out
    assert "Withheld: " in printed and "Rand" not in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["hardly_trained"] is True and not any("agreement" in key for key in found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": 2}, "--split 2 there, 1 here"),
        ({"imbalance": "none"}, "--imbalance none there, split here"),
        ({"image_size": 28}, "--image-size 28 there, 16 here"),
        ({"dataset": "mnist"}, "--dataset mnist there, digits here"),
    ],
)
def test_runs_of_other_data_are_refused(
    tiny_run: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = changed(tiny_run, tmp_path / "other", **settings)
    assert evaluated(tiny_run, "--beside", other) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--beside {other}: " in line and message in line


def test_the_same_run_and_no_run_are_refused(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(tiny_run, "--beside", tiny_run / ".." / tiny_run.name) == 2
    assert "is the same run" in capsys.readouterr().err
    assert evaluated(tiny_run, "--beside", tmp_path / "nowhere") == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_folders_are_compared_by_their_images(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs on one folder, on a copy of it, and on one with other pixels."""
    for number in range(16):
        Image.linear_gradient("L").resize((8, 8)).rotate(20 * number).save(here / f"{number:02}.png")
    shutil.copytree(here, tmp_path / "copy")
    shutil.copytree(here, tmp_path / "others")
    Image.new("L", (8, 8), 99).save(tmp_path / "others" / "07.png")
    for number, folder in enumerate((here, tmp_path / "copy", tmp_path / "others")):
        flags = f"{SMALL} --dataset folder --data-dir {folder} --image-size 8 --channels 1 --classes 2 --batch-size 8"
        flags = f"{flags} --epochs 1 --seed {number} --run-dir {tmp_path}/run{number}"
        assert command_line.run_command(train.main, flags.split()) == 0
    capsys.readouterr()
    assert evaluated(tmp_path / "run0", "--beside", tmp_path / "run1") == 0
    assert evaluated(tmp_path / "run0", "--beside", tmp_path / "run2") == 2
    assert "is on other images (16 in" in capsys.readouterr().err
    shutil.move(tmp_path / "others", tmp_path / "moved")  # both runs' folder, named once
    shutil.copytree(tmp_path / "run2", tmp_path / "run3")
    assert evaluated(tmp_path / "run2", "--beside", tmp_path / "run3", "--data-dir", tmp_path / "moved") == 0
