"""What lies in the user's cache (data/cache.py), and emptying it."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fastgan.data import cache

WORDS = {"folders": "decoded images", "hugging-face": "parquet or tar files, unpacked", "judges": "judge"}


@dataclass(frozen=True)
class Kept:
    """One entry: decoded images or unpacked rows of one folder, or a judge.

    of: that folder, if known; else "". size: bytes. used: when it was last read or written,
    seconds since 1970.
    """

    kind: str
    path: Path
    of: str
    size: int
    used: float


def contents(chosen: Path | None = None) -> tuple[Kept, ...]:
    """The entries of the cache, largest first.

    Args:
        chosen: the folder of --cache-dir; None for the user's cache.
    """
    root = cache.cache_dir(chosen)
    found = []
    for part, kind in WORDS.items():
        with contextlib.suppress(OSError):  # no such folder yet
            found += [_kept(kind, each) for each in (root / part).iterdir() if not each.is_symlink()]
    return tuple(sorted(found, key=lambda each: -each.size))


def _kept(kind: str, path: Path) -> Kept:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    size, used, of = 0, 0.0, ""
    for file in files:
        with contextlib.suppress(OSError):  # gone meanwhile
            status = file.stat()
            size += status.st_size
            used = max(used, status.st_mtime, status.st_atime)
    with contextlib.suppress(OSError):
        of = os.fsdecode((path / cache.SOURCE).read_bytes().rstrip(b"\n"))
    return Kept(kind, path, of, size, used)


def empty(chosen: Path | None = None) -> int:
    """Remove every entry that no process is writing, and return how many bytes they took.

    A run that has mapped decoded images keeps them until it ends (not on Windows, where they stay).
    """
    freed = 0
    for each in contents(chosen):
        if cache.in_use(each.path):
            continue
        with contextlib.suppress(OSError):
            shutil.rmtree(each.path) if each.path.is_dir() else each.path.unlink()
            freed += each.size
    return freed
