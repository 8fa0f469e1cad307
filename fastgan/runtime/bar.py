"""The bar of a stage in a terminal: tqdm's, whose line keeps its shape whatever the figures beside it do."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fastgan.runtime.stages import Stage

WIDEST, NARROWEST = 20, 4  # columns of the bar itself; it has a fifth of the line
BLOCKS = " ▏▎▍▌▋▊▉█"
WITHOUT_SIZE = 80  # columns of a terminal that does not say how wide it is


class StageBar(tqdm):
    """tqdm's bar with a line of our own."""

    def __init__(self, stage: Stage, **more: Any) -> None:
        self.stage = stage
        super().__init__(dynamic_ncols=True, **more)

    def __str__(self) -> str:
        shown = self.format_dict
        columns = shown["ncols"] or WITHOUT_SIZE
        if self.stage.total is None:
            return f"{self.stage.name}: {tqdm.format_interval(shown['elapsed'])}"[:columns]
        rate = shown["rate"] or (self.stage.rate() if self.stage.done else 0.0)
        return bar_line(self.stage, columns, rate, ascii_only=bool(shown["ascii"]))


def bar_line(stage: Stage, columns: int, rate: float, *, ascii_only: bool = False) -> str:
    """The line of a stage with a total, at most `columns` wide: its share, a bar, and beside it what there is room for.

    The bar's place and width depend on the width of the line alone. Of the rest what matters least is left out as a
    whole: of the losses the last ones first.
    """
    share = min(stage.done / max(stage.total or 0, 1), 1.0)
    line = f"{stage.name}: {_cut(share):4.0%}"
    width = min(WIDEST, columns // 5)
    if width >= NARROWEST:
        line += f"|{_blocks(share, width, ascii_only)}|"
    place = stage.place() or f"{stage.done:,}/{stage.total:,} {stage.unit}"
    known = [stage.left(), place, f"{rate:,.0f} {stage.unit}/s" if rate else "", *stage.note.split(", ")]
    shown = ""
    for part in filter(None, known):
        longer = f"{shown}, {part}" if shown else f" {part}"
        if len(line) + len(longer) > columns:
            break
        shown = longer
    return (line + shown)[:columns]


def _cut(share: float) -> float:
    """Whole hundredths, rounded down: 100% is all of it."""
    return int(100 * share) / 100


def _blocks(share: float, width: int, ascii_only: bool) -> str:
    eighths = int(share * width * 8)
    if ascii_only:
        return ("#" * (eighths // 8)).ljust(width)
    return (BLOCKS[8] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")).ljust(width)
