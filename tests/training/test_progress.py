"""The sums of a run's losses, and the seconds that it has trained, by a fake clock."""

from __future__ import annotations

import pytest
import torch

from fastgan.step.losses import LOSSES
from fastgan.training.progress import Progress, Stopwatch


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_paused_stopwatch_does_not_count() -> None:
    clock, waits = Clock(), []
    watch = Stopwatch(lambda: waits.append(1), clock)
    clock.seconds += 5
    assert watch.seconds() == 5
    clock.seconds += 1
    with watch.paused() as trained:
        assert trained == 6
        clock.seconds += 100
    clock.seconds += 2
    assert watch.seconds() == watch.seconds() == 8
    assert len(waits) == 4  # for what a GPU still computes, whenever the clock is read


CPU = torch.device("cpu")


def test_rate_excludes_pauses_and_seconds_continue_after_a_resume() -> None:
    clock, first = Clock(), Progress(torch.zeros(len(LOSSES), dtype=torch.float64))
    first.start(0, CPU, clock)
    clock.seconds += 5
    with first.paused():
        assert first.seconds == 5  # as an evaluation logs it
        clock.seconds += 100
    clock.seconds += 5
    assert first.pace(1000) == {"images_per_second": 100, "train_seconds": 10}
    clock.seconds += 2
    assert first.pace(1400) == {"images_per_second": 200, "train_seconds": 12}
    second = Progress(torch.zeros(len(LOSSES), dtype=torch.float64))
    second.load(first.state())
    second.start(1400, CPU, clock)
    clock.seconds += 4
    assert second.pace(1440) == {"images_per_second": 10, "train_seconds": 16}


def test_mean_losses_are_reset_after_each_report() -> None:
    progress = Progress(torch.full((len(LOSSES),), 6.0, dtype=torch.float64))
    progress.steps = 4
    assert progress.pop_mean_losses() == pytest.approx(dict.fromkeys(LOSSES, 1.5))
    assert progress.pop_mean_losses() == dict.fromkeys(LOSSES, 0.0) and progress.steps == 0
