"""Runs in threads of one process: all of them train side by side, and what only one may do is done in turn.

What a process has once (its random generator, matplotlib, the files that judges are kept in) is used by one run at a
time, while the others train on. A GPU's capture wants more: whatever another thread launches, allocates or frees
meanwhile may break it or be lost in it. So then the others wait, each between two of its steps, with nothing half done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Turns:
    """Those of a run that has its process for itself: it never waits."""

    def one(self) -> AbstractContextManager[None]:
        """Within, no other run is in such a place; the others train on."""
        return nullcontext()

    def alone(self) -> AbstractContextManager[None]:
        """Within, no other run does anything."""
        return nullcontext()

    def between(self) -> None:
        """Between two steps: where a run waits while another is alone."""


NO_OTHERS = Turns()


class SharedTurns(Turns):
    """Those of runs in threads of their own, each of which works `within` them.

    A thread is at work but where it waits in one of these calls. None of them may be called within another.
    """

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._changed = threading.Condition()
        self._at_work = 0  # threads
        self._alone = False  # whether one is alone, or about to be

    @contextmanager
    def within(self) -> Iterator[None]:
        """A thread's whole work."""
        self._begin()
        try:
            yield
        finally:
            self._rest()

    @contextmanager
    def one(self) -> Iterator[None]:
        self._rest()  # else who is alone by then would wait for this thread, and this thread for it
        with self._one:
            self._begin()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        self._rest()
        with self._one:
            with self._changed:
                self._alone = True
                self._changed.wait_for(lambda: self._at_work == 0)
                self._at_work = 1
            try:
                yield
            finally:
                with self._changed:
                    self._alone = False
                    self._changed.notify_all()

    def between(self) -> None:
        if self._alone:  # read without the lock: at the latest the next step sees it
            self._rest()
            self._begin()

    def _begin(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._at_work += 1

    def _rest(self) -> None:
        with self._changed:
            self._at_work -= 1
            self._changed.notify_all()
