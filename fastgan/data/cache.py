"""The user's cache, and in it a folder's decoded images: a .npy file, a JSON index of its contents, and its facts.

    CACHE/folders/<digest of the folder>/   decoded images, so that they are decoded once
    CACHE/hugging-face/<the same>/          what package datasets makes of parquet and tar files (data/hf_files.py)
    CACHE/judges/                           judges (fastgan/evaluation/judge.py)

Nothing is written into the folder of the images, which may be read-only or shared. The cache may be removed at any
time; it is then filled again.

The file name contains a digest of settings, paths, sizes, modification times and crops, so a changed folder gets a new
file. The index is written last: if it exists, array and facts were complete. An array that does not match its index is
written again. An array being written ends in .tmp and is locked; one without a lock is left from a killed process and
is removed.

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
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.config.schema import IntensityRange
from fastgan.data import intensity, workers
from fastgan.data.decode import Form
from fastgan.data.facts import ROW, Facts, note_pixels
from fastgan.data.intensity import Deep
from fastgan.data.scan import UNREADABLE, Scan, shown
from fastgan.data.workers import Batch
from fastgan.errors import ConfigError, DataError
from fastgan.runtime.file_lock import lock_opened
from fastgan.runtime.stages import stage

SOURCE = "source.txt"  # in a folder of decoded images: the path that they were decoded from
VERSION = 4  # of the files and of how images are decoded; raise it when either changes
SETTLED = 10  # seconds in which a new file is locked
IN_MEMORY = 1 << 24  # bytes of images whose range is not known yet; more go to a file
LEFT_BEHIND = 86_400  # seconds after which a partly written file counts as abandoned on systems without locks


@dataclass(frozen=True)
class Decoded:
    """The good images of a folder.

    images: uint8 [N, C, S, S], memory-mapped from `file`, read-only. paths: of each image. bad: (path, reason) of each
    other file. bad_list: the file that lists these, if there are any. new: whether they were decoded by this call.
    facts: what was seen of the images [N] meanwhile. intensity_range: the range of those of more than 8 bits, chosen if
    it was to be and there are any.
    """

    images: Tensor
    paths: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]
    file: Path
    bad_list: Path
    new: bool
    facts: Facts
    intensity_range: IntensityRange


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


def place(folder: Path, chosen: Path | None = None, part: str = "folders") -> Path:
    """Where the decoded images of `folder` are cached, or another part of the cache; the same for every path to it."""
    owner = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_dir(chosen) / part / owner


def obtain(
    folder: Path,
    scan: Scan,
    form: Form,
    choice: str = "",
    chosen: Path | None = None,
    batches: Callable[[], Generator[Batch]] | None = None,
) -> Decoded:
    """The decoded images of `scan`, from the cache if it has them, else decoded and cached.

    If no image is good, nothing is cached and `paths` is empty.

    Args:
        choice: prefix of the file names, without "-": different choices from a folder are cached side by side, as are
            different forms.
        chosen: the folder of --cache-dir; None for the user's cache.
        batches: decodes the entries, in order, where they are no files.

    Raises:
        ConfigError: when the cache cannot be written to.
        DataError: when the disk is full, or no range of intensities can be chosen.
    """
    index = _index(scan, form)
    base = _base(place(folder, chosen), index, choice)
    found = _read(base, folder, index)
    if found is None and isinstance(form.intensity_range, tuple):  # perhaps the one that was chosen before
        same = _index(scan, replace(form, intensity_range="auto"))
        found = _read(_base(base.parent, same, choice), folder, same)
        found = found if found is not None and found.intensity_range == form.intensity_range else None
    if found is None:
        check(chosen)
        found = _make(base, folder, index, form, batches)
    return found


def _index(scan: Scan, form: Form) -> dict[str, Any]:
    """What decides how the images of a scan are decoded, as JSON keeps it."""
    values = form.intensity_range
    return {
        "version": VERSION,
        "image_size": form.image_size,
        "channels": form.channels,
        "ground": form.ground,
        "intensity_range": values if isinstance(values, str) else list(values),
        "files": [[entry.path, entry.size, entry.mtime_ns, entry.crop] for entry in scan.entries],
        "out_of_reach": [list(each) for each in scan.bad],
        **({"source": scan.source} if scan.source else {}),
    }


def _base(kept: Path, index: dict[str, Any], choice: str) -> Path:
    """The path of the files for an index, without their endings: size, the other settings, the whole."""
    parts = [index["ground"], index["intensity_range"]], index
    settings, whole = (hashlib.sha256(json.dumps(part).encode()).hexdigest() for part in parts)
    size = f"{index['channels']}x{index['image_size']}x{index['image_size']}"
    return kept / f"{choice}{size}-{settings[:8]}-{whole[:32]}"


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
        values = kept.pop("chosen_range")
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
        facts = Facts.load(_beside(base, ".facts"), len(paths))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if any(reason.startswith(UNREADABLE) and os.access(folder / path, os.R_OK) for path, reason in bad):
        return None
    all_bad, bad_list = (*_out_of_reach(index), *bad), _beside(base, "-bad.txt")
    return Decoded(images, paths, all_bad, file, bad_list, False, facts, _as_range(values))


def _as_range(values: Any) -> IntensityRange:
    """The inverse of what JSON makes of a range; TypeError or ValueError for anything else."""
    if isinstance(values, str):
        return "type" if values == "type" else "auto"
    low, high = values
    return float(low), float(high)


def _out_of_reach(index: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """(path, reason) of what the scan could not read."""
    return tuple((path, reason) for path, reason in index["out_of_reach"])


def _make(
    base: Path, folder: Path, index: dict[str, Any], form: Form, batches: Callable[[], Generator[Batch]] | None
) -> Decoded:
    """Decode every image and write array, facts, index and list of bad files."""
    partial = _beside(base, f".npy.{os.getpid()}.tmp")
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise ConfigError(
            f"{base.parent}: decoded images cannot be kept there ({error.strerror or error}); name a writable folder "
            "with --cache-dir"
        ) from error
    _clear(base.parent)
    try:
        found_batches = _of_files(folder, index, form) if batches is None else batches()
        bad, facts, chosen = _decode_into(partial, found_batches, index, form)
        good = len(facts)
        if good:
            partial.replace(_beside(base, ".npy"))
            lines = [f"{shown(path)}\t{reason}\n" for path, reason in (*_out_of_reach(index), *bad)]
            if lines:
                _write(_beside(base, "-bad.txt"), "".join(lines).encode(errors="backslashreplace"))
            else:
                _beside(base, "-bad.txt").unlink(missing_ok=True)
            _write(base.parent / SOURCE, os.fsencode(folder.resolve()) + b"\n")
            _write(_beside(base, ".facts"), facts.to_bytes())
            _write(_beside(base, ".json"), json.dumps(index | {"bad": bad, "chosen_range": chosen}).encode())
            _tidy(base)
    except OSError as error:
        raise DataError(
            f"{base.parent}: decoded images cannot be kept ({error.strerror or error}); free up space there"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    if not good:
        return Decoded(torch.empty(0), (), (*_out_of_reach(index), *bad), base, base, True, facts, chosen)
    found = _read(base, folder, index)
    if found is None:
        raise DataError(f"{base}.npy: cannot be read back; name another folder with --cache-dir")
    return replace(found, new=True)


def _of_files(folder: Path, index: dict[str, Any], form: Form) -> Generator[Batch]:
    """The decoded files of the index."""
    paths = [os.path.join(folder, path) for path, *_ in index["files"]]
    return workers.decode_files(paths, form, crops=[crop for *_, crop in index["files"]])


def _decode_into(
    partial: Path, batches: Generator[Batch], index: dict[str, Any], form: Form
) -> tuple[list[tuple[str, str]], Facts, IntensityRange]:
    """Write the good images of the index as a .npy file; returns (path, reason) of the bad ones, what was seen of the
    good ones, and the range of intensities."""
    files, shape = index["files"], (form.channels, form.image_size, form.image_size)
    bad: list[tuple[str, str]] = []
    waiting: list[tuple[int, int, bool]] = []
    rows, done, good = [np.zeros(0, ROW)], 0, 0
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(partial.open("wb"))
        aside = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(partial.parent)))
        progress = stack.enter_context(stage("decoding", total=len(files)))
        stack.enter_context(contextlib.closing(batches))
        lock_opened(out)
        out.write(_header((len(files), *shape)))
        for batch in batches:
            bad += [(files[done + number][0], reason) for number, reason in batch.bad.items()]
            out.write(batch.images.tobytes())
            for number, deep in batch.deep.items():
                aside.write(deep.planes.tobytes())
                waiting.append((good + number, len(deep.planes), deep.inverted))
            rows.append(batch.rows)
            done, good = done + batch.count, good + len(batch.images)
            progress.update(batch.count)
        facts = Facts(np.concatenate(rows))
        chosen = facts.chosen_range(form.intensity_range)
        aside.seek(0)
        for number, planes, inverted in waiting:  # their range is known now
            values = np.frombuffer(aside.read(4 * planes * form.image_size**2), np.float32)
            deep = Deep(values.reshape(planes, form.image_size, form.image_size), inverted)
            assert isinstance(chosen, tuple)
            pixels = intensity.to_bytes(deep, *chosen, form.channels, form.under)
            note_pixels(facts.rows[number : number + 1], pixels[None])
            out.seek(len(_header((0, *shape))) + number * pixels.size)
            out.write(pixels.tobytes())
        out.seek(0)
        out.write(_header((good, *shape)))
        out.flush()
        os.fsync(out.fileno())
    return bad, facts, chosen


def _write(path: Path, content: bytes) -> None:
    """Write a small file atomically."""
    partial = _beside(path, f".{os.getpid()}.tmp")
    with partial.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def in_use(kept: Path) -> bool:
    """Whether a process is writing decoded images into this folder of the cache."""
    for partial in kept.glob("*.tmp"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            if lock_opened(file) is False:
                return True
    return False


def _clear(kept: Path) -> None:
    """Remove files left by processes that were killed while writing."""
    for partial in kept.glob("*.tmp"):
        with contextlib.suppress(OSError), partial.open("rb") as file:  # in use, or gone meanwhile
            free, age = lock_opened(file), time.time() - partial.stat().st_mtime
            if age > (LEFT_BEHIND if free is None else SETTLED) and free is not False:
                partial.unlink()


def _tidy(base: Path) -> None:
    """Remove the arrays of earlier states of the folder at this size, settings and choice, except those being written;
    and those of earlier versions, whose names have no settings."""
    size, settings, _ = base.name.split("-")
    for old in (*base.parent.glob(f"{size}-{settings}-*"), *base.parent.glob(f"{size}-{'[0-9a-f]' * 32}*")):
        with contextlib.suppress(OSError):  # in use, or gone meanwhile
            if not old.name.startswith(base.name) and old.suffix != ".tmp":
                old.unlink()
