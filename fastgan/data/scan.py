"""Finding the images in a folder from its directory entries; no file is opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fastgan.config.schema import ARRAYS
from fastgan.errors import DataError
from fastgan.runtime.outputs import is_output

# In capitals too: those of the formats of decode.py.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".tiff", ".tif"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".pfm"),
)
# Images of other kinds, which are named and counted, so that nobody misses them.
OTHER_KINDS = {
    suffix: kind
    for kind, suffixes in {
        "HEIC": ".heic .heif .hif",
        "AVIF": ".avif .avifs",
        "GIF": ".gif",
        "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpf .jpx",
        "JPEG XL": ".jxl",
        "JPEG XR": ".jxr .wdp .hdp",
        "MPO": ".mpo",
        "camera raw": ".3fr .arw .cr2 .cr3 .crw .dng .erf .nef .nrw .orf .pef .raf .raw .rw2 .sr2 .srf .srw .x3f",
        "Photoshop": ".psd .psb",
        "GIMP": ".xcf",
        "SVG": ".svg .svgz",
        "TGA": ".tga",
        "PCX": ".pcx",
        "DDS": ".dds",
        "DIB": ".dib",
        "icon": ".ico .icns .cur",
        "OpenEXR": ".exr",
        "Radiance": ".hdr",
        "FITS": ".fits .fit .fts",
        "DICOM": ".dcm .dicom",
        "NIfTI": ".nii",
        "microscope": ".czi .lif .lsm .nd2 .oib .oif .stk .vsi .ndpi .svs .scn .mrxs",
    }.items()
    for suffix in suffixes.split()
}
UNREADABLE = "cannot be read"  # prefix of the reason for a file that is not damaged but unreadable


@dataclass(frozen=True)
class Entry:
    """A file whose suffix is that of an image.

    path: relative to the folder, its parts joined by "/". size: in bytes. crop: side of the central square to use, in
    pixels of the file, or None for the largest.
    """

    path: str
    size: int
    mtime_ns: int
    crop: int | None = None


@dataclass(frozen=True)
class Scan:
    """The result of scanning a folder.

    entries: the images, sorted by path. bad: (path, reason) of files and folders that could not be read. ignored: the
    number of files that are hidden or are no images by their suffix. unsupported: kind, number and first path of images
    of other kinds, sorted by kind. outputs: folders left out, since they hold what this program wrote, as a run's.
    source: where the entries are no files, what they come from, which changes with it; else "".
    """

    entries: tuple[Entry, ...]
    bad: tuple[tuple[str, str], ...]
    ignored: int
    unsupported: tuple[tuple[str, int, str], ...] = ()
    outputs: tuple[str, ...] = ()
    source: str = ""


def holds_arrays(path: Path) -> bool:
    """Whether a path is by its name a file of arrays, and no folder."""
    return path.suffix.lower() in ARRAYS and not path.is_dir()


def unreadable(error: OSError) -> str:
    """The reason why a file cannot be read."""
    return f"{UNREADABLE} ({error.strerror or error})"


def shown(path: str) -> str:
    """A path for a message: escaped if it is not printable on one line."""
    return path if path.isprintable() else ascii(path)


def check(folder: Path) -> None:
    """Raises DataError if the folder does not exist."""
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; name the one with your images")
    if not folder.is_dir():
        raise DataError(f"{folder}: a file, not a folder; name the folder with your images")


def listing(folder: Path) -> list[str]:
    """The names in a folder, sorted, without hidden ones; the names of folders end in "/".

    Raises:
        DataError: when the folder cannot be read.
    """
    try:
        with os.scandir(folder) as listed:
            found = sorted((each.name, each.is_dir()) for each in listed if not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {unreadable(error)}") from error
    return [f"{name}/" if is_folder else name for name, is_folder in found]


def scan(folder: Path, within: str = "") -> Scan:
    """The images in `folder` and its subfolders, without hidden ones and outputs; links are followed.

    Args:
        within: scan only this subfolder; paths are still relative to `folder`.

    Raises:
        DataError: when the folder does not exist or cannot be read.
    """
    check(folder)
    entries: list[Entry] = []
    bad: list[tuple[str, str]] = []
    others: list[tuple[str, int, str]] = []
    outputs, ignored = list[str](), 0
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(within, frozenset())]
    while pending:
        inner, above = pending.pop()
        try:
            status = (folder / inner).stat()
            key = status.st_dev, status.st_ino
            if key in above:  # a link to one of its parent folders
                continue
            with os.scandir(folder / inner) as listed:
                found = list(listed)
        except OSError as error:
            if not inner:
                raise DataError(f"{folder}: {unreadable(error)}") from error
            bad.append((f"{inner}/", unreadable(error)))
            continue
        if inner != within and is_output({each.name for each in found}):
            outputs.append(inner)
            continue
        for each in found:
            path = f"{inner}/{each.name}" if inner else each.name
            try:
                if each.is_dir():
                    if not each.name.startswith("."):
                        pending.append((path, above | {key}))
                    continue
                suffix = "" if each.name.startswith(".") else os.path.splitext(each.name)[1].lower()
                if suffix in SUFFIXES:
                    entries.append(_entry(path, each))
                elif suffix in OTHER_KINDS:
                    others.append((OTHER_KINDS[suffix], 1, path))
                else:
                    ignored += 1
            except (OSError, DataError) as error:
                bad.append((path, unreadable(error) if isinstance(error, OSError) else str(error)))
    entries.sort(key=lambda entry: entry.path)
    return Scan(tuple(entries), tuple(sorted(bad)), ignored, merged(others), tuple(sorted(outputs)))


def merged(others: list[tuple[str, int, str]]) -> tuple[tuple[str, int, str], ...]:
    """Kind, number and first path, once a kind, sorted."""
    found: dict[str, tuple[int, str]] = {}
    for kind, count, path in others:
        before, first = found.get(kind, (0, path))
        found[kind] = before + count, min(first, path)
    return tuple((kind, *found[kind]) for kind in sorted(found))


def _entry(path: str, found: os.DirEntry[str]) -> Entry:
    status = found.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
        raise DataError("not a regular file")
    return Entry(path, status.st_size, status.st_mtime_ns)
