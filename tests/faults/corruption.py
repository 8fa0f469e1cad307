"""Checkpoints that are damaged or hostile: cases 7 to 9."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import torch

from fastgan.errors import CheckpointCorruptError
from fastgan.runs import checkpoint
from faults import Result, children

DAMAGES = ("cut", "emptied", "removed", "swapped", "grown")
FILES = ("model.safetensors", "training.safetensors", checkpoint.MANIFEST)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no file"


def damaged(count: int, folder: Path) -> Result:
    """A file of the newest checkpoint cut, emptied, removed, replaced by another's or grown; every tenth is resumed."""
    draw, result = random.Random(0), Result()
    whole = children.uninterrupted()
    for number in range(count):
        run = folder / f"run-{number}"
        shutil.copytree(whole.run, run)
        newest, before = sorted((run / "checkpoints").iterdir(), reverse=True)
        name, damage = FILES[number % 3], DAMAGES[number // 3 % 5]
        file = newest / name
        stated = _sha256(file)
        content = file.read_bytes()
        if damage == "removed":
            file.unlink()
        else:
            file.write_bytes(
                {
                    "cut": content[: draw.randrange(1, len(content))],
                    "emptied": b"",
                    "swapped": (before / name).read_bytes(),
                    "grown": content + b" ",
                }[damage]
            )
        # A manifest holds the hashes of the others, not its own; white space behind it changes nothing that it says.
        hashes = () if name == checkpoint.MANIFEST else (_sha256(file)[:16], stated[:16])
        harmless = name == checkpoint.MANIFEST and damage == "grown"
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            found, _ = checkpoint.newest(run / "checkpoints")
        try:
            checkpoint.verify(newest)
            refused = harmless
        except CheckpointCorruptError:
            refused = True
        case, resumed = f"{name} {damage}", ""
        if number % 10 == 1:
            ended = children.resume(run)
            words = () if harmless else ("warning: ", *hashes)
            resumed = ended.complaint(0, *words) or children.differs(run, whole)
        result.count(
            found != (newest if harmless else before) and f"{case}: took {found.name}",
            not refused and f"{case}: not refused by name",
            not all(each in said.getvalue() for each in hashes) and f"{case}: hashes not named: {said.getvalue()}",
            not harmless and "trying the one before" not in said.getvalue() and f"{case}: no warning",
            resumed,
        )
        shutil.rmtree(run)
    result.note = (
        "by name: checkpoint.verify, for no flag names a checkpoint; a damaged manifest has no hash of its own to "
        "name; white space behind it is harmless and counted as such"
    )
    return result


def flipped(count: int, folder: Path) -> Result:
    """One bit flipped anywhere in the files of a checkpoint; besides every bit of its manifest in turn."""
    draw, result = random.Random(0), Result()
    shutil.copytree(children.uninterrupted().run, folder / "run")
    path = max((folder / "run" / "checkpoints").iterdir())
    files = [path / name for name in FILES]
    sizes = [file.stat().st_size * 8 for file in files]
    # As likely in one file as in another; the manifest, being short, whole in the long version.
    places = [(n % 3, draw.randrange(sizes[n % 3])) for n in range(count)]
    if count >= 100:
        places += [(2, bit) for bit in range(sizes[2])]
    for file, bit in places:
        whole = files[file].read_bytes()
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        files[file].write_bytes(changed)
        try:
            checkpoint.verify(path)
            result.count(f"bit {bit} of {FILES[file]} was not noticed")
        except CheckpointCorruptError:
            result.count()
        files[file].write_bytes(whole)
    checkpoint.verify(path)
    result.note = f"{count} at random" + (f", and all {sizes[2]:,} bits of the manifest" if count >= 100 else "")
    return result


class _Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


def hostile(count: int, folder: Path) -> Result:
    """A pickle, plain or as torch.save writes it, in place of a file; in turn with hashes made to agree with it."""
    result = Result()
    whole = children.uninterrupted()
    for number in range(count):
        run, canary = folder / f"run-{number}", folder / f"canary-{number}"
        shutil.copytree(whole.run, run)
        newest = max((run / "checkpoints").iterdir())
        name = FILES[number % 3]
        if number // 3 % 2:
            out = io.BytesIO()
            torch.save(_Hostile(canary), out)
            content = out.getvalue()
        else:
            content = pickle.dumps(_Hostile(canary))
        (newest / name).write_bytes(content)
        agreeing = number // 6 % 2 == 1 and name != checkpoint.MANIFEST
        if agreeing:
            manifest = json.loads((newest / checkpoint.MANIFEST).read_text())
            manifest["sha256"][name] = _sha256(newest / name)
            (newest / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        ended = children.resume(run)
        # With hashes that agree it is refused when it is read; without, the checkpoint before it is taken.
        wrong = ended.complaint(1, f"{name} cannot be read") if agreeing else ended.complaint(0, "warning: ")
        result.count(wrong, canary.exists() and "the canary was touched")
        shutil.rmtree(run)
    for number, file in enumerate(("run.json", "metrics.jsonl")):
        run, canary = folder / f"other-{number}", folder / f"canary-other-{number}"
        shutil.copytree(whole.run, run)
        (run / file).write_bytes(pickle.dumps(_Hostile(canary)))
        ended = children.run(["--resume", "--run-dir", str(run), "--epochs", "4"], run.with_suffix(".log"))
        wrong = ended.complaint(2, "run.json", "damaged") if file == "run.json" else ended.complaint(0)
        result.count(wrong, canary.exists() and "the canary was touched")
    return result
