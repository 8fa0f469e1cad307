"""python -m fastgan.check: a folder before a run, what the run would take, and the cache."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from own_images import natural_patches, put

from fastgan import check, train
from fastgan.config.command_line import run_command
from fastgan.config.presets import preset
from fastgan.config.schedule import resolve_schedule
from fastgan.data.image_set import ImageSet
from fastgan.training import estimate
from fastgan.training.engine import Engine


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "MOST", 2)
    monkeypatch.setattr(estimate, "LEAST", 1)
    monkeypatch.setattr(estimate, "GROUPED", 40)


def test_a_folder_is_shown_with_a_command_that_suits_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    natural_patches(here, per_class=24, side=16)
    (here / "bad.png").touch()
    out = here.parent / "found.json"
    assert run_command(check.main, [str(here), "--threads", "1", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    for line in ("images               72 in", "JPEG 72", "bad.png: empty file", "what that would take on "):
        assert line in said
    told: dict[str, Any] = json.loads(out.read_text())
    assert told["bad"] == [["bad.png", "empty file"]] and told["subfolders"] == {
        "china": 24,
        "flower": 24,
        "hopper": 24,
    }
    flags = {each["flag"]: each["value"] for each in told["suggested"]}
    assert flags["--classes"] == "3" and flags["--image-size"] == "16" and flags["--skip-bad"] == ""
    assert told["estimate"]["images"] == 72 and told["estimate"]["seconds"] > 0
    command = next(line for line in said.splitlines() if "fastgan.train" in line)
    argv = command.split()[3:]
    assert run_command(train.main, [*argv, "--dry-run", "--threads", "1"]) == 0  # the command is one that train takes
    shown = capsys.readouterr()
    assert json.loads(shown.out)["classes"] == 3 and "what that would take on " in shown.err
    assert sorted(each.name for each in here.iterdir()) == ["bad.png", "china", "flower", "hopper"]


def test_the_cache_that_is_named_is_the_one_of_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    natural_patches(here, per_class=24, side=16)
    kept = here.parent / "a cache"
    assert run_command(check.main, [str(here), "--threads", "1", "--cache-dir", str(kept)]) == 0
    said = capsys.readouterr().out
    assert f" in {kept}, " in said and f" --cache-dir '{kept}' --amp " in said


def test_a_few_images_are_shown_without_an_estimate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(here / "1.png", 1)
    assert run_command(check.main, [str(here), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "what that would take" not in said and "too few images to train on" in said and "fastgan.train" not in said


def test_the_cache_is_shown_and_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "one.safetensors").write_bytes(b"x" * 1500)
    assert run_command(check.main, ["--cache", "--cache-dir", str(tmp_path)]) == 0
    assert "1.5 kB               judge, used today (one.safetensors)" in capsys.readouterr().out
    assert run_command(check.main, ["--empty-cache", "--cache-dir", str(tmp_path)]) == 0
    assert "removed 1.5 kB" in capsys.readouterr().out and not any((tmp_path / "judges").iterdir())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name the folder with your images"),
        (["nowhere"], "nowhere: no such folder"),
        (["--threads", "0"], "name the folder with your images"),
        ([".", "--json", "."], "--json .: is a folder"),
    ],
)
def test_a_mistake_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(check.main, argv) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("error: ") == 1 and said.out == ""


def test_an_estimate_counts_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds are those of its parts, and its images those of the schedule for all images, not for the sample."""
    config = preset("digits")
    sample = torch.randint(0, 256, (130, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet("digits", sample, None, 0)
    config = resolve_schedule(config, 1300)
    found = estimate.estimate(config, images, 1300, torch.device("cpu"))
    assert found.shown == 160 * 1280 and found.pretrained == 40 * 1280
    assert found.pretraining_rate is not None
    parts = found.pretrained / found.pretraining_rate + (found.shown - found.pretrained) / found.rate
    assert found.seconds == pytest.approx(parts + 3 * found.grouping_seconds)
    assert found.checkpoints > 2 * 3 * 4 * found.parameters > 0  # weights and both of Adam's moments
    assert found.memory > found.parameters * 4


def test_a_grouping_is_estimated_from_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into at most ten classes; by a clock that only grouping moves, half as fast as where constants were found."""
    config = preset("digits")
    config = dataclasses.replace(config, classes=100)
    sample = torch.randint(0, 256, (1500, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    engine = Engine(resolve_schedule(config, 1500), ImageSet("digits", sample, None, 0), torch.device("cpu"))
    clock = [0.0]

    def group(embeddings: torch.Tensor, codes: torch.Tensor, classes: int, grouping: Any, *_: Any) -> None:
        assert len(embeddings) == estimate.GROUPED and classes == 10 and int(codes.max()) < 10
        clock[0] += 2 * estimate.grouping_cost(estimate.GROUPED, 10, grouping)

    monkeypatch.setattr(estimate, "find_groups", group)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: clock[0])
    cost = estimate.grouping_cost(100_000, 100, config.grouping)
    assert estimate.grouping_seconds(engine, sample, 100_000) == pytest.approx(2 * cost)


# Seconds of one core of an AMD EPYC: landmarks, images, classes (bench/results/estimates-of-runs.md).
GROUPINGS = [
    (1_000, 1_000, 10, 1.5),
    (4_000, 4_000, 10, 3.8),
    (10_000, 60_000, 10, 19.7),
    (10_000, 10_000, 40, 80.4),
    (3_000, 3_000, 40, 17.1),
    (2_000, 2_000, 100, 74.5),
    (5_000, 5_000, 100, 153.3),
]


@pytest.mark.parametrize(("landmarks", "images", "classes", "seconds"), GROUPINGS)
def test_the_cost_of_a_grouping_is_that_which_was_measured(
    landmarks: int, images: int, classes: int, seconds: float
) -> None:
    grouping = dataclasses.replace(preset("digits").grouping, landmarks=landmarks)
    assert seconds / 1.6 < estimate.grouping_cost(images, classes, grouping) < 1.6 * seconds


def test_a_dry_run_refuses_what_training_would(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        put(here / f"{number}.png", 9 * number)
    flags = ["--dataset", "folder", "--data-dir", str(here), "--image-size", "8", "--device", "cpu", "--dry-run"]
    assert run_command(train.main, [*flags, "--classes", "20"]) == 2
    assert "--classes 20: more codes than the data has images, 12; use far fewer" in capsys.readouterr().err
    assert run_command(train.main, [*flags, "--classes", "3", "--batch-size", "13"]) == 2
    assert "--batch-size 13: larger than the data, which has 12 images; lower it to 8" in capsys.readouterr().err
