"""Image files sorted into a folder for each class, as links or copies, under names that are all chosen beforehand.

    FOLDER/class-KK/<name>   each file under its own name, or a name made of it (`placed`)
    FOLDER/files.csv         each file's path, its class, and its name here

Classes that were given names have folders with these names instead of class-KK (group_names.py).

A folder is filled in FOLDER/.partial-*, which is locked, and its classes are moved to their places when all files are
there. A failure leaves nothing behind; what a killed process leaves is removed by the next one. A folder that is to be
replaced is set aside only then, and put back if anything fails.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from fastgan.config.commands import SortAs
from fastgan.errors import ConfigError
from fastgan.inference.assignments import write_csv
from fastgan.inference.sorted_before import HEADINGS, LIST, PARTIAL, hindrance
from fastgan.runtime.file_lock import lock_opened
from fastgan.runtime.outputs import mark
from fastgan.runtime.stages import stage

NAME_BYTES = 255  # of a file's name, where the system does not tell
DIGITS = 8  # of the hash in a name that had to be shortened


@dataclass(frozen=True)
class SortResult:
    """What became of the files. how: the number of each kind of link, and of copies. missing: paths of the files that
    were gone."""

    how: dict[str, int]
    missing: tuple[Path, ...]


def check_place(folder: Path, images: Path, *, force: bool = False) -> None:
    """Check the folder to sort into before the work; remove what a killed process left there.

    Args:
        images: the folder of the files. force: whether to replace what an earlier call has sorted there.

    Raises:
        ConfigError: it is neither new nor empty nor to be replaced, or one of the two folders lies in the other.
    """
    try:
        plain = folder.is_dir() and not folder.is_symlink()
        if plain:
            _clear(folder)
        taken = any(folder.iterdir()) if plain else folder.is_symlink() or folder.exists()
        said = hindrance(folder) if taken and plain else "is no folder; name a new one" if taken else ""
    except OSError as error:
        raise ConfigError(f"--sort-into {folder}: cannot be read ({error.strerror or error}); name another") from error
    if said:
        raise ConfigError(f"--sort-into {folder}: {said}")
    if folder.resolve().is_relative_to(images.resolve()):
        raise ConfigError(
            f"--sort-into {folder}: lies in {images}, whose images would be there twice; name one outside"
        )
    if taken and images.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"--sort-into {folder}: holds {images}, which is to be sorted; name another folder")
    if taken and not force:
        raise ConfigError(
            f"--sort-into {folder}: holds files that were sorted before; add --force to replace them, or name a new "
            "folder"
        )


def placed(
    paths: Sequence[PurePath],
    codes: Sequence[int],
    most_bytes: int = NAME_BYTES,
    folders: Mapping[int, str] | None = None,
) -> list[str]:
    """The place of each file, "class-KK/<name>", all different, even where case or composition of letters is ignored.

    A file keeps its name; where an earlier one in its folder has it, a number is added: "a-2.png". A name of more than
    `most_bytes` bytes is cut before its suffix, and gets eight digits of the SHA-256 of the file's path instead.

    Args:
        folders: the name of each class's folder, instead of class-KK.
    """
    taken: set[tuple[str, str]] = set()
    numbers: Counter[tuple[str, str]] = Counter()  # the last one tried, so that many equal names take no longer
    found = []
    for path, code in zip(paths, codes, strict=True):
        into = f"class-{code:02d}" if folders is None else folders[code]
        name, key, cuts = path.name, (into, _folded(path.name)), 0
        while len(os.fsencode(name)) > most_bytes or (into, _folded(name)) in taken:
            numbers[key] += 1
            name = f"{path.stem}-{numbers[key] + 1}{path.suffix}"
            if len(os.fsencode(name)) > most_bytes:
                name, cuts = _shortened(path, most_bytes, cuts), cuts + 1
        taken.add((into, _folded(name)))
        found.append(f"{into}/{name}")
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shortened(path: PurePath, most_bytes: int, cuts: int) -> str:
    """The name of a file in at most so many bytes; `cuts` of its shortened names are taken already."""
    digest = hashlib.sha256(os.fsencode(path) + b"/" * cuts).hexdigest()[:DIGITS]
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= most_bytes // 2 else ""
    stem, ending = path.name.removesuffix(suffix), f"-{digest}{suffix}"
    while stem and len(os.fsencode(stem + ending)) > most_bytes:
        stem = stem[:-1]
    return stem + ending


def sort_into(
    folder: Path,
    paths: Sequence[Path],
    codes: Sequence[int],
    how: SortAs = "link",
    *,
    force: bool = False,
    folders: Mapping[int, str] | None = None,
) -> SortResult:
    """Link or copy each file into `folder`, as described above. It is new or empty, or replaced by `force`.

    A class without images gets no folder. A file that is gone is left out and counted.

    Args:
        how: link: hard links, or where there can be none symbolic links or copies. copy: copies.
        folders: the name of each class's folder; None for class-KK.

    Raises:
        ConfigError: the folder cannot be written or replaced, or a file not be read; nothing has changed then.
    """
    try:
        with _filling(folder, paths if force else None) as partial:
            mark(partial)
            places = placed(paths, codes, _most_bytes(partial), folders)
            for place in sorted({place.partition("/")[0] for place in places}):
                (partial / place).mkdir()
            made = []
            with stage("sorting", total=len(paths), unit="files") as progress:
                for path, place in zip(paths, places, strict=True):
                    made.append(_put(path, partial / place, how))
                    progress.update(1)
            rows = zip(paths, codes, places, made, strict=True)
            listed = [(str(path), code, place if kind else "") for path, code, place, kind in rows]
            write_csv(partial / LIST, HEADINGS, listed)
    except OSError as error:
        raise ConfigError(
            f"--sort-into {folder}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error
    missing = tuple(path for path, kind in zip(paths, made, strict=True) if not kind)
    return SortResult(dict(Counter(filter(None, made))), missing)


def _most_bytes(folder: Path) -> int:
    """The length of a file's name that the file system allows."""
    try:
        return min(os.pathconf(folder, "PC_NAME_MAX"), NAME_BYTES) if hasattr(os, "pathconf") else NAME_BYTES
    except (OSError, ValueError):
        return NAME_BYTES


@contextmanager
def _filling(folder: Path, replaced_by: Sequence[Path] | None) -> Iterator[Path]:
    """Within, a folder to fill; after it what is in there is moved to `folder`. After a failure nothing is left.

    Args:
        replaced_by: the files, where they replace what was sorted there before.
    """
    makes = [path for path in (folder, *folder.parents) if not path.exists()]
    partial = folder / f"{PARTIAL}{uuid.uuid4().hex}"
    try:
        partial.mkdir(parents=True)
        with _locked(partial):
            yield partial
            with _set_aside(folder, replaced_by) if replaced_by is not None else contextlib.nullcontext():
                _move(partial, folder)
            partial.rmdir()
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # never made, or no longer empty
            for path in makes:
                path.rmdir()
        raise


def _move(partial: Path, folder: Path) -> None:
    """Move what is in one folder into another; if one cannot be, none is there."""
    moved = list[Path]()
    try:
        for each in sorted(partial.iterdir(), key=lambda path: path.name == LIST):  # the list comes last
            if (folder / each.name).exists():
                raise FileExistsError(errno.EEXIST, f"{each.name} was made there meanwhile")
            moved.append(each.rename(folder / each.name))
    except BaseException:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise


@contextmanager
def _set_aside(folder: Path, paths: Sequence[Path]) -> Iterator[None]:
    """Within, what was sorted into `folder` before is in a folder of its own; afterwards it is gone, or, after a
    failure, back in its place. Raises ConfigError where it may not be replaced by the files `paths`."""
    root, before = folder.resolve(), [path for path in folder.iterdir() if not path.name.startswith(PARTIAL)]
    inside = next((path for path in paths if path.resolve().is_relative_to(root)), None)
    said = f"holds {inside}, which is to be sorted; name another folder" if inside is not None else ""
    said = said or (hindrance(folder) if before else "")
    if said:
        raise ConfigError(f"--sort-into {folder}: {said}")
    aside, moved = folder / f"{PARTIAL}{uuid.uuid4().hex}", list[Path]()
    aside.mkdir()
    with _locked(aside):
        try:
            for each in before:
                moved.append(each.rename(aside / each.name))
            yield
        except BaseException:
            for each in moved:
                each.rename(folder / each.name)
            aside.rmdir()
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Remove folders that were left half filled by processes that no longer run."""
    for partial in folder.glob(f"{PARTIAL}*"):
        with _locked(partial) as free:
            if free:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Within, a folder is locked until the process ends; False if another process has it, or nothing tells."""
    if os.name == "nt":  # opens no folder
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield lock_opened(handle) is True
    finally:
        os.close(handle)


# From the cheapest to the one that always works; a link that the file system cannot make is an OSError.
WAYS: dict[str, Callable[[Path, Path], object]] = {
    "hard link": os.link,
    "symbolic link": os.symlink,
    "copy": shutil.copy2,
}


def _put(path: Path, target: Path, how: SortAs) -> str:
    """Make `target` from a file and return in which way; empty if the file is gone."""
    source = path.resolve()
    for kind in WAYS if how == "link" else ("copy",):
        if not source.is_file():  # a symbolic link would be made all the same
            return ""
        try:
            WAYS[kind](source, target)
            return kind
        except OSError as error:
            if kind != "copy":
                continue
            if not source.is_file():
                return ""
            if not os.access(source, os.R_OK):
                raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error
            raise
    raise AssertionError("the last way returns or raises")
