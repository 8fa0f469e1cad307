"""Time several ways to compute one thing, in turns, on whatever device there is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SECONDS = 0.6 if DEVICE.type == "cpu" else 0.1  # a candidate and round are timed for about this long
ROUNDS = 5
MOST_CALLS = 2000


@dataclass(frozen=True)
class Timing:
    """Microseconds a call: median, 20th and 80th percentile over rounds; MiB allocated at most (CUDA)."""

    median_us: float
    p20_us: float
    p80_us: float
    peak_mib: float | None
    captured: bool
    """Timed inside a CUDA graph: without the launches' cost on the host."""


def _captured(call: Callable[[], object]) -> Callable[[], object] | None:
    """The call as a CUDA graph's replay, or None where it cannot be captured (a host synchronisation, say)."""
    stream, reader = torch.cuda.Stream(), torch.cuda.current_stream()
    try:
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        graph.replay()
        torch.cuda.synchronize()
    except Exception:  # noqa: BLE001 - whatever a rival raises means that it cannot be captured
        torch.cuda.set_stream(reader)  # a capture that fails stays on its own
        torch.cuda.synchronize()
        with torch.cuda.graph(torch.cuda.CUDAGraph()):  # and torch's generator in a state that ends with the next one
            torch.zeros(1, device=DEVICE)
        return None
    return graph.replay


def _run(call: Callable[[], object], calls: int) -> float:
    """Seconds of `calls` calls."""
    if DEVICE.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - begin


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call by the host's clock, until the device has done it."""
    begin = time.perf_counter()
    call()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _peak(call: Callable[[], object]) -> float | None:
    if DEVICE.type != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


class Candidate:
    """A call that is ready to be timed: compiled, its memory measured, and captured as a CUDA graph where that can be.

    Args:
        capture: on a GPU, time what can be captured as a CUDA graph's replays.
    """

    def __init__(self, call: Callable[[], object], *, capture: bool = True) -> None:
        for _ in range(3):
            call()  # compilation, allocation, tuning
        self.peak_mib = _peak(call)
        graph = _captured(call) if capture and DEVICE.type == "cuda" else None
        self.captured = graph is not None
        self._call = graph or call
        self._calls = 0

    def time(self) -> float:
        """Seconds a call, over one round."""
        if not self._calls:  # not before: others may be made ready at the same time
            once = max(_run(self._call, 2) / 2, 1e-6)
            self._calls = max(1, min(MOST_CALLS, int(SECONDS / ROUNDS / once)))
        return _run(self._call, self._calls) / self._calls


def in_turns(names: Sequence[str], rounds: int = ROUNDS) -> Iterator[Sequence[str]]:
    """The names of each round, in an order that turns by one place a round, so that a slow spell meets all of them."""
    for turn in range(rounds):
        first = turn % max(1, len(names))
        yield (*names[first:], *names[:first])


def summary(seconds: Sequence[float], peak_mib: float | None, captured: bool) -> Timing:
    """What rounds of so many seconds a call come to."""
    p20, _, _, p80 = (1e6 * cut for cut in statistics.quantiles(seconds, n=5, method="inclusive"))
    return Timing(1e6 * statistics.median(seconds), p20, p80, peak_mib, captured)


def compare(candidates: Mapping[str, Callable[[], object]], *, capture: bool = True) -> dict[str, Timing]:
    """Time every candidate, in turns."""
    ready = {name: Candidate(call, capture=capture) for name, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for name in chain.from_iterable(in_turns(list(ready))):
        seconds[name].append(ready[name].time())
    return {name: summary(seconds[name], call.peak_mib, call.captured) for name, call in ready.items()}
