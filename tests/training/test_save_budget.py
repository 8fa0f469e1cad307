"""Checkpoints keep to their share of the time; a run's last checkpoint is always written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgan import train
from fastgan.config import command_line
from fastgan.config.presets import preset
from fastgan.reporting import run_reporter
from fastgan.runs import checkpoint
from fastgan.training.checkpointer import SaveBudget


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def saved(budget: SaveBudget, clock: Clock, seconds: float) -> None:
    with budget.saving():
        clock.now += seconds


def test_each_save_is_followed_by_enough_training() -> None:
    clock = Clock()
    budget = SaveBudget(0.02, clock)
    assert budget.allows()  # nobody knows yet how long it takes
    saved(budget, clock, 1.0)
    clock.now += 48.9
    assert not budget.allows()
    clock.now += 0.2
    assert budget.allows()  # 1 s of 50
    saved(budget, clock, 0.1)
    clock.now += 4.8
    assert not budget.allows()
    clock.now += 0.2
    assert budget.allows()


def test_saving_takes_no_more_than_its_share_of_a_fast_run() -> None:
    clock, written = Clock(), 0
    budget = SaveBudget(0.02, clock)
    for _ in range(10_000):  # epochs of a tenth of a second, checkpoints of half of one
        clock.now += 0.1
        if budget.allows():
            saved(budget, clock, 0.5)
            written += 1
    assert 0.015 < written * 0.5 / clock.now <= 0.021


def test_a_share_of_one_saves_always() -> None:
    clock = Clock()
    budget = SaveBudget(1.0, clock)
    saved(budget, clock, 100.0)
    assert budget.allows()


def test_which_runs_keep_to_the_save_budget() -> None:
    assert {name: preset(name).save_share for name in ("digits", "mnist", "folder", "youtube-faces")} == {
        **{"digits": 1.0},  # a demonstration of a minute
        **{"mnist": 0.02, "folder": 0.02, "youtube-faces": 0.02},
    }


@pytest.mark.parametrize(("share", "expected"), [("1", 4), ("1e-9", 2)])
def test_the_first_and_last_checkpoints_are_written(
    share: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[int] = []
    real = checkpoint.save

    def pluralize(folder: Path, images_seen: int, parts: Any) -> Path:
        moments.append(images_seen)
        return real(folder, images_seen, parts)

    monkeypatch.setattr(checkpoint, "save", pluralize)
    monkeypatch.setattr(run_reporter, "obtain_judge", lambda *_: None)  # it would take longer than the run
    argv = "--recipe paper --epochs 4 --save-every 1 --eval-every 4 --network.width 4 --network.hidden 8 --device cpu"
    flags = ["--run-dir", str(tmp_path / "run"), "--save-share", share]
    assert command_line.run_command(train.main, [*argv.split(), *flags]) == 0
    assert len(moments) == expected and moments[-1] == max(moments)
