"""Training runs as children that may be killed: each is forked off a server that has imported everything once.

A fresh `python -m fastgan.train` takes seconds to import torch, and a case may need hundreds of them. The server forks
before any thread of torch's is started, so a child is as good as a fresh process; `fresh` makes a real one.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch

from fastgan import train
from fastgan.config import command_line
from fastgan.reporting import run_reporter
from fastgan.runs import checkpoint

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATIENCE = 120.0  # seconds that a child may take, on a busy machine
LEFT_AFTER = 5.0  # seconds in which what a child has started must be gone

# 9 steps an epoch, a grouping before the second, a checkpoint an epoch.
_TINY = (
    "--dataset digits --image-size 16 --batch-size 128 --classes 4 --network.width 4 --network.hidden 16 "
    "--network.embedding 8 --device cpu --epochs 3 --save-every 1 --eval-every 3 --log-every 256 --average-decay 0.9 "
    "--grouping.at 1 --grouping.landmarks 64 --grouping.neighbours 3"
)
TINY = _TINY.split()
STEPS, EPOCH, BATCH = 27, 9, 128
Hook = Callable[[], object]


@dataclass
class Ended:
    """A child that has ended: its exit code (negative for the signal that killed it) and all that it printed."""

    code: int
    said: str

    def complaint(self, code: int, *words: str) -> str:
        """What is wrong with it: another exit code, words that are missing, a traceback; "" for nothing."""
        wrong = [] if self.code == code else [f"exit code {self.code}, expected {code}"]
        wrong += [f"does not say {word!r}" for word in words if word not in self.said]
        wrong += ["shows a traceback"] if "Traceback" in self.said else []
        return f"{', '.join(wrong)}: {self.said.strip()[-800:]}" if wrong else ""


class Child:
    """A process in a session of its own, which prints into a file."""

    def __init__(self, target: Callable[[], object], log: Path, environment: dict[str, str], cwd: Path | None) -> None:
        self.log = log
        self._process = _server().Process(target=_run, args=(target, log, environment, cwd))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):  # it may end just before the signal
            if self._process.is_alive():
                os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Wait for its end; one that takes longer is killed, and the exit code tells."""
        self._process.join(patience)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        assert self._process.exitcode is not None
        said = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return Ended(self._process.exitcode, said)

    def left_behind(self) -> str:
        """What it started and did not end."""
        return left_behind(self.pid)


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faults.preload"])
    # One thread each: a forked child has none of the server's, and bit-identity is promised at equal counts.
    paths = [str(ROOT), str(HERE.parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    # Who is killed cannot give back tqdm's lock: the tracker does it, and need not say so.
    ours["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    with mock.patch.dict(os.environ, ours):
        forkserver.ensure_running()
    return context


def _run(target: Callable[[], object], log: Path, environment: dict[str, str], cwd: Path | None) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    code = target()
    sys.exit(code if isinstance(code, int) else 0)


def left_behind(session: int) -> str:
    """What the first process of a session started and did not end, after LEFT_AFTER; "" for nothing."""
    deadline = time.monotonic() + LEFT_AFTER
    while (left := _of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return f"left {len(left)} processes behind" if left else ""


def _of_session(session: int) -> list[int]:
    """Processes of a session that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its) == session and state != "Z":
            found.append(int(folder.name))
    return found


def _train(argv: Sequence[str], hooks: Sequence[Hook]) -> int:
    run_reporter.obtain_judge = lambda *_: None  # type: ignore[assignment] - it would take longer than the run
    run_reporter.context_rows = lambda *_: {}  # type: ignore[assignment]
    run_reporter.RunReporter._draw = lambda *_: None  # type: ignore[method-assign]
    run_reporter.html_report.write = lambda *_: None  # type: ignore[assignment]
    for hook in hooks:
        hook()
    return command_line.run_command(train.main, argv)


def start(
    argv: Sequence[str],
    log: Path,
    *hooks: Hook,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Child:
    """`python -m fastgan.train ARGV` in a child, without its judge, pictures and page; `hooks` are called first."""
    return Child(partial(_train, tuple(argv), hooks), log, environment or {}, cwd)


def run(
    argv: Sequence[str],
    log: Path,
    *hooks: Hook,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """The same, and wait for it."""
    return start(argv, log, *hooks, environment=environment, cwd=cwd).wait()


def call(target: Callable[[], object], log: Path, cwd: Path | None = None) -> Ended:
    """Any picklable function in a child; an exit code that it returns is the child's."""
    return Child(target, log, {}, cwd).wait()


def fresh(argv: Sequence[str]) -> subprocess.Popen[str]:
    """A real `python -m fastgan.train`, with all that it draws, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastgan.train", *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def resume(run_folder: Path, *hooks: Hook) -> Ended:
    """Continue a run to its end, in a new process."""
    return run(["--resume", "--run-dir", str(run_folder)], run_folder.with_suffix(".resumed"), *hooks)


def fingerprint(run_folder: Path) -> str:
    """SHA-256 over all that a run's newest checkpoint holds (weights, optimisers, clock, losses) but the time."""
    path, images_seen = checkpoint.newest(run_folder / "checkpoints")
    tensors = {f"{part}.{k}": v for part in ("model", "training") for k, v in checkpoint.load(path, part).items()}
    hasher = hashlib.sha256(str(images_seen).encode())
    for name in sorted(tensors):
        if name != "training.progress.seconds":
            hasher.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
            hasher.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def differs(run_folder: Path, whole: Whole) -> str:
    """What is wrong with a run's last weights; "" when they are the uninterrupted run's."""
    try:
        return "" if fingerprint(run_folder) == whole.fingerprint else "other weights than the uninterrupted run's"
    except Exception as error:  # noqa: BLE001 - told in the table
        return f"no last weights ({error})"


@dataclass(frozen=True)
class Whole:
    """A tiny run that nobody disturbed: its folder, which is not to be changed, its fingerprint, how long it took."""

    run: Path
    fingerprint: str
    seconds: float


@cache
def uninterrupted(*flags: str) -> Whole:
    """A tiny run with these flags besides; trained once, for all cases."""
    place = Path(tempfile.mkdtemp(prefix="fastgan-faults-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    begin = time.monotonic()
    ended = run([*TINY, *flags, "--run-dir", str(place / "run")], place / "log")
    if ended.code != 0:
        raise RuntimeError(f"the uninterrupted run failed: {ended.said}")
    return Whole(place / "run", fingerprint(place / "run"), time.monotonic() - begin)
