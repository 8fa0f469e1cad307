"""A thread that detects when another rank of the run is lost.

A rank may wait long for another, for instance while rank 0 evaluates, and NCCL waits silently for a rank that has
ended. So the ranks also do an all-reduce once a second in a separate gloo group: it fails when a process has ended,
since that closes its connections, and times out when a process is stopped.
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

BEAT = 1.0  # seconds between two all-reduces
GRACE = 3.0  # seconds in which this process may end by itself, with a more precise error


class Heartbeat:
    """Ends this process with exit code 1 when another rank is lost; active until `leave`.

    It waits while this rank is `busy`, and does nothing once the process is ending anyway. When torchrun, which started
    this process, has ended, the process gets SIGTERM: it saves and ends.

    Args:
        timeout: seconds after which a rank that does not answer counts as lost.
        reason: turns a short cause into the line that is printed.
    """

    def __init__(self, timeout: float, reason: Callable[[str], str]) -> None:
        self._reason, self._timeout = reason, max(timeout - 2 * BEAT, timeout / 2)
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._timeout))
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._busy, self._leaving, self._silenced = threading.Lock(), threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within, this rank finishes its work before it ends."""
        with self._busy:
            yield

    def silence(self) -> None:
        """Print nothing more: this process is about to end and prints the cause itself."""
        self._silenced = True
        self._leaving.set()

    def leave(self) -> None:
        """Wait until all ranks are about to leave."""
        self._leaving.set()
        self._thread.join()

    def end(self) -> None:
        """Stop without the other ranks: the thread must not be inside a call when the interpreter shuts down."""
        self.silence()
        self._thread.join(GRACE)

    def _run(self) -> None:
        try:
            while not self._all_reduce() and not self._silenced:
                self._leaving.wait(BEAT)
        except RuntimeError as error:
            stalled = time.monotonic() - self._since >= self._timeout
            message = str(error).strip().partition("\n")[0]
            self._end(f"silent for {self._timeout:.0f} s" if stalled else message, stalled)

    def _all_reduce(self) -> bool:
        """One all-reduce with the other ranks; returns whether all are leaving."""
        if self._parent is not None and os.getppid() != self._parent:
            self._parent = None
            os.kill(os.getpid(), signal.SIGTERM)
        leaving = torch.tensor(int(self._leaving.is_set()))
        self._since = time.monotonic()
        dist.all_reduce(leaving, dist.ReduceOp.MIN, group=self._group)
        return bool(leaving)

    def _end(self, cause: str, stalled: bool) -> None:
        while True:
            with self._busy:  # rank 0 finishes its work first
                pass
            if not stalled:
                self._leaving.wait(GRACE)
            if self._silenced:
                return
            if not self._busy.locked():
                break
        print(f"error: {self._reason(cause)}", file=sys.__stderr__, flush=True)
        os._exit(1)  # the main thread may be blocked in a call that nothing else ends
