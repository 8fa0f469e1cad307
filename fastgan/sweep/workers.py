"""Worker processes: concurrent runs of a sweep, on a CPU, or sharing a GPU.

A worker receives its setup, then one run at a time, and answers when each run ends; messages are pickles over standard
input and output. A worker has its own session, so that a terminal's Ctrl-C reaches only the parent, which sends it
SIGTERM; it exits soon after its parent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fastgan.config.schema import TrainConfig
from fastgan.errors import FastganError, RunError
from fastgan.runtime import device, threads
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.ranks import RankInfo
from fastgan.sweep.at_once import Crew
from fastgan.sweep.results import Results, RunKey
from fastgan.sweep.rivals import RIVALS
from fastgan.sweep.runner import Sweep

BEAT = 1.0  # seconds between two checks that the parent is alive
WORK = "from fastgan.sweep.workers import work; work()"


@dataclass(frozen=True)
class Part:
    """The setup of a worker: its first message, the same for all workers."""

    folder: Path
    sweep: Mapping[str, Any]
    """The arguments of Results."""
    runs: Mapping[RunKey, TrainConfig]
    pictures: frozenset[RunKey]
    kernels: Any
    threads: int
    parent: int
    command: Sequence[str]
    held_out: bool = False
    at_once: int = 1
    device: str = "cpu"


class Worker:
    """The parent's handle of a worker process."""

    def __init__(self, part: Part) -> None:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._part: Part | None = part
        self._stopping = False

    def train_one(self, key: RunKey) -> int | None:
        """Let the worker train a run; returns the signal that stopped it, or None.

        Raises:
            RunError: with the run's own error, or because the process has ended.
        """
        try:
            for message in filter(None, (self._part, key)):
                self._tell(message)
            self._part = None
            assert self._process.stdout is not None
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            if self._stopping:  # it had no run to save
                return signal.SIGTERM
            raise RunError(_end(code)) from error
        if isinstance(answer, tuple):
            raise RunError(*answer)
        assert answer is None or isinstance(answer, int)
        return answer

    def _tell(self, message: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()

    def stop(self) -> None:
        """Let it save the current run and exit."""
        self._stopping = True
        self._process.terminate()

    def close(self) -> None:
        """Let it exit, as there are no more runs, and wait for that."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, perhaps for lack of memory: lower --runs-at-once, or run the same command again"
    return f"its process ended with exit code {code} (see its messages above); the same command continues"


def in_processes(sweep: Sweep, keys: Sequence[RunKey], count: int, kernels: str, own_threads: int) -> int | None:
    """Train runs in `count` processes of `own_threads` each; returns the signal that stopped them, or None."""
    results = sweep.results
    arguments = {name: results.sweep[name] for name in ("dataset", "recipe", "epochs")}
    arguments["keep_checkpoints"] = results.keep_checkpoints
    command = tuple(sys.orig_argv)
    part = Part(
        results.folder,
        arguments,
        sweep.runs,
        sweep.pictures,
        kernels,
        own_threads,
        os.getpid(),
        command,
        sweep.held_out,
        sweep.at_once,
        str(sweep.device),
    )
    workers: list[Worker] = []

    def stop() -> None:
        for worker in workers:
            worker.stop()

    with contextlib.ExitStack() as stack:
        for _ in range(count):
            workers.append(Worker(part))
            stack.callback(workers[-1].close)
        if any(key.method not in RIVALS for key in keys):
            sweep.keep_judge()  # while the workers load their libraries; otherwise each would train one
        return Crew(keys, [contextlib.nullcontext(worker.train_one) for worker in workers], stop).train()


def work() -> None:
    """The main function of a worker process."""
    messages, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints go to stderr, since stdout is for answers
    with contextlib.suppress(EOFError, BrokenPipeError):  # no more runs, or no parent
        sweep = _sweep(pickle.load(messages))
        while True:
            pickle.dump(_answer(sweep, pickle.load(messages)), answers)
            answers.flush()


def _sweep(part: Part) -> Sweep:
    threading.Thread(target=_leave_after, args=(part.parent,), name="parent", daemon=True).start()
    sys.orig_argv[:] = part.command  # run.json records the user's command
    tune_malloc()
    device.choose_kernels(part.kernels)
    threads.choose(part.threads)
    results = Results(part.folder, **part.sweep)
    where = torch.device(part.device)
    sweep = Sweep(results, part.runs, where, RankInfo(), part.pictures, named=True, held_out=part.held_out)
    sweep.at_once = part.at_once
    return sweep


def _answer(sweep: Sweep, key: RunKey) -> int | None | tuple[str, int]:
    """The signal that stopped a run, or None; or the message and exit code of its error."""
    try:
        return sweep.train_one(key)
    except FastganError as error:
        return str(error), error.exit_code


def _leave_after(parent: int) -> None:
    """Save and exit when the parent is gone."""
    while os.getppid() == parent:
        time.sleep(BEAT)
    os.kill(os.getpid(), signal.SIGTERM)
