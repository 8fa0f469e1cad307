"""Several runs of a sweep at once: on a GPU each in a thread of one process, on a CPU each in a process of its own.

One run leaves most of a GPU idle. Its captured step is some microseconds of the host's time for eight iterations, so
one process can launch those of several runs, each in a stream of its own. On a CPU a run is the host's work, which in
Python goes on in one thread at a time: so there each has a process.

Runs are handed out one by one, in their order, so that those of one method share a trainer (a thread's, a process's).
The first that fails is the last that is begun: those under way go on to their ends and are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from fastgan.errors import ConfigError, FastganError, RunError
from fastgan.runtime import threads
from fastgan.runtime.distributed import Ranks
from fastgan.runtime.process import stop_signals
from fastgan.runtime.turns import SharedTurns
from fastgan.sweep.results import RunKey
from fastgan.sweep.runner import Sweep
from fastgan.text import counted

Take = Callable[[RunKey], "int | None"]  # trains a run; the signal that stopped it, or None
BEAT = 0.2  # seconds between two looks at what has come
# Of a GPU, where nothing is asked for. Not measured: a replay of the paper's networks fills a small part of an H100's
# multiprocessors, and from about four runs on it is their evaluations, one at a time, that the others wait for.
MOST = 4
RUN_BYTES = 3 << 30  # of a GPU's memory that a run may take: networks, two graphs with what lies between, workspaces
STREAMS = 32  # that torch has for a device; from then on it hands out the same ones again


def on_gpu(asked: int, left: int, device: torch.device, *, captured: bool) -> int:
    """How many runs in threads of this process.

    Args:
        asked: --runs-at-once; 0 for as many as are sensible.
        left: runs that are to be made.
        captured: whether steps are replayed. Launched one by one they are the host's work, which threads only share.

    Raises:
        ConfigError: for more than there are streams.
    """
    if asked > STREAMS:
        raise ConfigError(f"--runs-at-once {asked}: a GPU has streams for {STREAMS}; lower it")
    if not asked:
        free, _ = torch.cuda.mem_get_info(device)
        asked = min(MOST, int(free) // RUN_BYTES) if captured else 1
    return max(1, min(asked, left))


def on_cpu(asked: int, left: int, own_threads: int, ranks: Ranks) -> tuple[int, int]:
    """How many runs in processes of their own, and with how many threads each.

    Args:
        asked: --runs-at-once; 0 for one: though two runs with a thread each make 1.15 times the steps of one with two
            threads on MNIST, of three or five the last would lose more than that, and a run's bits depend on its
            threads, so that rows would not be those of a sweep that was begun before (docs/paper.md).
        left: runs that are to be made.
        own_threads: --threads, of each run; 0 to share the processors out.

    Raises:
        ConfigError: for more threads than this process may use processors, and under torchrun.
    """
    if asked <= 1:
        return 1, own_threads
    if ranks.count > 1:
        raise ConfigError(
            f"--runs-at-once {asked}: on a CPU each of torchrun's processes makes one run at a time; leave it out, or "
            "call without torchrun"
        )
    most = threads.available()
    each = own_threads or max(1, most // asked)
    if asked * each > most:
        raise ConfigError(
            f"--runs-at-once {asked}: with {counted(each, 'thread')} each they want {asked * each} processors, and "
            f"this process may use {most}; lower it{', or --threads' if each > 1 else ''}"
        )
    return max(1, min(asked, left)), each


class Crew:
    """Works through runs, several at once, until all are made, a signal comes or one fails.

    Args:
        keys: the runs, in the order in which they are handed out.
        workers: each gives, within its context and in a thread of its own, what trains one run after the other.
        stop: called when a signal has come, for workers that are not sent it.
    """

    def __init__(
        self,
        keys: Sequence[RunKey],
        workers: Sequence[AbstractContextManager[Take]],
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._left, self._workers, self._stop = list(keys), workers, stop
        self._lock = threading.Lock()
        self._failed: list[tuple[RunKey | None, BaseException]] = []
        self._received: list[int] = []
        self._stopped = False  # whether a signal has left a run unfinished

    def train(self) -> int | None:
        """Returns the signal that stopped it, or None.

        Raises:
            RunError: naming the runs that have failed, once all others that were under way are finished.
        """
        with stop_signals() as self._received:
            crew = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in self._workers]
            for thread in crew:
                thread.start()
            told = False
            for thread in crew:
                while thread.is_alive():
                    if self._received and not told:
                        told = True
                        self._stop()
                    thread.join(BEAT)
        if self._failed:
            raise self._error()
        return self._received[0] if self._stopped else None

    def _work(self, worker: AbstractContextManager[Take]) -> None:
        key = None
        try:
            with worker as take:
                while (key := self._next()) is not None:
                    signal_number = take(key)
                    if signal_number is not None:
                        self._stopped = True
                        if not self._received:  # sent to a worker's process alone
                            self._received.append(signal_number)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the main thread raises it
            self._failed.append((key, error))

    def _next(self) -> RunKey | None:
        with self._lock:
            if self._left and self._received:
                self._stopped = True
            if not self._left or self._received or self._failed:
                return None
            return self._left.pop(0)

    def _error(self) -> BaseException:
        """What is raised in the end: an error that is no user's as it is, with the name of its run."""
        said = "; ".join(f"{key.name}: {_said(error)}" if key else _said(error) for key, error in self._failed)
        for _, error in self._failed:
            if not isinstance(error, FastganError | torch.OutOfMemoryError):
                error.add_note(f"{said}; what else was under way is finished")
                return error
        return RunError(said, max(getattr(error, "exit_code", 1) for _, error in self._failed))


def _said(error: BaseException) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU's memory is full: lower --runs-at-once; the same command goes on"
    return str(error) or type(error).__name__


def in_threads(sweep: Sweep, keys: Sequence[RunKey], count: int) -> int | None:
    """Train runs in threads of this process; returns the signal that stopped them, or None."""
    turns = SharedTurns()
    return Crew(keys, [_thread(sweep.beside(turns), stream) for stream in _streams(sweep.device, count)]).train()


def _streams(device: torch.device, count: int) -> list[torch.cuda.Stream | None]:
    """One each, made one after the other: only so are they sure to differ."""
    return [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in range(count)]


@contextmanager
def _thread(sweep: Sweep, stream: torch.cuda.Stream | None) -> Iterator[Take]:
    """A thread's part: on the device and the stream, which torch keeps for each thread."""
    assert isinstance(sweep.turns, SharedTurns)
    if stream is None:
        with sweep.turns.within():
            yield sweep.take
        return
    with torch.cuda.device(stream.device), torch.cuda.stream(stream), sweep.turns.within():
        yield sweep.take
