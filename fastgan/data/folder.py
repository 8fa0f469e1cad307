"""One's own images: every image file in a folder and below it, in the order of their relative paths."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from fastgan.data import cache
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import SUFFIXES, Entry, scan, shown
from fastgan.errors import ConfigError, DataError

NAMED = 10  # bad files, at most, that a message names


def full(
    folder: Path, image_size: int, channels: int, *, labels_from_folders: bool = False, skip_bad: bool = False
) -> ImageSet:
    """All images of a folder, uint8 [N, C, S, S] mapped from a file, with their paths.

    Args:
        labels_from_folders: the first part of an image's path is its class.
        skip_bad: leave out files that are no whole image, and say where they are listed.

    Raises:
        DataError: for a folder without images, and for bad files unless they are skipped.
        ConfigError: for an image in no subfolder, where these are the classes.
    """
    begin = time.perf_counter()
    found = scan(folder)
    count = len(found.entries) + len(found.bad)
    if count == 0:
        others = f" ({found.ignored:,} other or hidden files)" if found.ignored else ""
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{folder}: holds no images{others}; looked for {kinds} in it and in its subfolders")
    if labels_from_folders:
        _refuse_loose(folder, found.entries)
    decoded = cache.obtain(folder, found, image_size, channels)
    if decoded.bad and (not skip_bad or not decoded.paths):
        raise DataError(_complaint(folder, decoded.bad, count, skip_bad))
    if decoded.new:
        print(
            f"{folder}: decoded {len(decoded.paths):,} images in {time.perf_counter() - begin:.1f} s, kept in "
            f"{decoded.file} ({found.ignored:,} other or hidden files ignored)",
            file=sys.stderr,
        )
    if decoded.bad:
        print(f"{folder}: left out {len(decoded.bad):,} bad files, listed in {decoded.bad_list}", file=sys.stderr)
    labels, names = None, None
    if labels_from_folders:
        own = [path.partition("/")[0] for path in decoded.paths]
        names = tuple(sorted(set(own)))
        number = {name: label for label, name in enumerate(names)}
        labels = torch.tensor([number[name] for name in own])
    return ImageSet("folder", decoded.images, labels, len(names or ()), decoded.paths, names)


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
    remedy = "mend them" if skipped else "mend or remove them, or leave them out with --skip-bad"
    return f"{folder}: {len(bad):,} of {count:,} images cannot be used ({named}{more}); {remedy}"
