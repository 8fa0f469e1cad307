"""Which images a folder holds: read from its directory entries alone, no file is opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fastgan.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tiff", ".tif", ".pgm")  # in capitals too
UNREADABLE = "cannot be read"  # how the reason of a file begins that is not damaged but out of reach


@dataclass(frozen=True)
class Entry:
    """A file that by its suffix is an image.

    path: relative to the folder, its parts joined by "/"; crop: side of the central square that is used of it, in its
    own pixels, or None for the largest.
    """

    path: str
    size: int
    mtime_ns: int
    crop: int | None = None


@dataclass(frozen=True)
class Scan:
    """What a folder holds.

    entries: the images, sorted by path; bad: (path, reason) of what could not be looked at; ignored: how many files are
    hidden or have another suffix.
    """

    entries: tuple[Entry, ...]
    bad: tuple[tuple[str, str], ...]
    ignored: int


def unreadable(error: OSError) -> str:
    """The reason why a file is out of reach."""
    return f"{UNREADABLE} ({error.strerror or error})"


def shown(path: str) -> str:
    """A path on one line, whatever its file is called."""
    return path if path.isprintable() else ascii(path)


def check(folder: Path) -> None:
    """Raises DataError when there is no such folder."""
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; name the one that your images lie in")
    if not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder; name the one that your images lie in")


def listing(folder: Path) -> list[str]:
    """What lies in a folder, sorted, hidden files and folders left out; the names of folders end in "/".

    Raises:
        DataError: when it cannot be read.
    """
    try:
        with os.scandir(folder) as listed:
            found = sorted((each.name, each.is_dir()) for each in listed if not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {unreadable(error)}") from error
    return [f"{name}/" if is_folder else name for name, is_folder in found]


def scan(folder: Path, within: str = "") -> Scan:
    """The images in `folder` and its subfolders, hidden ones left out; links are followed.

    Args:
        within: the one subfolder to look through; paths are relative to `folder` all the same.

    Raises:
        DataError: when there is no such folder, or it cannot be read.
    """
    check(folder)
    entries: list[Entry] = []
    bad: list[tuple[str, str]] = []
    ignored = 0
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(within, frozenset())]
    while pending:
        inner, above = pending.pop()
        try:
            status = (folder / inner).stat()
            key = status.st_dev, status.st_ino
            if key in above:  # a link to a folder that it lies in
                continue
            with os.scandir(folder / inner) as listed:
                found = list(listed)
        except OSError as error:
            if not inner:
                raise DataError(f"{folder}: {unreadable(error)}") from error
            bad.append((f"{inner}/", unreadable(error)))
            continue
        for each in found:
            path = f"{inner}/{each.name}" if inner else each.name
            try:
                hidden, is_folder = each.name.startswith("."), each.is_dir()
                if is_folder and not hidden:
                    pending.append((path, above | {key}))
                elif not is_folder and (hidden or os.path.splitext(each.name)[1].lower() not in SUFFIXES):
                    ignored += 1
                elif not is_folder:
                    status = each.stat()
                    if stat.S_ISREG(status.st_mode):
                        entries.append(Entry(path, status.st_size, status.st_mtime_ns))
                    else:  # a pipe would be waited for
                        bad.append((path, "no regular file"))
            except OSError as error:
                bad.append((path, unreadable(error)))
    return Scan(tuple(sorted(entries, key=lambda entry: entry.path)), tuple(sorted(bad)), ignored)
