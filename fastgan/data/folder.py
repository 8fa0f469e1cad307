"""The user's own images: every image file in a folder and its subfolders, sorted by relative path."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fastgan.config.schema import IntensityRange
from fastgan.data import cache, classes, remarks
from fastgan.data.decode import Form
from fastgan.data.image_set import ImageSet
from fastgan.data.other_sets import found_instead
from fastgan.data.refused import NOT_SUPPORTED
from fastgan.data.scan import SUFFIXES, Scan, scan, shown
from fastgan.errors import ConfigError, DataError
from fastgan.text import pluralize, shell_quoted

NAMED_OUTPUTS = 3  # folders that a message names at most
TOLD = ".told"  # ending of an empty file beside decoded images, whose remarks have been printed
NAMED = 10  # bad files that a message names at most


def full(
    folder: Path,
    image_size: int,
    channels: int,
    *,
    labels_from_folders: bool = False,
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    ground: str = "black",
    intensity_range: IntensityRange = "type",
) -> ImageSet:
    """All images of a folder, uint8 [N, C, S, S], memory-mapped, with their paths.

    Args:
        labels_from_folders: the first part of an image's path is its class.
        skip_bad: skip bad files, and print where they are listed.
        cache_dir: for decoded images; None for the user's cache.
        ground, intensity_range: as the settings of these names.

    Raises:
        DataError: for a folder without images, and for bad files unless they are skipped.
        ConfigError: for an image outside subfolders with labels_from_folders, or a cache that cannot be written to.
    """
    found = images_in(folder)
    if labels_from_folders and not skip_bad:
        _refuse_loose(folder, [entry.path for entry in found.entries])
    form = Form(image_size, channels, ground, intensity_range)
    decoded = read(folder, found, form, skip_bad=skip_bad, cache_dir=cache_dir)
    images = with_facts(ImageSet("folder", decoded.images, None, 0, decoded.paths), decoded)
    return labelled(images, folder) if labels_from_folders else images


def labelled(images: ImageSet, folder: Path) -> ImageSet:
    """The images of a folder with the first part of each path as its class.

    Raises:
        ConfigError: for an image outside subfolders.
    """
    paths = images.paths or ()
    _refuse_loose(folder, paths)  # a bad file that is left out has no class
    labels, names = by_name([path.partition("/")[0] for path in paths])
    return replace(images, labels=labels, label_count=len(names), class_names=names)


def by_subfolders(images: ImageSet, folder: Path) -> ImageSet:
    """As `labelled`, of a run that had no labels; prints which classes there are."""
    images = labelled(images, folder)
    for line in classes.described(images):
        print(line, file=sys.stderr)
    return images


def with_facts(images: ImageSet, decoded: cache.Decoded) -> ImageSet:
    """An image set with what was seen while its images were decoded."""
    chosen = decoded.intensity_range
    return replace(images, facts=decoded.facts, intensity_range=chosen if isinstance(chosen, tuple) else None)


def images_in(folder: Path) -> Scan:
    """The scan of a folder; says which of its folders are left out. Raises DataError if it has no images."""
    found = scan(folder)
    if found.outputs:
        print(f"{folder}: left out {outputs_in(found)}", file=sys.stderr)
    if not found.entries and not found.bad:
        others = f" ({pluralize(found.ignored, 'other or hidden file')})" if found.ignored else ""
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        missed = remarks.of_kinds(found)
        known = found_instead(folder, "folder")
        missed = "; ".join(["", *filter(None, (missed, known))])
        raise DataError(f"{folder}: holds no images{others}; looked for {kinds} in it and in its subfolders{missed}")
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
    form: Form,
    *,
    skip_bad: bool,
    choice: str = "",
    cache_dir: Path | None = None,
) -> cache.Decoded:
    """The images of a scan, decoded or from the cache; prints to stderr what was decoded, skipped or is remarkable,
    in full the first time.

    Args:
        skip_bad, cache_dir: as in `full`.
        choice: as in `cache.obtain`.

    Raises:
        DataError: for bad files unless they are skipped, and if no file is good.
        ConfigError: when the cache cannot be written to.
    """
    if (missed := remarks.of_kinds(found)) is not None:
        print(f"{folder}: {missed}", file=sys.stderr)
    begin = time.perf_counter()
    decoded = cache.obtain(folder, found, form, choice, cache_dir)
    if decoded.bad and (not skip_bad or not decoded.paths):
        raise DataError(_complaint(folder, decoded.bad, len(found.entries) + len(found.bad), skip_bad))
    if decoded.new:
        print(
            f"{folder}: decoded {pluralize(len(decoded.paths), 'image')} "
            f"in {time.perf_counter() - begin:.1f} s, kept in "
            f"{cache.cache_dir(cache_dir)} ({pluralize(found.ignored, 'other or hidden file')} ignored)",
            file=sys.stderr,
        )
    _say_remarks(folder, decoded, form.ground)
    return decoded


def _say_remarks(folder: Path, decoded: cache.Decoded, ground: str) -> None:
    """What a user should know of decoded images: in full the first time, which the cache remembers, then in short."""
    lines = remarks.of_images(decoded.facts, decoded.paths, decoded.intensity_range, ground)
    left_out = [f"left out {pluralize(len(decoded.bad), 'bad file')}"] if decoded.bad else []
    told = decoded.file.with_suffix(TOLD)
    if told.exists():
        short = left_out + ([f"{pluralize(len(lines), 'remark')} on the images"] if lines else [])
        again = f"python -m fastgan.check {shell_quoted(folder)} says more"
        lines = [f"{' and '.join(short)}, as told before; {again}"] if short else []
    else:
        lines = [f"{each}, listed in {decoded.bad_list}" for each in left_out] + lines
    for line in lines:
        print(f"{folder}: {line}", file=sys.stderr)
    if lines:
        with contextlib.suppress(OSError):  # another's cache, which may only be read
            told.touch()


def by_name(own: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels, int64 [N], from each image's class name, and the names in alphabetical order."""
    names = tuple(sorted(set(own)))
    number = {name: label for label, name in enumerate(names)}
    return torch.tensor([number[name] for name in own]), names


def _refuse_loose(folder: Path, paths: Sequence[str]) -> None:
    loose = [path for path in paths if "/" not in path]
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
    kind = any(reason.startswith(NOT_SUPPORTED) for _, reason in bad)
    repair = f"convert {them} to JPEG, PNG or TIFF of 8 bits, or repair" if kind else "repair"
    remedy = f"{repair} {them}" if skipped else f"{repair} or remove {them}, or leave {them} out with --skip-bad"
    return f"{folder}: {len(bad):,} of {pluralize(count, 'image')} cannot be used ({named}{more}); {remedy}"
