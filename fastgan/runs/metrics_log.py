"""metrics.jsonl: a row a report or evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def _is_row(row: Any) -> bool:
    """Whether it is flat, of finite numbers and null, with images seen: whatever else a line holds is damage."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("images_seen"), int)
        and all(value is None or (isinstance(value, (int, float)) and abs(value) < 1e300) for value in row.values())
    )


class MetricsLog:
    """metrics.jsonl: one flat JSON object a line, appended; NaN and infinity are written as null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it."""
        clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a line cut short by a kill, or damaged otherwise, is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # also of a number too long, and of brackets in brackets
                continue
            if _is_row(row):
                rows.append(row)
        return rows

    def keep_until(self, images_seen: int) -> None:
        """Drop what a run resumed at `images_seen` is about to write again: later rows, and a grouping made there."""
        rows = [row for row in self.rows() if row["images_seen"] <= images_seen]
        kept = [row for row in rows if row["images_seen"] < images_seen or "regrouped" not in row]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(self.path)
