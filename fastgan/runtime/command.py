"""What a process that is one of our commands sets for itself, before it imports anything that takes time.

This module imports only the standard library. A program that imports fastgan keeps its own handlers and warnings.
"""

from __future__ import annotations

import signal
import sys
from types import TracebackType

from fastgan.runtime import libraries, signals


def begin() -> None:
    """Until `run_command` takes over, Ctrl-C, SIGTERM and a missing library end the process with one line; libraries
    are quiet."""
    for number in signals.NUMBERS:
        signal.signal(number, signals.end_process)
    libraries.quiet()
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A library that is not installed is one line, where the command's own module needs it, too."""
    line = libraries.missing(error) if isinstance(error, ModuleNotFoundError) else None
    if line is None:
        sys.__excepthook__(kind, error, trace)
        return
    libraries.end_without(line)
