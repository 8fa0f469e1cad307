"""The seconds that a run has trained, by a clock of the test's own."""

from __future__ import annotations

from fastgan.training.progress import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_stopwatch_stands_still_while_something_else_is_done() -> None:
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
