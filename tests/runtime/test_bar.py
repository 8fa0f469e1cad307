"""The bar of a stage: at any width of a terminal it stays where it is, and the line never wraps."""

from __future__ import annotations

import os
import re
import select
import sys

import pytest

from fastgan.runtime import stages
from fastgan.runtime.bar import bar_line
from fastgan.runtime.stages import Stage, stage

LOSSES = "d {0:.3f}, g {0:.3f}, information {0:.3f}, contrastive {0:.3f}, agreement {0:.3f}, grouping {0:.3f}"
WIDTHS = [200, 100, 80, 60, 40, 24, 12, 5]


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def at(done: int, note: str) -> Stage:
    clock = Clock()
    one = Stage("training", 190_000, place=lambda done: f"epoch {done / 1182:.1f} of 160", clock=clock)
    clock.seconds += 0.001 + done / 800
    one.update(done)
    one.set_note(note)
    return one


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_bar_keeps_its_place_and_width(columns: int, ascii_only: bool) -> None:
    """Whatever the losses, the rate and the time left are."""
    lines = [
        bar_line(at(done, note), columns, rate, ascii_only=ascii_only)
        for done in (0, 1, 1_000, 95_000, 189_999, 190_000)
        for note in ("", LOSSES.format(0.5), LOSSES.format(-1234.5))
        for rate in (0.0, 7.3, 123_456.0)
    ]
    assert max(map(len, lines)) <= columns
    bars = {match.span() for line in lines if (match := re.search(r"\|.*?\|", line))}
    assert len(bars) == (1 if columns >= 24 else 0)
    if columns >= 80:
        (span,) = bars
        assert span[1] - span[0] - 2 == min(20, columns // 5)


def test_what_matters_most_is_kept() -> None:
    half = at(95_000, LOSSES.format(0.5))
    wide = bar_line(half, 200, 812.4, ascii_only=True)
    assert wide.startswith(
        "training:  50%|##########          | about 2 min left, epoch 80.4 of 160, 812 images/s, d 0.500"
    )
    assert wide.endswith("grouping 0.500")
    hundred = bar_line(half, 100, 812.4)
    assert hundred.endswith("| about 2 min left, epoch 80.4 of 160, 812 images/s, d 0.500") and len(hundred) <= 100
    assert bar_line(half, 50, 812.4, ascii_only=True) == "training:  50%|#####     | about 2 min left"
    assert bar_line(half, 16, 812.4) == "training:  50%"
    assert bar_line(at(189_999, ""), 60, 0).startswith("training:  99%")
    plain = Stage("training the judge", 12_000)
    plain.update(6_000)
    assert " 6,000/12,000 images" in bar_line(plain, 100, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a pseudo-terminal of a chosen size")
@pytest.mark.parametrize("columns", [100, 80, 30])
def test_in_a_terminal_of_that_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with stage("training", 190_000, place=lambda done: f"epoch {done / 1182:.1f} of 160") as one:
            for number in range(1, 4):
                one.update(40_000)
                one.set_note(LOSSES.format(10.0**number))
                one.bar.refresh()
        terminal.flush()
        text = ""
        while select.select([ours], [], [], 0.5)[0]:  # a terminal hands over what it has in pieces
            text += os.read(ours, 1 << 16).decode()
    os.close(ours)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text.replace("\x1b[A", "")) if line.strip()]
    bars = {re.search(r"\|.*?\|", line).span() for line in lines}  # type: ignore[union-attr]
    assert len(lines) >= 3 and len(bars) == 1
    assert max(map(len, lines)) <= columns
