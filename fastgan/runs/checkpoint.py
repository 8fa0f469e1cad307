"""Checkpoints: named tensors in safetensors files, loaded only if their hashes match.

A checkpoint is a folder `checkpoints/<images seen>/` with one file per part (`model`, `training`) and a manifest of
SHA-256 sums, written last. It is written to a temporary folder, synced to disk and renamed; only then are older ones
removed, so a power failure at any moment leaves the last good one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file
from torch import Tensor

from fastgan.errors import CheckpointCorruptError, CheckpointWriteError
from fastgan.text import encodable

KEPT = 2
FORMAT = 1
MANIFEST = "manifest.json"
Parts = dict[str, dict[str, Tensor]]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """fsync a file, or a folder where the system allows it."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save(folder: Path, images_seen: int, parts: Parts) -> Path:
    """Write a checkpoint of `parts` (part name -> tensors) and remove all but the newest two.

    Raises:
        CheckpointWriteError: with the free and the needed space; earlier checkpoints are untouched.
    """
    target = folder / f"{images_seen:012d}"
    partial = folder / f".partial-{images_seen:012d}"
    needed = sum(t.numel() * t.element_size() for tensors in parts.values() for t in tensors.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(".partial-*"):
            shutil.rmtree(old)
        partial.mkdir()
        sums = {}
        for name, tensors in parts.items():
            path = partial / f"{name}.safetensors"
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(path))
            _sync(path)
            sums[path.name] = _sha256(path)
        manifest = {"format": FORMAT, "images_seen": images_seen, "sha256": sums}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _sync(partial / MANIFEST)
        _sync(partial)
        if target.exists():  # saved before, as after a resume: the new one replaces it
            shutil.rmtree(target)
        partial.rename(target)
        _sync(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        cause = " ".join(str(error).split())
        raise CheckpointWriteError(
            f"checkpoint {target} could not be written ({cause}); needed {needed:,} bytes, {free:,} are free; "
            "the one before it is untouched: free up space and --resume"
        ) from error
    for old in _all(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _all(folder: Path) -> list[Path]:
    """All checkpoints, newest first."""
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def any_in(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, good or damaged."""
    return bool(_all(folder))


def verify(path: Path) -> dict[str, Any]:
    """Check all hashes of a checkpoint and return its manifest; raises CheckpointCorruptError if one does not match."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        sums = dict(manifest["sha256"])
        if manifest["format"] != FORMAT or not sums or manifest["images_seen"] != int(path.name):
            raise ValueError("another format or another checkpoint")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointCorruptError(f"checkpoint {path}: its {MANIFEST} is missing or unreadable") from error
    for name, stated in sums.items():
        file = path / Path(name).name
        found = _sha256(file) if file.is_file() else "no file"
        if found != stated:
            raise CheckpointCorruptError(
                f"checkpoint {path}: {name} has SHA-256 {found[:16]}, expected {str(stated)[:16]}"
            )
    result: dict[str, Any] = manifest
    return result


def newest(folder: Path) -> tuple[Path, int]:
    """(path, images seen) of the newest checkpoint that verifies; damaged ones are reported on stderr and skipped.

    Raises:
        CheckpointCorruptError: when there is no good one.
    """
    found = _all(folder)
    if not found:
        raise CheckpointCorruptError(
            f"{folder}: holds no checkpoint; a run that stopped before its first one starts again with --resume; a "
            "finished run of a sweep keeps only its figures"
        )
    for path in found:
        try:
            return path, int(verify(path)["images_seen"])
        except CheckpointCorruptError as error:
            print(f"warning: {error}; trying the one before it", file=sys.stderr)
    raise CheckpointCorruptError(f"{folder}: no checkpoint matches its hashes; train again in another --run-dir")


def load(path: Path, part: str) -> dict[str, Tensor]:
    """The tensors of one part of a verified checkpoint, on the CPU."""
    file = path / f"{part}.safetensors"
    try:
        # The library opens no path that is not UTF-8; bytes take twice the memory for a moment.
        tensors: dict[str, Tensor] = load_file(str(file)) if _is_text(file) else load_bytes(file.read_bytes())
        return tensors
    except (OSError, SafetensorError) as error:
        raise CheckpointCorruptError(f"checkpoint {path}: {part}.safetensors cannot be read ({error})") from error


def _is_text(path: Path) -> bool:
    return str(path).isascii() or encodable(str(path)) == str(path)
