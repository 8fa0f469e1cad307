"""The table of assignments that a run folder keeps: whose images it lists."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.text import encodable


def check_renewable(table: Path, images: Path | None) -> None:
    """Raise ConfigError if the table of an earlier call lists other images than those in the folder `images`.

    Args:
        images: None for images that are listed by their index.
    """
    if table.exists() and not _lists(table, images):
        here = "the run's own" if images is None else f"those in {images}"
        raise ConfigError(
            f"{table}: lists other images than {here}; name another file with --out, or add --force to replace it"
        )


def _lists(table: Path, images: Path | None) -> bool:
    """Whether all rows of a table are of files in a folder; of no files, if that is None."""
    try:
        with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            (first, *_), *rows = csv.reader(file)
            if images is None:
                return first == "index"
            inside = encodable(os.path.join(os.path.abspath(images), ""))
            return first == "path" and all(os.path.abspath(row[0]).startswith(inside) for row in rows)
    except (OSError, ValueError, IndexError, csv.Error):
        return False
