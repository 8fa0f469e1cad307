"""What a process that is one of our commands sets for itself, before it imports anything that takes time.

This module imports only the standard library. A program that imports fastgan keeps its own handlers and warnings.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

from fastgan.runtime import libraries


def begin() -> None:
    """Until `run_command` takes over, Ctrl-C and SIGTERM end the process with one line; libraries are quiet."""
    sys.excepthook = _interrupted
    signal.signal(signal.SIGTERM, _terminated)
    libraries.quiet()


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a command still imports its modules prints one line, not a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM while a command still imports its modules: nothing is written yet."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"stopped; the same command starts again\n")
    os._exit(128 + number)
