"""Disks that are full and folders that cannot be written: cases 5 and 6."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fastgan.errors import CheckpointCorruptError
from fastgan.runs import checkpoint
from faults import Result, children, hooks

TMPFS = 1_200_000  # bytes: room for two checkpoints and what lies beside them


def full_disk(count: int, folder: Path) -> Result:
    """No room for a checkpoint, or for a row of metrics.jsonl: by RLIMIT_FSIZE and on a full tmpfs in turn."""
    whole = children.uninterrupted()
    draw, result = random.Random(0), Result()
    with _tmpfs(folder / "disk") as disk:
        for number in range(count):
            small = disk if number % 2 == 1 else None
            run = (small or folder) / f"run-{number}"
            log, argv = folder / f"run-{number}.log", [*children.TINY, "--run-dir", str(run)]
            words = ("could not be written", "--resume", " free")
            save = draw.randint(1, 2)
            if small is not None and number % 4 == 3:  # a row of metrics.jsonl is the first to find no room
                step = draw.randint(children.EPOCH, children.STEPS - 2)
                hook = partial(hooks.no_room_before_step, step, small)
            elif small is not None:
                hook = partial(hooks.fill_disk, save, small, draw.randrange(120_000))
                words = (*words, "needed")
            else:  # what it prints is less than that
                hook = partial(hooks.limit_file_size, save, draw.randrange(9_000, 56_000))
                words = (*words, "needed")
            ended = children.run(argv, log, hook)
            if small is not None:
                (small / "filler").unlink(missing_ok=True)
            try:
                checkpoint.newest(run / "checkpoints")
                lost = ""
            except CheckpointCorruptError as error:
                lost = str(error)
            again = children.run(["--resume", "--run-dir", str(run)], log)
            result.count(ended.complaint(1, *words), lost, again.complaint(0), children.differs(run, whole))
            shutil.rmtree(run)
    result.note = "half by RLIMIT_FSIZE, " + (
        "half on a full tmpfs, where in turn a checkpoint and a row of metrics.jsonl find no room"
        if disk is not None
        else "half too: no tmpfs can be mounted here (that asks for root), so a row without room was not tried"
    )
    return result


@contextmanager
def _tmpfs(place: Path) -> Iterator[Path | None]:
    """A file system of TMPFS bytes, or None where it cannot be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def unwritable(count: int, folder: Path) -> Result:
    """A file in the place of the run folder or of a part of it, and folders without the right to write."""
    result = Result()
    in_place = {
        "a file in its place": "",
        "a file above it": "..",
        "a file for its checkpoints": "checkpoints",
        "a file for its samples": "samples",
    }
    names = [*in_place, "read-only", "read-only, resumed"]
    for number in range(count):
        name = names[number % len(names)]
        if name in in_place:
            run = folder / str(number) / "run"
            file = run.parent if in_place[name] == ".." else run / in_place[name]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("in the way")
            ended = children.run([*children.TINY, "--run-dir", str(run)], folder / f"{number}.log")
            trained = (run / "metrics.jsonl").exists()
        else:
            ended, trained = _as_nobody(folder / f"{number}.log", resumed=name.endswith("resumed"))
        result.count(ended.complaint(2, "--run-dir", "cannot be written"), trained and f"{name}: it trained")
    result.note = "root may write everywhere, so the read-only folders are met as the user 65534" * (os.getuid() == 0)
    return result


def _as_nobody(log: Path, *, resumed: bool) -> tuple[children.Ended, bool]:
    """How a run ends whose folder belongs to somebody else, and whether it trained."""
    place = Path(tempfile.mkdtemp(prefix="fastgan-faults-"))  # where others may look, unlike a test's folder
    run = place / "run"
    try:
        place.chmod(0o755)
        argv = [*children.TINY, "--run-dir", str(run)]
        if resumed:
            children.run(argv, log, partial(hooks.stop_before, children.EPOCH, signal.SIGTERM))
            argv = ["--resume", "--run-dir", str(run)]
        else:
            run.mkdir()
        before = (run / "metrics.jsonl").read_bytes() if resumed else None
        for each in run.rglob("*"):
            each.chmod(0o555 if each.is_dir() else 0o444)
        run.chmod(0o555)
        ended = children.run(argv, log, hooks.become_nobody)
        after = (run / "metrics.jsonl").read_bytes() if (run / "metrics.jsonl").exists() else None
        return ended, before != after
    finally:
        for each in (run, *run.rglob("*")):
            if each.is_dir():
                each.chmod(0o755)
        shutil.rmtree(place)
