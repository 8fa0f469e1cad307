"""SIGTERM and Ctrl-C: they end a command at once, with its partial files removed; a run in training after its step.

This module imports only the standard library.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT)
Handler = Callable[[int, FrameType | None], None] | signal.Handlers

_received: list[int] = []  # by the main thread; read by the threads that it started
_ending = False  # within `ending_at_once`


class Stopped(KeyboardInterrupt):
    """The command was told to stop by signal `number`; `remedy` says how to go on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.remedy = number, ""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def on_own_stack() -> None:
    """Let handlers of signals run on a stack of their own from here on, which faulthandler gives the main thread.

    On a processor with AVX2 and nothing wider, oneDNN's float32 product points the stack pointer into the heap: of
    signals that came during such products 72% found it there (64x6272 by 6272x1024). A handler on the interrupted
    stack then overwrites the heap below, and the process ends some time later: "corrupted size vs. prev_size".
    """
    if _in_main_thread() and not faulthandler.is_enabled():
        faulthandler.enable(2)  # stderr by its number: sys.stderr may be no file


@contextmanager
def blocked() -> Iterator[None]:
    """Within, threads that are started leave signals to the main thread, the only one with a stack for them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def received() -> list[int]:
    """The signals that came so far: within `ending_at_once` since its start, else since that of `stop_signals`."""
    return _received


@contextmanager
def _replaced(handler: Handler) -> Iterator[None]:
    """Within, `handler` is that of NUMBERS, in the main thread; other threads can set none."""
    before = {number: signal.signal(number, handler) for number in NUMBERS} if _in_main_thread() else {}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def _handled(act: Callable[[int], None]) -> Iterator[None]:
    """Within, signals are kept in `received` and passed to `act`."""

    def handle(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        act(number)

    on_own_stack()
    with _replaced(handle):
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Within, a signal raises Stopped in the main thread, wherever it is, except inside `stop_signals`."""
    global _received, _ending
    if not _in_main_thread():
        yield
        return

    def stop(number: int) -> None:
        raise Stopped(number)

    _received, _ending = [], True
    try:
        with _handled(stop):
            yield
    finally:
        _received, _ending = [], False


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect signals instead of ending at once: the loop finishes its step, saves and ends.

    Python delivers signals to the main thread only; other threads get the list that the main thread fills. Within
    `ending_at_once` it holds those that came before, too: an exception raised where nobody can catch it, as in a
    destructor, is lost, and one that came with the last step of a run must stop the next.
    """
    global _received
    if not _in_main_thread():
        yield _received
        return
    if not _ending:
        _received = []
    with _handled(lambda number: None):
        yield _received


def end_process(number: int, frame: FrameType | None) -> None:
    """A handler that ends the process with one line, of rank 0: nothing is written yet."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"stopped; the same command starts again\n")
    os._exit(128 + number)


def ending_the_process() -> AbstractContextManager[None]:
    """Within, a signal ends the process in its handler, for where an exception would be caught by others."""
    return _replaced(end_process)


def ignored() -> AbstractContextManager[None]:
    """Within, further signals do nothing: the last words are said."""
    return _replaced(signal.SIG_IGN)
