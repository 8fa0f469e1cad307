"""What a process that is one of our commands sets for itself, before it imports anything that takes time.

This module imports only the standard library. A program that imports fastgan keeps its own handlers and warnings.
"""

from __future__ import annotations

import signal

from fastgan.runtime import libraries, signals


def begin() -> None:
    """Until `run_command` takes over, Ctrl-C and SIGTERM end the process with one line; libraries are quiet."""
    for number in signals.NUMBERS:
        signal.signal(number, signals.end_process)
    libraries.quiet()
