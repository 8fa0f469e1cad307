"""What a run without a bar says of its pace, by a clock of the test's own."""

from __future__ import annotations

import pytest

from fastgan.progress import SAID_EVERY, Pace


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_it_is_said_at_the_first_report_at_each_tenth_and_after_five_minutes() -> None:
    clock = Clock()
    pace = Pace(0, 1000, clock)
    said = []
    for seen in range(30, 1001, 30):
        clock.seconds += 1
        if pace.due(seen):
            said.append(seen)
    assert said == [30, 120, 210, 300, 420, 510, 600, 720, 810, 900]
    assert not pace.due(990)
    clock.seconds += SAID_EVERY
    assert pace.due(990) and not pace.due(990)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.1, "about 1 s left"),
        (40, "about 40 s left"),
        (89, "about 89 s left"),
        (100, "about 2 min left"),
        (3600, "about 60 min left"),
        (7500, "about 2 h 05 min left"),
    ],
)
def test_the_rest_takes_as_long_as_what_this_process_did(seconds: float, said: str) -> None:
    clock = Clock()
    pace = Pace(500, 1000, clock)  # resumed at the half
    clock.seconds += seconds / 4
    assert pace.left(600) == said


def test_nothing_is_left_at_the_end_and_nothing_known_at_the_beginning() -> None:
    pace = Pace(0, 1000, Clock())
    assert pace.left(1000) == "" and pace.left(0) == ""
