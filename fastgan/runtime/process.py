"""The process itself: the signals that stop a run after its step, and how malloc keeps memory."""

from __future__ import annotations

import ctypes
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

# Of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

_collected: list[int] = []  # the signals that the main thread received, read by the threads that it started


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and Ctrl-C instead of ending at once: the loop finishes its step, saves and ends.

    Python delivers signals to the main thread only; other threads get the list that the main thread fills.
    """
    global _collected
    if threading.current_thread() is not threading.main_thread():
        yield _collected
        return
    received = _collected = []

    def collect(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, collect) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tune_malloc() -> None:
    """Make glibc's malloc keep freed memory instead of returning it to the system; no effect with another libc.

    A step allocates and frees some 100 MB. By default malloc may return it at each step, and the system zeroes it again
    page by page: 12,500 page faults and 20 ms a step were measured in some processes. The process keeps its peak size
    instead, which it needs at every step anyway.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 1 << 26)


def peak_memory(device: torch.device) -> int:
    """The most memory that this process has held so far, bytes: of a CUDA device, else of the host, torch included.

    0 on a system that does not tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that starts at what the parent held before exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)
