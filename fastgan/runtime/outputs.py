"""What commands write: each place is checked before the work, nothing is overwritten unasked, no output becomes input.

A folder of outputs is left out where images are looked for: a run's, a sweep's, and one with MARKER in it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastgan.errors import ConfigError

MARKER = ".fastgan-output"
WORDS = (
    "Made by fastgan. Folders with this file are left out when images are looked for; remove it to have them read.\n"
)
# Beside a run's run.json, which other programs write too, lies one of these.
BESIDE_SETTINGS = {"checkpoints", "samples", "metrics.jsonl", ".lock"}
LONGEST = 255  # bytes of a name


def is_output(names: Collection[str]) -> bool:
    """Whether a folder with these names in it holds outputs."""
    if MARKER in names or {"sweep.json", "rows"} <= set(names):
        return True
    return "run.json" in names and not BESIDE_SETTINGS.isdisjoint(names)


def mark(folder: Path) -> None:
    """Make a folder of outputs, if it is absent, and mark it as one unless it holds other files; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        (folder / MARKER).write_text(WORDS, encoding="utf-8")


def check_file(flag: str, path: Path, *, force: bool, endings: Collection[str] = ()) -> None:
    """Check the place of a file before the work.

    Args:
        flag: that names it. force: whether a file that is there may be replaced. endings: those that it may have.

    Raises:
        ConfigError: it is there already or a folder, or it cannot be written.
    """
    if endings and path.suffix.lower() not in endings:
        raise ConfigError(f"{flag} {path}: its ending must be one of {', '.join(sorted(endings))}")
    if path.is_absolute() and path.parts[1:2] == ("dev",):  # /dev/stdout may be any file by now
        return
    with _writable(flag, path):
        if path.is_dir():
            raise ConfigError(f"{flag} {path}: is a folder; name a file")
        if (path.is_file() or path.is_symlink()) and not force:
            raise ConfigError(f"{flag} {path}: is there already; add --force to replace it, or name another file")
        if path.is_file() and not os.access(path, os.W_OK):
            raise PermissionError(None, "read-only")
        if not path.exists() or path.is_file():  # a pipe needs no folder
            _try(path.parent)


def check_folder(flag: str, folder: Path) -> None:
    """Check that files can be made in a folder, or that it can be made; nothing stays there.

    Raises:
        ConfigError: they cannot.
    """
    with _writable(flag, folder):
        _try(folder)


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Within, a new folder to fill, which at the end takes the place of `out`, whole or not at all; raises OSError."""
    out = Path(os.path.abspath(out))
    partial = out.with_name(f".partial-{out.name}-{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        yield partial
        if not out.exists():
            partial.rename(out)
            return
        before = partial.with_name(f"{partial.name}-before")
        out.rename(before)
        try:
            partial.rename(out)
        except OSError:
            before.rename(out)
            raise
        shutil.rmtree(before)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _writable(flag: str, path: Path) -> Iterator[None]:
    """Within, an OSError becomes a ConfigError that names the path; one with a name that is too long is refused."""
    try:
        if any(len(os.fsencode(part)) > LONGEST for part in path.parts):
            raise OSError(None, "a name is too long")
        yield
    except OSError as error:
        raise ConfigError(
            f"{flag} {path}: cannot be written ({error.strerror or error}); name one in a folder that can"
        ) from error


def _try(folder: Path) -> None:
    """Make a file that is gone at once, in a folder or, if it is absent, in the lowest above it; raises OSError."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists() or each.is_symlink())
    with tempfile.TemporaryFile(dir=there):
        pass


def check_not_read(flag: str, path: Path, images: Path | None) -> None:
    """Raise ConfigError if a picture at `path` would be read as one of the images in the folder `images`."""
    if images is None:
        return
    place, images = path.resolve(), images.resolve()
    if place.is_relative_to(images) and not any(_holds_outputs(each) for each in _between(place, images)):
        raise ConfigError(
            f"{flag} {path}: lies in {images}, and would be read as one of its images; name another place"
        )


def _between(path: Path, above: Path) -> Iterator[Path]:
    """The folders from that of `path` up, below `above`."""
    for folder in path.parents:
        if folder == above:
            return
        yield folder


def _holds_outputs(folder: Path) -> bool:
    try:
        return is_output(os.listdir(folder))
    except OSError:
        return False
