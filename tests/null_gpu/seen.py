"""What the null GPU has seen of this process, which runs on it."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable

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
