"""The user's own images: every image file in a folder and its subfolders, sorted by relative path."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastgan.data import cache
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import SUFFIXES, Entry, Scan, scan, shown
from fastgan.errors import ConfigError, DataError
from fastgan.text import pluralize

NAMED_OUTPUTS = 3  # folders that a message names at most
NAMED = 10  # bad files that a message names at most


def full(
    folder: Path,
    image_size: int,
    channels: int,
    *,
    labels_from_folders: bool = False,
    skip_bad: bool = False,
    cache_dir: Path | None = None,
) -> ImageSet:
    """All images of a folder, uint8 [N, C, S, S], memory-mapped, with their paths.

    Args:
        labels_from_folders: the first part of an image's path is its class.
        skip_bad: skip bad files, and print where they are listed.
        cache_dir: for decoded images; None for the user's cache.

    Raises:
        DataError: for a folder without images, and for bad files unless they are skipped.
        ConfigError: for an image outside subfolders with labels_from_folders, or a cache that cannot be written to.
    """
    found = images_in(folder)
    if labels_from_folders:
        _refuse_loose(folder, found.entries)
    decoded = read(folder, found, image_size, channels, skip_bad=skip_bad, cache_dir=cache_dir)
    labels, names = None, None
    if labels_from_folders:
        labels, names = by_name([path.partition("/")[0] for path in decoded.paths])
    return ImageSet("folder", decoded.images, labels, len(names or ()), decoded.paths, names)


def images_in(folder: Path) -> Scan:
    """The scan of a folder; says which of its folders are left out. Raises DataError if it has no images."""
    found = scan(folder)
    if found.outputs:
        print(f"{folder}: left out {outputs_in(found)}", file=sys.stderr)
    if not found.entries and not found.bad:
        others = f" ({pluralize(found.ignored, 'other or hidden file')})" if found.ignored else ""
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{folder}: holds no images{others}; looked for {kinds} in it and in its subfolders")
    return found


def outputs_in(found: Scan) -> str:
    """The folders that a scan left out as outputs, in words."""
    names = ", ".join(shown(path) for path in found.outputs[:NAMED_OUTPUTS])
    more = f" and {len(found.outputs) - NAMED_OUTPUTS:,} more" if len(found.outputs) > NAMED_OUTPUTS else ""
    count = pluralize(len(found.outputs), "folder")
    return f"{count} of what fastgan wrote ({names}{more}); to read one, name it itself"


def read(
    folder: Path,
    found: Scan,
    image_size: int,
    channels: int,
    *,
    skip_bad: bool,
    choice: str = "",
    cache_dir: Path | None = None,
) -> cache.Decoded:
    """The images of a scan, decoded or from the cache; prints to stderr what was decoded or skipped.

    Args:
        skip_bad, cache_dir: as in `full`.
        choice: as in `cache.obtain`.

    Raises:
        DataError: for bad files unless they are skipped, and if no file is good.
        ConfigError: when the cache cannot be written to.
    """
    begin = time.perf_counter()
    decoded = cache.obtain(folder, found, image_size, channels, choice, cache_dir)
    if decoded.bad and (not skip_bad or not decoded.paths):
        raise DataError(_complaint(folder, decoded.bad, len(found.entries) + len(found.bad), skip_bad))
    if decoded.new:
        print(
            f"{folder}: decoded {pluralize(len(decoded.paths), 'image')} "
            f"in {time.perf_counter() - begin:.1f} s, kept in "
            f"{decoded.file} ({pluralize(found.ignored, 'other or hidden file')} ignored)",
            file=sys.stderr,
        )
    if decoded.bad:
        print(
            f"{folder}: left out {pluralize(len(decoded.bad), 'bad file')}, listed in {decoded.bad_list}",
            file=sys.stderr,
        )
    return decoded


def by_name(own: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels, int64 [N], from each image's class name, and the names in alphabetical order."""
    names = tuple(sorted(set(own)))
    number = {name: label for label, name in enumerate(names)}
    return torch.tensor([number[name] for name in own]), names


def _refuse_loose(folder: Path, entries: tuple[Entry, ...]) -> None:
    loose = [entry.path for entry in entries if "/" not in entry.path]
    if loose:
        more = f" and {len(loose) - 1:,} more lie" if len(loose) > 1 else " lies"
        raise ConfigError(
            f"--labels-from-folders: {shown(loose[0])}{more} in {folder} itself; move every image into the subfolder "
            "of its class, or leave the flag out"
        )


def _complaint(folder: Path, bad: tuple[tuple[str, str], ...], count: int, skipped: bool) -> str:
    named = "; ".join(f"{shown(path)}: {reason}" for path, reason in bad[:NAMED])
    more = f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    them = "it" if len(bad) == 1 else "them"
    remedy = f"repair {them}" if skipped else f"repair or remove {them}, or leave {them} out with --skip-bad"
    return f"{folder}: {len(bad):,} of {pluralize(count, 'image')} cannot be used ({named}{more}); {remedy}"
