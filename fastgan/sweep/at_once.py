"""Concurrent runs of a sweep: on a GPU each in a thread of one process, on a CPU each in its own process.

The suite of worlds, whose runs share no trainer, makes them in processes on a GPU too (worlds.py).

One run leaves most of a GPU idle. Launching eight captured iterations takes a few microseconds of the host's time, so
one process can launch those of several runs, each in its own stream. On a CPU a run is work of the host, which Python
does in one thread at a time, so each run gets its own process.

Runs are handed out one by one in their order; each thread or process keeps a trainer for the runs of each method.
After a failure no new run is started; those under way are finished and kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from fastgan.errors import ConfigError, FastganError, RunError
from fastgan.runtime import threads
from fastgan.runtime.ranks import RankInfo
from fastgan.runtime.signals import stop_signals
from fastgan.runtime.turns import SharedTurns
from fastgan.sweep.results import RunKey
from fastgan.sweep.runner import Sweep
from fastgan.text import pluralize

TrainOne = Callable[[RunKey], "int | None"]  # trains a run; the signal that stopped it, or None
BEAT = 0.2  # seconds between two checks for signals
# The default on a GPU. Not measured: a replay of the paper's networks fills a small part of an H100's
# multiprocessors, and from about four runs on they wait for evaluations, which take turns.
MOST = 4
RUN_BYTES = 3 << 30  # of GPU memory per run: networks, two graphs with their activations, workspaces
STREAMS = 32  # torch's pool per device; beyond that it reuses streams


def on_gpu(requested: int, left: int, device: torch.device, *, captured: bool, methods: int = 1) -> int:
    """The number of concurrent runs on a GPU, as threads of this process.

    Args:
        requested: --runs-at-once; 0 for the default.
        left: runs still to be trained.
        captured: whether steps are CUDA graphs. Without them a step is the host's work, which threads cannot speed up.
        methods: of those runs; each thread keeps a trainer of each.

    Raises:
        ConfigError: more runs than streams.
    """
    if requested > STREAMS:
        raise ConfigError(f"--runs-at-once {requested}: a GPU has streams for {STREAMS}; lower it")
    if not requested:
        free, _ = torch.cuda.mem_get_info(device)
        requested = min(MOST, int(free) // (RUN_BYTES * max(1, methods))) if captured else 1
    return max(1, min(requested, left))


def on_cpu(requested: int, left: int, own_threads: int, ranks: RankInfo) -> tuple[int, int]:
    """The number of concurrent runs on a CPU, in processes of their own, and of threads for each.

    Args:
        requested: --runs-at-once; 0 for one. Two runs with a thread each make 1.15 times the steps of one with two
            threads on MNIST, but with three or five runs the last one would lose more than that. A run's bits also
            depend on its threads: rows would differ from those of a sweep begun earlier (docs/paper.md).
        left: runs still to be trained.
        own_threads: --threads, of each run; 0 to divide the processors among the runs.

    Raises:
        ConfigError: more threads than processors that this process may use, or torchrun.
    """
    if requested <= 1:
        return 1, own_threads
    if ranks.world_size > 1:
        raise ConfigError(
            f"--runs-at-once {requested}: on a CPU each of torchrun's processes makes one run at a time; leave it out, "
            "or call without torchrun"
        )
    most = threads.available()
    each = own_threads or max(1, most // requested)
    if requested * each > most:
        raise ConfigError(
            f"--runs-at-once {requested}: with {pluralize(each, 'thread')} each, these runs need {requested * each} "
            f"processors, and this process may use {most}; lower it{', or --threads' if each > 1 else ''}"
        )
    return max(1, min(requested, left)), each


class Crew:
    """Trains runs, several at once, until all are finished, a signal comes or one fails.

    Args:
        keys: the runs, in the order in which they are handed out.
        workers: context managers, each entered in its own thread, that yield a function which trains one run.
        stop: called once when a signal has come, for workers that do not receive it.
    """

    def __init__(
        self,
        keys: Sequence[RunKey],
        workers: Sequence[AbstractContextManager[TrainOne]],
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._left, self._workers, self._stop = list(keys), workers, stop
        self._lock = threading.Lock()
        self._failed: list[tuple[RunKey | None, BaseException]] = []
        self._received: list[int] = []
        self._stopped = False  # whether a signal has left a run unfinished

    def train(self) -> int | None:
        """Train all runs; returns the signal that stopped them, or None.

        Raises:
            RunError: naming the failed runs, after all others under way have finished.
        """
        with stop_signals() as self._received:
            crew = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in self._workers]
            for thread in crew:
                thread.start()
            stopping = False
            for thread in crew:
                while thread.is_alive():
                    if self._received and not stopping:
                        stopping = True
                        self._stop()
                    thread.join(BEAT)
        if self._failed:
            raise self._error()
        return self._received[0] if self._stopped else None

    def _work(self, worker: AbstractContextManager[TrainOne]) -> None:
        key = None
        try:
            with worker as train_one:
                while (key := self._next()) is not None:
                    signal_number = train_one(key)
                    if signal_number is not None:
                        self._stopped = True
                        if not self._received:  # sent only to a worker's process
                            self._received.append(signal_number)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failed.append((key, error))

    def _next(self) -> RunKey | None:
        with self._lock:
            if self._left and self._received:
                self._stopped = True
            if not self._left or self._received or self._failed:
                return None
            return self._left.pop(0)

    def _error(self) -> BaseException:
        """The error to raise at the end: an unexpected error itself, with a note naming its run, or a RunError."""
        failures = "; ".join(
            f"{key.name}: {_message(error)}" if key else _message(error) for key, error in self._failed
        )
        for _, error in self._failed:
            if not isinstance(error, FastganError | torch.OutOfMemoryError):
                error.add_note(f"{failures}; the other runs were finished")
                return error
        return RunError(failures, max(getattr(error, "exit_code", 1) for _, error in self._failed))


def _message(error: BaseException) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU's memory is full: lower --runs-at-once; the same command continues"
    return str(error) or type(error).__name__


def in_threads(sweep: Sweep, keys: Sequence[RunKey], count: int) -> int | None:
    """Train runs in threads of this process; returns the signal that stopped them, or None."""
    turns = SharedTurns()
    return Crew(keys, [_thread(sweep.beside(turns), stream) for stream in _streams(sweep.device, count)]).train()


def _streams(device: torch.device, count: int) -> list[torch.cuda.Stream | None]:
    """A stream for each run. All are made before any thread starts, so that no two are the same."""
    return [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in range(count)]


@contextmanager
def _thread(sweep: Sweep, stream: torch.cuda.Stream | None) -> Iterator[TrainOne]:
    """The context of a worker thread: its device and stream, which torch sets per thread."""
    assert isinstance(sweep.turns, SharedTurns)
    if stream is None:
        with sweep.turns.within():
            yield sweep.train_one
        return
    with torch.cuda.device(stream.device), torch.cuda.stream(stream), sweep.turns.within():
        yield sweep.train_one
