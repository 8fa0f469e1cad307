"""SIGTERM and Ctrl-C, which end a run after its step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_collected: list[int] = []  # by the main thread, for all that it has begun


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and Ctrl-C instead of dying of them: the loop finishes its step, saves and ends.

    Only the main thread is sent signals: in another, these are those that the main thread collects meanwhile.
    """
    global _collected
    if threading.current_thread() is not threading.main_thread():
        yield _collected
        return
    received = _collected = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
