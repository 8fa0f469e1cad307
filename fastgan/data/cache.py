"""The user's cache, and in it a folder's decoded images: a .npy file and a JSON index of its contents.

    CACHE/folders/<digest of the folder>/   decoded images, so that they are decoded once
    CACHE/judges/                           judges (fastgan/evaluation/judge.py)

Nothing is written into the folder of the images, which may be read-only or shared. The cache may be removed at any
time; it is then filled again.

The file name contains a digest of paths, sizes, modification times and crops, so a changed folder gets a new file. The
index is written last: if it exists, the array was complete. An array that does not match its index is written again. An
array being written ends in .tmp and is locked; one without a lock is left from a killed process and is removed.

Legend: N images, C channels, S the side.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from fastgan.data import decode
from fastgan.data.scan import UNREADABLE, Scan, shown
from fastgan.errors import ConfigError, DataError
from fastgan.runtime.stages import stage

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SOURCE = "source.txt"  # in a folder of decoded images: the path that they were decoded from
VERSION = 2  # of the files and of how images are decoded; raise it when either changes
SETTLED = 10  # seconds in which a new file is locked
LEFT_BEHIND = 86_400  # seconds after which a partly written file counts as abandoned on systems without locks


@dataclass(frozen=True)
class Decoded:
    """The good images of a folder.

    images: uint8 [N, C, S, S], memory-mapped from `file`, read-only. paths: of each image. bad: (path, reason) of each
    other file. bad_list: the file that lists these, if there are any. new: whether they were decoded by this call.
    """

    images: Tensor
    paths: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]
    file: Path
    bad_list: Path
    new: bool


def cache_dir(chosen: Path | None) -> Path:
    """The user's cache: `chosen` by --cache-dir, else $XDG_CACHE_HOME/fastgan, else ~/.cache/fastgan."""
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the specification says to ignore relative paths
        return Path(base) / "fastgan"
    try:
        return Path.home() / ".cache" / "fastgan"
    except RuntimeError as error:
        raise ConfigError("no home folder for decoded images and judges; name one with --cache-dir") from error


def check(chosen: Path | None) -> None:
    """Raises ConfigError when the folder of --cache-dir cannot be written to."""
    if chosen is None:
        return
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=chosen):
            pass
    except OSError as error:
        raise ConfigError(
            f"--cache-dir {chosen}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error


def place(folder: Path, chosen: Path | None = None) -> Path:
    """Where the decoded images of `folder` are cached; the same for every path to it."""
    owner = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_dir(chosen) / "folders" / owner


def obtain(
    folder: Path, scan: Scan, image_size: int, channels: int, choice: str = "", chosen: Path | None = None
) -> Decoded:
    """The decoded images of `scan`, from the cache if it has them, else decoded and cached.

    If no image is good, nothing is cached and `paths` is empty.

    Args:
        choice: prefix of the file names, without "-": different choices from a folder are cached side by side.
        chosen: the folder of --cache-dir; None for the user's cache.

    Raises:
        ConfigError: when the cache cannot be written to.
        DataError: when the disk is full.
    """
    index = {
        "version": VERSION,
        "image_size": image_size,
        "channels": channels,
        "files": [[entry.path, entry.size, entry.mtime_ns, entry.crop] for entry in scan.entries],
        "out_of_reach": [list(each) for each in scan.bad],
    }
    digest = hashlib.sha256(json.dumps(index).encode()).hexdigest()[:32]
    base = place(folder, chosen) / f"{choice}{channels}x{image_size}x{image_size}-{digest}"
    found = _read(base, folder, index)
    if found is None:
        check(chosen)
        found = _make(base, folder, index)
    return found


def _header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of uint8; NumPy pads it, so its length does not depend on the number of images."""
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return written.getvalue()


def _beside(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _read(base: Path, folder: Path, index: dict[str, Any]) -> Decoded | None:
    """The cached images; None if absent or damaged, or if a file that was unreadable can be read now."""
    try:
        kept = json.loads(_beside(base, ".json").read_bytes())
        bad = tuple((str(path), str(reason)) for path, reason in kept.pop("bad"))
        if kept != index:
            return None
        without = {path for path, _ in bad}
        paths = tuple(path for path, *_ in index["files"] if path not in without)
        file, size = _beside(base, ".npy"), index["image_size"]
        shape = (len(paths), index["channels"], size, size)
        header = _header(shape)
        with file.open("rb") as opened:
            if opened.read(len(header)) != header or file.stat().st_size != len(header) + int(np.prod(shape)):
                return None
        # Read-only: the system refuses a copy-on-write map that is larger than its memory.
        mapped = np.memmap(file, np.uint8, "r", offset=len(header), shape=shape)
        with warnings.catch_warnings():  # torch warns that it has no read-only tensors
            warnings.simplefilter("ignore")
            images = torch.from_numpy(mapped)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if any(reason.startswith(UNREADABLE) and os.access(folder / path, os.R_OK) for path, reason in bad):
        return None
    return Decoded(images, paths, (*_out_of_reach(index), *bad), file, _beside(base, "-bad.txt"), False)


def _out_of_reach(index: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """(path, reason) of what the scan could not read."""
    return tuple((path, reason) for path, reason in index["out_of_reach"])


def _make(base: Path, folder: Path, index: dict[str, Any]) -> Decoded:
    """Decode every image and write array, index and list of bad files."""
    partial = _beside(base, f".npy.{os.getpid()}.tmp")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        _write(base.parent / SOURCE, f"{folder.resolve()}\n")
    except OSError as error:
        raise ConfigError(
            f"{base.parent}: decoded images cannot be kept there ({error.strerror or error}); name a writable folder "
            "with --cache-dir"
        ) from error
    _clear(base.parent)
    try:
        bad = _decode_into(partial, folder, index)
        good = len(index["files"]) - len(bad)
        if good:
            partial.replace(_beside(base, ".npy"))
            lines = [f"{shown(path)}\t{reason}\n" for path, reason in (*_out_of_reach(index), *bad)]
            if lines:
                _write(_beside(base, "-bad.txt"), "".join(lines))
            else:
                _beside(base, "-bad.txt").unlink(missing_ok=True)
            _write(_beside(base, ".json"), json.dumps(index | {"bad": bad}))
            _tidy(base)
    except OSError as error:
        raise DataError(
            f"{base.parent}: decoded images cannot be kept ({error.strerror or error}); free up space there"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    if not good:
        return Decoded(torch.empty(0), (), (*_out_of_reach(index), *bad), base, base, True)
    found = _read(base, folder, index)
    if found is None:
        raise DataError(f"{base}.npy: cannot be read back; name another folder with --cache-dir")
    return Decoded(found.images, found.paths, found.bad, found.file, found.bad_list, True)


def _decode_into(partial: Path, folder: Path, index: dict[str, Any]) -> list[tuple[str, str]]:
    """Write the good images of the index as a .npy file; returns (path, reason) of the bad ones."""
    files, size, bad = index["files"], index["image_size"], []
    shape = (len(files), index["channels"], size, size)
    paths, crops = [os.path.join(folder, path) for path, *_ in files], [crop for *_, crop in files]
    results = decode.decode_files(paths, size, index["channels"], crops=crops)
    with partial.open("wb") as out, stage("decoding", total=len(files)) as progress, contextlib.closing(results):
        _lock(out)
        out.write(_header(shape))
        for (path, *_), result in zip(files, results, strict=True):
            if isinstance(result, str):
                bad.append((path, result))
            else:
                out.write(result.data)
            progress.update(1)
        out.seek(0)
        out.write(_header((len(files) - len(bad), *shape[1:])))
        out.flush()
        os.fsync(out.fileno())
    return bad


def _write(path: Path, text: str) -> None:
    """Write a small file atomically."""
    partial = _beside(path, f".{os.getpid()}.tmp")
    with partial.open("w", encoding="utf-8", errors="backslashreplace") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def _lock(file: IO[bytes]) -> bool | None:
    """Lock a file until it is closed or its process ends; False if another holds it, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def in_use(kept: Path) -> bool:
    """Whether a process is writing decoded images into this folder of the cache."""
    for partial in kept.glob("*.tmp"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            if _lock(file) is False:
                return True
    return False


def _clear(kept: Path) -> None:
    """Remove files left by processes that were killed while writing."""
    for partial in kept.glob("*.tmp"):
        with contextlib.suppress(OSError), partial.open("rb") as file:  # in use, or gone meanwhile
            free, age = _lock(file), time.time() - partial.stat().st_mtime
            if age > (LEFT_BEHIND if free is None else SETTLED) and free is not False:
                partial.unlink()


def _tidy(base: Path) -> None:
    """Remove the arrays of earlier states of the folder at this size and choice, except those being written."""
    for old in base.parent.glob(f"{base.name.partition('-')[0]}-*"):
        with contextlib.suppress(OSError):  # in use, or gone meanwhile
            if not old.name.startswith(base.name) and old.suffix != ".tmp":
                old.unlink()
