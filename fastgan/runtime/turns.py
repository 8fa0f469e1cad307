"""Locks for several runs in threads of one process, which train at the same time.

Resources that a process has once (the global random generator, matplotlib, the files of judges) are used by one run at
a time, while the others go on training. Capturing a CUDA graph needs more: what another thread launches, allocates or
frees meanwhile may break the capture or become part of it. So the other runs wait, each between two of its steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Turns:
    """For a run that is the only one in its process: it never waits."""

    def one(self) -> AbstractContextManager[None]:
        """Within, no other run is in a `one` block; the others go on training."""
        return nullcontext()

    def alone(self) -> AbstractContextManager[None]:
        """Within, no other run does anything."""
        return nullcontext()

    def between(self) -> None:
        """Called between two steps: waits while another run is `alone`."""


NO_OTHERS = Turns()


class SharedTurns(Turns):
    """For runs in separate threads, each of which does all its work in `within`.

    A thread counts as working except while it waits in one of these calls. Do not nest the calls.
    """

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._changed = threading.Condition()
        self._at_work = 0  # threads
        self._alone = False  # whether one is alone, or about to be

    @contextmanager
    def within(self) -> Iterator[None]:
        """Surrounds all work of a thread."""
        self._begin()
        try:
            yield
        finally:
            self._rest()

    @contextmanager
    def one(self) -> Iterator[None]:
        self._rest()  # a run that is `alone` waits for this thread, which waits for its lock
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
