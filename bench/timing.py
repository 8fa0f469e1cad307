"""Time several ways to compute one thing, in turns, on whatever device there is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bench.rows import DEVICE

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


def compare(candidates: Mapping[str, Callable[[], object]], *, capture: bool = True) -> dict[str, Timing]:
    """Time every candidate; the order turns by one place a round, so that a slow spell meets all of them.

    Args:
        capture: on a GPU, time what can be captured as a CUDA graph's replays.
    """
    calls: dict[str, Callable[[], object]] = {}
    counts, peaks, captured = {}, {}, {}
    for name, candidate in candidates.items():
        for _ in range(3):
            candidate()  # compilation, allocation, tuning
        peaks[name] = _peak(candidate)
        graph = _captured(candidate) if capture and DEVICE.type == "cuda" else None
        captured[name] = graph is not None
        calls[name] = graph or candidate
        once = max(_run(calls[name], 2) / 2, 1e-6)
        counts[name] = max(1, min(MOST_CALLS, int(SECONDS / ROUNDS / once)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(ROUNDS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_run(calls[name], counts[name]) / counts[name])
    found = {}
    for name, values in seconds.items():
        p20, _, _, p80 = (1e6 * cut for cut in statistics.quantiles(values, n=5, method="inclusive"))
        found[name] = Timing(1e6 * statistics.median(values), p20, p80, peaks[name], captured[name])
    return found
