"""Cluster assignments on disk: files sorted into a folder for each class, and the csv table.

Legend: N images.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from fastgan.errors import ConfigError


def check_place(folder: Path, images: Path) -> None:
    """Raise ConfigError unless `folder` is new or empty, and outside `images`."""
    try:
        taken = folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir())))
    except OSError as error:
        raise ConfigError(f"--sort-into {folder}: cannot be read ({error.strerror or error}); name another") from error
    if taken:
        raise ConfigError(f"--sort-into {folder}: already exists and is not empty; name a new folder")
    if folder.resolve().is_relative_to(images.resolve()):
        raise ConfigError(
            f"--sort-into {folder}: lies in {images}, whose images would be there twice; name one outside"
        )


def sort_into(folder: Path, paths: Sequence[Path], codes: Sequence[int]) -> dict[str, int]:
    """Link or copy each file into `folder`/class-KK under its own name, with a number where that name is taken.

    A class without images gets no folder. Nothing is overwritten.

    Returns:
        How many became hard links, symbolic links and copies; kinds that did not occur are left out.

    Raises:
        ConfigError: the folder cannot be written.
    """
    how: Counter[str] = Counter()
    seen: Counter[tuple[int, str]] = Counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, code in zip(paths, codes, strict=True):
            source, place = path.resolve(), folder / f"class-{code:02d}"
            place.mkdir(exist_ok=True)
            while True:
                seen[code, path.name] += 1
                number = seen[code, path.name]
                target = place / (path.name if number == 1 else f"{path.stem}-{number}{path.suffix}")
                try:
                    how[_put(source, target)] += 1
                    break
                except FileExistsError:
                    continue
    except OSError as error:
        raise ConfigError(
            f"--sort-into {folder}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error
    return dict(how)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as written:
        try:
            shutil.copyfileobj(read, written)
        except OSError:  # half a file is worse than none
            target.unlink(missing_ok=True)
            raise


# From the cheapest to the one that always works; a link that the file system cannot make is an OSError.
WAYS: dict[str, Callable[[Path, Path], None]] = {"hard link": os.link, "symbolic link": os.symlink, "copy": _copy}


def _put(source: Path, target: Path) -> str:
    """Make `target` from `source` and return how; FileExistsError where it exists already."""
    for kind, make in WAYS.items():
        try:
            make(source, target)
            return kind
        except FileExistsError:
            raise
        except OSError:
            if kind == "copy":
                raise
    raise AssertionError("the last way returns or raises")


def write_table(out: Path, names: Sequence[str], first: str, codes_N2: Tensor, confidences_N2: Tensor) -> None:
    """Write a csv file atomically; `first` is the heading of the column of names.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    rows = zip(names, codes_N2.tolist(), confidences_N2.tolist(), strict=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # File names that are not valid text, which some file systems allow, are written as their bytes.
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow((first, "class", "confidence", "second_class", "second_confidence"))
            table.writerows((name, k, f"{p:.6f}", also, f"{q:.6f}") for name, (k, also), (p, q) in rows)
        partial.replace(out)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be written ({error.strerror or error}); name a .csv file in a folder that can"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone, or never made
            partial.unlink()
