"""fastgan: a fast, tested trainer for Elastic-InfoGAN (Ojha et al., arXiv 1910.01112)."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from fastgan.runtime import libraries, stages, threads  # noqa: F401 - threads measures from here on how busy the machine is

__version__ = "0.1.0"


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a command still imports its libraries prints one line, not a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv and sys.argv[0] == "-m":  # one of our commands, not a program that imports us
    sys.excepthook = _interrupted
    libraries.quiet()
    if os.environ.get("RANK", "0") == "0" and not {"-h", "--help", "--dry-run"} & set(sys.orig_argv):
        stages.load()
