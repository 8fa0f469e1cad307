"""Runs that are killed or told to stop: cases 1 to 4."""

from __future__ import annotations

import importlib.util
import multiprocessing
import random
import signal
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from fastgan.errors import CheckpointCorruptError
from fastgan.runs import checkpoint
from faults import Result, children, hooks

MOST_ATTEMPTS = 10  # to kill a run inside a save, which lasts some milliseconds


def killed(count: int, folder: Path) -> Result:
    """SIGKILL at any moment, every second time inside a save; the run is continued to its end."""
    whole = children.uninterrupted()
    draw, result = random.Random(0), Result()
    inside = early = 0
    for number in range(count):
        in_save = number % 2 == 1
        run, completed = _kill_one(folder, number, draw, whole.seconds, in_save)
        try:
            _, seen = checkpoint.newest(run / "checkpoints")
        except CheckpointCorruptError as error:
            # Nothing was saved yet: the run starts from its beginning, or is begun again if it had no settings.
            early += 1
            begun = (run / "run.json").exists()
            ended = children.resume(run)
            wrong = ended.complaint(0, "no checkpoint yet") if begun else ended.complaint(2, "is not a run folder")
            lost = f"{completed} checkpoints were lost: {error}" if completed else ""
            result.count(wrong, lost, children.differs(run, whole) if begun else "")
        else:
            inside += in_save
            ended = children.resume(run)
            left = list((run / "checkpoints").glob(".partial-*"))
            complete = "complete after" in ended.said  # killed after its last save
            result.count(
                seen < completed * children.EPOCH * children.BATCH and f"fell back to {seen} after {completed} saves",
                ended.complaint(0),
                children.differs(run, whole),
                bool(left and not complete) and f"left {left}",
            )
    result.note = (
        f"{inside} inside a save with an earlier checkpoint, {early} before the first checkpoint existed (the run says "
        "so and starts from its beginning); each continued run compared by SHA-256 over weights, optimisers and losses"
    )
    return result


def _kill_one(folder: Path, number: int, draw: random.Random, seconds: float, in_save: bool) -> tuple[Path, int]:
    """Begin a run and kill it; its folder, and how many saves it had completed."""
    for attempt in range(MOST_ATTEMPTS):
        run = folder / f"run-{number}-{attempt}"
        ours, theirs = multiprocessing.Pipe(duplex=False)
        announce = (hooks.announce_saves,) if in_save else (hooks.announce_saves, hooks.announce_steps)
        argv = [*children.TINY, "--run-dir", str(run)]
        child = children.start(argv, run.with_suffix(".log"), *(partial(hook, theirs) for hook in announce))
        theirs.close()
        event, after = (b"begin", draw.randint(1, 3)) if in_save else (b"step", draw.randint(0, children.STEPS))
        messages = _wait_for(ours, event, after)
        pause = draw.uniform(0, 0.01) if in_save else draw.uniform(0, seconds / children.STEPS)
        time.sleep(pause / 2**attempt)
        child.kill(signal.SIGKILL)
        ended = child.wait()
        messages += _drain(ours)
        ours.close()
        saving = messages.count(b"begin") > messages.count(b"end")
        if ended.code == -signal.SIGKILL and saving >= in_save:
            break
    return run, messages.count(b"end")


def _wait_for(pipe: Connection, event: bytes, times: int) -> list[bytes]:
    """Messages up to the event that comes so many times; all there are if it does not."""
    messages: list[bytes] = []
    try:
        while messages.count(event) < times:
            messages.append(pipe.recv_bytes())
    except EOFError:
        pass
    return messages


def _drain(pipe: Connection) -> list[bytes]:
    """What the child still said before it was killed; a message may be cut short."""
    messages = []
    try:
        while pipe.poll():
            messages.append(pipe.recv_bytes())
    except (EOFError, OSError):
        pass
    return messages


# --- case 2 ---


def _parts(value: float) -> checkpoint.Parts:
    return {"model": {"weight": torch.full((50, 40), value)}, "training": {"clock": torch.tensor(value)}}


def _save_and_end(folder: Path, images: int, call: int) -> None:
    calls = hooks.end_before_call(call)
    checkpoint.save(folder, images, _parts(float(images) + 0.5))
    print(len(calls), "calls")


def ended_within_a_save(count: int, folder: Path) -> Result:
    """`os._exit` before each call of a save that changes the disk, of a new moment and of one saved before."""
    result = Result()
    for images in (300, 200):
        for call in range(count):
            place = folder / f"{images}-{call}"
            for good in (100, 200):
                checkpoint.save(place, good, _parts(float(good)))
            ended = children.call(partial(_save_and_end, place, images, call), place.with_suffix(".log"))
            if ended.code == 0:  # the save has fewer calls
                break
            path, found = checkpoint.newest(place)
            value = float(checkpoint.load(path, "training")["clock"])
            weights = checkpoint.load(path, "model")["weight"]
            whole = value in (found, found + 0.5) and bool((weights == value).all())
            checkpoint.save(place, 400, _parts(400.0))
            left = [each.name for each in place.iterdir() if not each.name.isdigit()]
            result.count(
                ended.code != 77 and f"call {call}: exit code {ended.code}: {ended.said}",
                found < (200 if images == 300 else 100) and f"call {call}: fell back to {found}",
                not whole and f"call {call}: {found} holds the tensors of {value}",
                bool(left) and f"call {call}: the next save left {left}",
            )
    result.note = (
        "every call of a save in turn; between removing a checkpoint of the same moment, which a resumed run replaces "
        "when its hashes fail, and the new one's rename, the one before is the last good"
    )
    return result


# --- cases 3 and 4 ---


def _stopped(
    run: Path, places: Sequence[tuple[str, int]], numbers: Sequence[int], flags: Sequence[str] = ()
) -> tuple[children.Ended, str]:
    """A run that gets a signal at each place, one after the other; how it ended, and what it left running."""
    ours, theirs = multiprocessing.Pipe()
    argv = [*children.TINY, *flags, "--run-dir", str(run)]
    child = children.start(argv, run.with_suffix(".log"), partial(hooks.gates, theirs, places))
    theirs.close()
    try:
        for number in numbers:
            ours.recv_bytes()
            child.kill(number)
            ours.send_bytes(b"on")
    except (EOFError, OSError):
        pass  # it has ended: its exit code tells
    ended, left = child.wait(), child.left_behind()
    ours.close()
    return ended, left


def told_to_stop(count: int, folder: Path) -> Result:
    """SIGTERM and Ctrl-C in turn: before a random step, while images are grouped, and while a checkpoint is saved."""
    draw, result = random.Random(1), Result()
    dali = importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None
    for number in range(count):
        signal_number = (signal.SIGTERM, signal.SIGINT)[number % 2]
        flags = ("--augment", "dali") if dali and number % 4 == 1 else ()
        whole = children.uninterrupted(*flags)
        place = ("step", draw.randrange(children.STEPS - 1))
        if number % 3 == 2:
            place = draw.choice([("grouping", 0), ("save", draw.randrange(6))])
        run = folder / f"run-{number}"
        ended, left = _stopped(run, [place], [signal_number], flags)
        wrong = ended.complaint(128 + signal_number, "stopped and saved", f"--resume --run-dir {run}")
        result.count(wrong, left, children.resume(run).complaint(0), children.differs(run, whole))
    if count > 10:
        result.count(_real_process(folder / "real", ("--augment", "dali") if dali else ()))
    result.note = f"exit codes 143 and 130; {'one in four transformed by DALI' if dali else 'DALI is not installed'}"
    return result


def _real_process(run: Path, flags: Sequence[str]) -> str:
    """A fresh process, not a forked one, told to stop after its first row; what is wrong with how it ends."""
    process = children.fresh([*children.TINY, *flags, "--epochs", "90", "--eval-every", "90", "--run-dir", str(run)])
    deadline = time.monotonic() + children.PATIENCE
    while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=children.PATIENCE)
    checkpoint.newest(run / "checkpoints")
    ended = children.Ended(process.returncode, said)
    return ended.complaint(143, "stopped and saved") or children.left_behind(process.pid)


def stopped_twice(count: int, folder: Path) -> Result:
    """A signal before a random step, and another inside the save that follows."""
    whole = children.uninterrupted()
    draw, result = random.Random(2), Result()
    within = [step for step in range(children.STEPS) if (step + 1) % children.EPOCH]  # no save falls due after them
    for number in range(count):
        run, step = folder / f"run-{number}", draw.choice(within)
        signals = [draw.choice((signal.SIGTERM, signal.SIGINT)) for _ in range(2)]
        ended, left = _stopped(run, [("step", step), ("save", draw.randrange(6))], signals)
        saved = run / "checkpoints" / f"{(step + 1) * children.BATCH:012d}"
        result.count(
            ended.complaint(128 + signals[0], "stopped and saved"),
            left,
            not saved.exists() and f"{saved.name} was not saved",
            children.resume(run).complaint(0),
            children.differs(run, whole),
        )
    return result
