"""A thread in which the ranks of a run tell each other that they are there.

What a rank waits for may be long in coming, as while rank 0 evaluates alone, and on a GPU it waits without a word for a
rank that is gone. So the ranks also meet once a second beside all else, in a group of their own: a process that has
ended closes its connections, and one that is stopped does not come.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

BEAT = 1.0  # seconds between two meetings
GRACE = 3.0  # seconds in which this process may end by itself, for a reason that it knows better


class Heartbeat:
    """From when it is made until `leave`, ends this process, exit code 1, when another rank is lost: over gloo.

    Not while this rank is busy on behalf of all, nor once it is ending anyway. A rank that has outlived the torchrun
    that started it gets SIGTERM from here: it saves and ends.

    Args:
        timeout: seconds after which a rank that does not come is given up.
        reason: from what happened, in short, to the line that is printed.
    """

    def __init__(self, timeout: float, reason: Callable[[str], str]) -> None:
        self._reason, self._timeout = reason, max(timeout - 2 * BEAT, timeout / 2)
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._timeout))
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._busy, self._leaving, self._quiet = threading.Lock(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within, what this rank does is worth more than to end at once."""
        with self._busy:
            yield

    def hush(self) -> None:
        """This process is about to end, and says why itself."""
        self._quiet = True
        self._leaving.set()

    def leave(self) -> None:
        """Wait until all ranks are about to leave."""
        self._leaving.set()
        self._thread.join()

    def end(self) -> None:
        """End without the others: the thread must not be in the middle of a call when the interpreter goes."""
        self.hush()
        self._thread.join(GRACE)

    def _run(self) -> None:
        try:
            while not self._meet() and not self._quiet:
                self._leaving.wait(BEAT)
        except RuntimeError as error:
            stalled = time.monotonic() - self._since >= self._timeout
            said = str(error).strip().partition("\n")[0]
            self._end(f"silent for {self._timeout:.0f} s" if stalled else said, stalled)

    def _meet(self) -> bool:
        """Meet the other ranks; whether all are about to leave."""
        if self._parent is not None and os.getppid() != self._parent:
            self._parent = None
            os.kill(os.getpid(), signal.SIGTERM)
        leaving = torch.tensor(int(self._leaving.is_set()))
        self._since = time.monotonic()
        dist.all_reduce(leaving, dist.ReduceOp.MIN, group=self._group)
        return bool(leaving)

    def _end(self, cause: str, stalled: bool) -> None:
        while True:
            with self._busy:  # what it does for all comes to its end first
                pass
            if not stalled:
                self._leaving.wait(GRACE)
            if self._quiet:
                return
            if not self._busy.locked():
                break
        print(f"error: {self._reason(cause)}", file=sys.__stderr__, flush=True)
        os._exit(1)  # the main thread may wait in a place that nothing else ends
