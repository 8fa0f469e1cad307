"""How many threads a process takes on a CPU, and whether it gets the processors that it counts on.

Threads that share a product wait for the slowest of them. Where another process keeps one of two processors busy, two
threads on digits trained 554 images/s, and one 1,777 (2 cores of an AMD EPYC): a thread too many costs more than it
gives. So a command looks at how busy the machine is while it loads its libraries, and leaves to others what they use.

Importing this needs the standard library alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.text import pluralize

STARVED = 0.25  # share of its time that a thread waits for a processor, above which a run is told to be starved
LOOKED = 20.0  # seconds over which that is taken
AGAIN = 600.0  # seconds until it may be told again
SHORTEST = 0.5  # seconds over which others' use of the processors says something


@dataclass(frozen=True)
class Use:
    """Processor seconds since the machine's start, by all on the processors that this process may use, and its own."""

    everyone: float
    own: float
    at: float

    @staticmethod
    def now() -> Use | None:
        """As /proc tells it, without what runs at a lower priority and makes way; None where there is no /proc/stat."""
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
        return Use(busy / tick, times.user + times.system, time.monotonic())


BEGUN = Use.now()  # as the process begins, before it loads what takes seconds


def available() -> int:
    """Processors that this process may use, by its affinity and its cgroup's quota."""
    from joblib import cpu_count

    return max(1, int(cpu_count()))


def busy_with_others(since: Use | None = BEGUN) -> float:
    """Of these processors as many as others have kept busy; 0 where nobody knows."""
    now = Use.now()
    if since is None or now is None or now.at - since.at < SHORTEST:
        return 0.0
    return max(0.0, (now.everyone - since.everyone - (now.own - since.own)) / (now.at - since.at))


def choose(asked: int, *, before: int | None = None, processes: int = 1) -> str:
    """Let torch compute with that many threads from here on.

    Args:
        asked: --threads; 0 for OMP_NUM_THREADS, else `before`, else what others leave free.
        before: with how many a run that goes on was trained.
        processes: that share this machine for one job.

    Returns:
        Why it is fewer than there are processors, in a line; empty where there is nothing to say.

    Raises:
        ConfigError: for more threads than this process may use processors.
    """
    import torch

    most = available()
    if asked < 0:
        raise ConfigError(f"--threads {asked}: must be 1 or more, or 0 to leave it to the machine")
    if asked > most:
        raise ConfigError(
            f"--threads {asked}: this process may use {pluralize(most, 'processor')}; lower it, or leave it out"
        )
    own, note = min(torch.get_num_threads(), most), ""
    if asked:
        own = asked
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
                f"{pluralize(free, 'thread')}, for other processes keep {busy:.1f} of "
                f"{pluralize(most, 'processor')} busy; "
                "--threads says otherwise"
            )
        own = free
    torch.set_num_threads(own)
    return note


def waited() -> tuple[float, float] | None:
    """Seconds that this process's threads have run, and that they were ready to and waited for a processor."""
    ran = waits = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                running, waiting, _ = map(int, (task / "schedstat").read_text(encoding="ascii").split())
            except FileNotFoundError:  # it ended meanwhile
                continue
            ran, waits = ran + running, waits + waiting
    except (OSError, ValueError):
        return None
    return ran / 1e9, waits / 1e9


class Starvation:
    """Notices that a run waits for processors that others use.

    Args:
        count: its threads.
        measure, clock: see `waited`; seconds.
    """

    def __init__(
        self,
        count: int,
        measure: Callable[[], tuple[float, float] | None] = waited,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._measure, self._clock = count, measure, clock
        self._last, self._looked_at = measure(), clock()
        self._told_at: float | None = None

    def news(self) -> str:
        """A line when the run was starved since the last look and that was not told lately; else nothing."""
        now = self._clock()
        if self._last is None or now - self._looked_at < LOOKED:
            return ""
        before, self._last, self._looked_at = self._last, self._measure(), now
        if self._last is None or (self._told_at is not None and now - self._told_at < AGAIN):
            return ""
        ran, waits = (after - earlier for after, earlier in zip(self._last, before, strict=True))
        if waits <= STARVED * (ran + waits) or ran + waits < 1.0:
            return ""
        self._told_at = now
        remedy = "" if self._count == 1 else f"; --threads {self._count - 1} may be faster, with --resume too"
        share = f"{waits / (ran + waits):.0%}"
        return f"note: starved: its threads wait {share} of the time for processors that others use{remedy}"
