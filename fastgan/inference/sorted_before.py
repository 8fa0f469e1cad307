"""Whether a folder holds files sorted by an earlier call (sorting.py) and nothing else, so that it may be replaced.

Every file in it is named in its list, and is a link to its original or still a copy of it: a file that was added or
edited, or whose original is gone, is the user's only one, and stays.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fastgan.data.scan import shown
from fastgan.runtime.outputs import MARKER
from fastgan.text import unescaped

LIST = "files.csv"
PARTIAL = ".partial-"
HEADINGS = ("path", "class", "file")
COARSE = 2.0  # seconds to which every file system keeps a file's time


def hindrance(folder: Path) -> str:
    """What speaks against replacing a folder, with its remedy; empty where it may be. Raises OSError."""
    originals = _listed(folder / LIST)
    if originals is None:
        return "is not empty, and holds no list of sorted files; name a new folder"
    there = list(_files(folder))
    links = Counter(_number(path) for path in there)
    for path in there:
        place = path.relative_to(folder).as_posix()
        if place not in originals:
            return f"holds {shown(place)}, which was not sorted there; move it, or name a new folder"
        if not _again(path, Path(originals[place]), links[_number(path)]):
            return (
                f"may hold the only copy of {shown(place)}, for {shown(originals[place])} is gone or differs; move "
                "it, or name a new folder"
            )
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """What is in a folder and in the folders in it, but for its list and its marker."""
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink():
            if not each.name.startswith(PARTIAL):  # of a call under way
                yield from sorted(each.iterdir())
        elif each.name not in (LIST, MARKER):
            yield each


def _number(path: Path) -> tuple[int, int]:
    """Equal for hard links to the same file."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def _listed(path: Path) -> dict[str, str] | None:
    """The original of each place in a list; None if there is no such list."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            headings, *rows = csv.reader(file)
            if tuple(headings) != HEADINGS:
                return None
            return {unescaped(place): unescaped(original) for original, _, place in rows if place}
    except (FileNotFoundError, NotADirectoryError, ValueError, csv.Error):
        return None


def _again(path: Path, original: Path, links: int) -> bool:
    """Whether what a file holds remains when its `links` in the folder are removed, by other links or its original."""
    if path.is_symlink():
        return True
    mine = path.stat()
    if mine.st_nlink > links:
        return True
    try:
        theirs = os.stat(original)
    except OSError:
        return False
    return mine.st_size == theirs.st_size and abs(mine.st_mtime - theirs.st_mtime) <= COARSE
