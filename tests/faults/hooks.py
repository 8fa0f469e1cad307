"""What is done inside a child before it trains, so that a fault meets it at a chosen place."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.data import loading
from fastgan.models.networks import Generator
from fastgan.reporting.run_reporter import RunReporter
from fastgan.runs import checkpoint, record
from fastgan.step import losses
from fastgan.step.step import Step
from fastgan.training.engine import Engine
from fastgan.training.loader import DeviceLoader
from fastgan.training.loop import TrainingLoop


def before(owner: Any, name: str, act: Callable[[], object]) -> None:
    """Call `act` before each call of owner.name."""
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def announce_saves(pipe: Connection) -> None:
    """Send `begin` and `end` around each save."""
    real = checkpoint.save

    def announced(*args: Any) -> Path:
        pipe.send_bytes(b"begin")
        path = real(*args)
        pipe.send_bytes(b"end")
        return path

    checkpoint.save = announced  # type: ignore[assignment]


def announce_steps(pipe: Connection) -> None:
    """Send a byte before each step."""
    before(Engine, "_iterate", lambda: pipe.send_bytes(b"step"))


PLACES = {"step": (Engine, "_iterate"), "grouping": (Engine, "regroup"), "save": (checkpoint, "_sync")}


def gates(pipe: Connection, places: Sequence[tuple[str, int]]) -> None:
    """Say so and wait for an answer at each place in turn: (one of PLACES, call number from 0 since the last gate)."""
    waiting = list(places)
    calls = 0

    def act(name: str) -> None:
        nonlocal calls
        if waiting and waiting[0][0] == name:
            if calls == waiting[0][1]:
                waiting.pop(0)
                calls = 0
                pipe.send_bytes(b"here")
                pipe.recv_bytes()
            else:
                calls += 1

    for name, (owner, function) in PLACES.items():
        before(owner, function, lambda name=name: act(name))  # type: ignore[misc]


def dwell(marker: Path, seconds: float) -> None:
    """The first evaluation makes `marker`, and takes so long."""

    def act() -> None:
        if not marker.exists():
            marker.touch()
            time.sleep(seconds)

    before(RunReporter, "evaluate", act)


def stop_before(step: int, signal_number: int) -> None:
    """Send this process a signal before step number `step` of the run, counted from 0; the step is finished."""
    real = Engine._iterate

    def wrapped(self: Engine, kind: Callable[..., Tensor]) -> None:
        if int(self.step.images_seen) == step * self.config.batch_size:
            os.kill(os.getpid(), signal_number)
        real(self, kind)

    Engine._iterate = wrapped  # type: ignore[method-assign]


# Each call by which a save changes what is on disk.
STEPS_OF_A_SAVE = (
    (checkpoint, "save_file"),
    (checkpoint, "_sync"),
    (Path, "write_text"),
    (Path, "mkdir"),
    (Path, "rename"),
    (shutil, "rmtree"),
)


def end_before_call(number: int) -> list[str]:
    """End this process, without a word, before call `number` (from 0) of STEPS_OF_A_SAVE; the list of calls so far."""
    calls: list[str] = []

    def act(name: str) -> None:
        if len(calls) == number:
            os._exit(77)
        calls.append(name)

    for owner, name in STEPS_OF_A_SAVE:
        before(owner, name, lambda name=name: act(name))  # type: ignore[misc]
    return calls


def limit_file_size(save: int, size: int) -> None:
    """From save number `save` (from 0) on, no file may grow beyond `size` bytes, as on a full disk."""
    count = 0

    def act() -> None:
        nonlocal count
        if count == save:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        count += 1

    before(checkpoint, "save", act)


def _fill(place: Path, spare: int) -> None:
    """Fill the file system of `place` but for `spare` bytes."""
    with (place / "filler").open("wb") as file:
        file.write(bytes(max(shutil.disk_usage(place).free - spare, 0)))


def fill_disk(save: int, place: Path, spare: int) -> None:
    """Before save number `save`, fill the file system of `place` but for `spare` bytes."""
    count = 0

    def act() -> None:
        nonlocal count
        if count == save:
            _fill(place, spare)
        count += 1

    before(checkpoint, "save", act)


def no_room_before_step(step: int, place: Path) -> None:
    """From step number `step` on, counted from 0, nothing can be written to the file system of `place`."""
    count = 0

    def act() -> None:
        nonlocal count
        if count == step:
            _fill(place, 0)
        count += 1

    before(Engine, "_iterate", act)


def poison(name: str, value: float, at: int) -> None:
    """The loss of `name` is `value` in its call number `at`, counted from 1."""
    real = getattr(losses, name)
    calls = 0

    def poisoned(*args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        found: Tensor = real(*args)
        return found + value if calls == at else found

    setattr(losses, name, poisoned)


class _Burst(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * math.inf


def burst(first: int, count: int) -> None:
    """The generator's gradients are infinite in `count` steps from number `first` on, counted from 0."""
    real = Generator.forward
    calls = 0

    def bursting(self: Generator, *args: Any) -> Any:
        nonlocal calls
        found = real(self, *args)
        if self.training and found.requires_grad:
            calls += 1
            if first < calls <= first + count:
                return _Burst.apply(found)
        return found

    Generator.forward = bursting  # type: ignore[method-assign]


def trace(path: Path) -> None:
    """Append to `path`, for each step, hashes of its images, their transforms, its groups and its noise."""

    def digest(value: Tensor | None) -> str:
        if value is None:
            return "-"
        return hashlib.sha256(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()[:16]

    batch_at, noise = DeviceLoader.batch_at, Step.noise

    def traced(self: DeviceLoader, images_seen: Tensor) -> Any:
        found = batch_at(self, images_seen)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{int(images_seen)} feed {' '.join(map(digest, found))}\n")
        return found

    def drawn(self: Step, count: int, images_seen: Tensor) -> Tensor:
        found = noise(self, count, images_seen)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{int(images_seen)} noise {digest(found)}\n")
        return found

    DeviceLoader.batch_at = traced  # type: ignore[method-assign]
    Step.noise = drawn  # type: ignore[method-assign]


def watch_resources(path: Path, every: int) -> None:
    """Append to `path`, every so many steps: step, resident KiB, open files, threads."""
    real = Engine._iterate

    def watched(self: Engine, kind: Callable[..., Tensor]) -> None:
        step, rest = divmod(int(self.step.images_seen), self.config.batch_size)
        assert rest == 0
        if step % every == 0:
            text = Path("/proc/self/status").read_text()
            found = {line.split(":")[0]: line.split()[1] for line in text.splitlines() if len(line.split()) > 1}
            with path.open("a", encoding="utf-8") as file:
                files = len(os.listdir("/proc/self/fd"))
                file.write(f"{step} {found['VmRSS']} {files} {found['Threads']}\n")
        real(self, kind)

    Engine._iterate = watched  # type: ignore[method-assign]


def become_nobody() -> None:
    """Give up root's rights, which no file mode holds back, before the run folder is written."""

    def act() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)

    before(record, "create", act)
    before(TrainingLoop, "resume", act)


EARLY = {
    "reading": (loading, "load"),
    "building": (Engine, "__init__"),
    "judge": (RunReporter, "prepare"),
    "first steps": (Engine, "prepare"),
}


def wait_at(place: str, marker: Path) -> None:
    """Make `marker` and wait at one of the places EARLY, for a signal."""

    def act() -> None:
        marker.touch()
        time.sleep(60)

    before(*EARLY[place], act)


def stop_at(place: str, signal_number: int) -> None:
    """Send this process a signal at one of the places EARLY, before its first step."""
    before(*EARLY[place], lambda: os.kill(os.getpid(), signal_number))
