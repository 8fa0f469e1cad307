"""What the null GPU has seen of this process, which runs on it."""

from __future__ import annotations

import atexit
import ctypes
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_library = ctypes.CDLL(None)  # what this process has loaded, whatever lies where it came from
for _name in ("null_problem", "null_node", "null_trace"):
    getattr(_library, _name).restype = ctypes.c_char_p


def problems() -> Counter[str]:
    """What a device would have refused, or what is lost from a capture, and how often."""
    return Counter(_library.null_problem(i).decode() for i in range(_library.null_problem_count()))


def graphs() -> list[list[str]]:
    """The names of each captured graph's nodes, in order."""
    return [
        [_library.null_node(i, j).decode() for j in range(_library.null_node_count(i))]
        for i in range(_library.null_graph_count())
    ]


def trace(call: Callable[[], object]) -> list[str]:
    """The launches and, in lines that begin with SYNC, the waits of a call."""
    _library.null_trace_on(1)
    try:
        call()
    finally:
        _library.null_trace_on(0)
    return [_library.null_trace(i).decode() for i in range(_library.null_trace_count())]


def waits(call: Callable[[], object]) -> Counter[str]:
    """How a call waits for the device."""
    return Counter(line for line in trace(call) if line.startswith("SYNC"))


def _working() -> bool:
    """Whether one of autograd's threads is running, or would be, had it a core."""
    states = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if (task / "comm").read_text(encoding="utf-8").startswith("pt_autograd"):
                states.append((task / "stat").read_text(encoding="utf-8").rpartition(") ")[2][0])
    return states.count("S") < len(states)


@atexit.register
def wait_for_autograd(looks: int = 5, limit: float = 60.0) -> None:
    """Wait until autograd's threads have put away what the last backward pass left, so that Python may end.

    The thread that ran a backward pass answers first and drops its gradients then, for which it needs Python. If
    Python is ending by that time, torch 2.11 aborts the process: "terminate called without an active exception".
    """
    end, quiet = time.monotonic() + limit, 0
    while quiet < looks and time.monotonic() < end:
        time.sleep(0.001)  # without the lock of Python, which a thread may be waiting for
        quiet = 0 if _working() else quiet + 1
