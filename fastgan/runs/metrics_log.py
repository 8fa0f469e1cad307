"""metrics.jsonl: one row per report or evaluation; during training the rows also go to TensorBoard."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fastgan.runs.run_folder import RunFolder
from fastgan.runs.tensorboard import TensorBoardLog


def _is_row(row: Any) -> bool:
    """Whether a row is a flat object of finite numbers and nulls with `images_seen`; any other line is damaged."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("images_seen"), int)
        and all(value is None or (isinstance(value, (int, float)) and abs(value) < 1e300) for value in row.values())
    )


class MetricsLog:
    """metrics.jsonl: one flat JSON object per line, append-only; NaN and infinity are written as null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it."""
        clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All valid rows; lines that a kill truncated, or that are damaged, are skipped."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # also for too long numbers and too deep nesting
                continue
            if _is_row(row):
                rows.append(row)
        return rows

    def keep_until(self, images_seen: int) -> None:
        """Drop what a run resumed at `images_seen` will write again: later rows, and a grouping at `images_seen`."""
        rows = [row for row in self.rows() if row["images_seen"] <= images_seen]
        kept = [row for row in rows if row["images_seen"] < images_seen or "regrouped" not in row]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(self.path)


class RunLog(MetricsLog):
    """metrics.jsonl and TensorBoard's event files of a run in training.

    Args:
        writes: whether this rank writes, as only the main one does; if not, rows are dropped.
    """

    def __init__(self, run: RunFolder, *, writes: bool = True) -> None:
        super().__init__(run.metrics)
        self._writes, self._board = writes, TensorBoardLog(run.tensorboard if writes else None)

    def append(self, row: dict[str, Any]) -> None:
        if self._writes:
            super().append(row)
            self._board.append(row)

    def opened(self, images_seen: int) -> AbstractContextManager[None]:
        """Within, rows go to TensorBoard too; the run starts or resumes after `images_seen` images."""
        return self._board.opened(images_seen, self.rows())
