"""How many threads a process uses on a CPU, and whether it is starved of processors during a run.

Threads that share a matrix product wait for the slowest one. With another process on one of two processors, two threads
trained 554 images/s on digits and one thread 1,777 (2 cores of an AMD EPYC): a thread too many costs more than it
gives. So a command measures how busy the machine is while it loads its libraries, and uses only the idle processors.

This module imports only the standard library.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.runtime import signals
from fastgan.text import pluralize

STARVED = 0.25  # share of its time that a thread waits for a processor, above which a run is starved
CHECK_EVERY = 20.0  # seconds over which starvation is measured
REPORT_EVERY = 600.0  # seconds before it is reported again
SHARED_OUT = 1 << 18  # numbers whose sum torch computes with all threads
SHORTEST = 0.5  # seconds that a measurement of other processes' use needs


@dataclass(frozen=True)
class CpuUse:
    """Processor seconds: by everyone since boot, on the processors that this process may use, and by this process."""

    everyone: float
    own: float
    at: float

    @staticmethod
    def now() -> CpuUse | None:
        """Read /proc/stat, without processes of lower priority (nice), which yield; None if it cannot be read."""
        try:
            lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
            tick, mine = os.sysconf("SC_CLK_TCK"), {f"cpu{number}" for number in os.sched_getaffinity(0)}
            busy = 0
            for name, *numbers in (line.split() for line in lines):
                if name in mine:
                    user, _, system, _, _, interrupts, soft, stolen = map(int, numbers[:8])
                    busy += user + system + interrupts + soft + stolen
        except (OSError, ValueError, AttributeError):
            return None
        times = os.times()
        return CpuUse(busy / tick, times.user + times.system, time.monotonic())


AT_START = CpuUse.now()  # at the start of the process, before it loads libraries


def available() -> int:
    """Number of processors that this process may use, by its affinity and cgroup quota."""
    from joblib import cpu_count

    return max(1, int(cpu_count()))


def busy_with_others(since: CpuUse | None = AT_START) -> float:
    """How many of these processors other processes kept busy since `since`; 0 if unknown."""
    now = CpuUse.now()
    if since is None or now is None or now.at - since.at < SHORTEST:
        return 0.0
    return max(0.0, (now.everyone - since.everyone - (now.own - since.own)) / (now.at - since.at))


def choose(requested: int, *, before: int | None = None, processes: int = 1) -> str:
    """Set the number of threads that torch uses on the CPU.

    Args:
        requested: --threads; 0 for OMP_NUM_THREADS, else `before`, else the idle processors.
        before: the number of threads of a resumed run.
        processes: number of processes of this job on this machine.

    Returns:
        One line that says why it uses fewer threads than processors; empty if it does not.

    Raises:
        ConfigError: for more threads than this process may use processors.
    """
    import torch

    most = available()
    if requested < 0:
        raise ConfigError(f"--threads {requested}: must be 1 or more, or 0 to choose it by the load of the machine")
    if requested > most:
        raise ConfigError(
            f"--threads {requested}: this process may use {pluralize(most, 'processor')}; lower it, or leave it out"
        )
    own, note = min(torch.get_num_threads(), most), ""
    if requested:
        own = requested
    elif processes > 1:  # torchrun sets OMP_NUM_THREADS to 1
        own = max(1, most // processes)
    elif "OMP_NUM_THREADS" in os.environ:
        own = torch.get_num_threads()
    elif before is not None:
        own = min(before, most)
    else:
        busy = busy_with_others()
        free = max(1, own - round(busy))
        if free < own:
            note = (
                f"{pluralize(free, 'thread')}, since other processes keep {busy:.1f} of "
                f"{pluralize(most, 'processor')} busy; --threads sets another number"
            )
        own = free
    with signals.blocked():
        torch.set_num_threads(own)
        torch.zeros(SHARED_OUT).add_(1)  # OpenMP starts its threads with the first work that it shares out
    return note


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards torch has as many threads as before."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def waited() -> tuple[float, float] | None:
    """Seconds that this process's threads have run, and have waited for a processor; None without /proc."""
    ran = waits = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                running, waiting, _ = map(int, (task / "schedstat").read_text(encoding="ascii").split())
            except FileNotFoundError:  # the thread has ended
                continue
            ran, waits = ran + running, waits + waiting
    except (OSError, ValueError):
        return None
    return ran / 1e9, waits / 1e9


class Starvation:
    """Detects that a run waits for processors that other processes use.

    Args:
        count: number of threads of the run.
        measure: see `waited`.
        clock: in seconds.
    """

    def __init__(
        self,
        count: int,
        measure: Callable[[], tuple[float, float] | None] = waited,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._measure, self._clock = count, measure, clock
        self._last, self._checked_at = measure(), clock()
        self._reported_at: float | None = None

    def check(self) -> str:
        """A line if the run was starved since the last check and this was not reported recently; else empty."""
        now = self._clock()
        if self._last is None or now - self._checked_at < CHECK_EVERY:
            return ""
        before, self._last, self._checked_at = self._last, self._measure(), now
        if self._last is None or (self._reported_at is not None and now - self._reported_at < REPORT_EVERY):
            return ""
        ran, waits = (after - earlier for after, earlier in zip(self._last, before, strict=True))
        if waits <= STARVED * (ran + waits) or ran + waits < 1.0:
            return ""
        self._reported_at = now
        remedy = "" if self._count == 1 else f"; --threads {self._count - 1} may be faster, with --resume too"
        share = f"{waits / (ran + waits):.0%}"
        return f"note: starved: its threads wait {share} of the time for processors that other processes use{remedy}"
