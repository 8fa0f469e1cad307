"""fastgan: a fast, tested trainer for Elastic-InfoGAN (Ojha et al., arXiv 1910.01112)."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from fastgan.runtime import libraries, threads  # noqa: F401 - threads measures from here on how busy the machine is

if TYPE_CHECKING:
    from fastgan.api.estimator import ElasticInfoGAN

__version__ = "0.1.0"
__all__ = ["ElasticInfoGAN", "__version__"]


def __getattr__(name: str) -> Any:
    """The estimator, whose libraries take seconds to load, is loaded when it is first asked for."""
    if name != "ElasticInfoGAN":
        raise AttributeError(f"module 'fastgan' has no attribute {name!r}")
    try:
        from fastgan.api.estimator import ElasticInfoGAN
    except ModuleNotFoundError as error:
        raise ImportError(libraries.missing(error) or str(error)) from error
    return ElasticInfoGAN


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a command still imports its modules prints one line, not a traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM while a command still imports its libraries: nothing is written yet."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"stopped; the same command starts again\n")
    os._exit(128 + number)


def _is_command() -> bool:
    """Whether this process is one of our commands, not a program that imports us."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name == "-m" or os.path.splitext(name)[0] == "fastgan"


if _is_command():
    sys.excepthook = _interrupted
    signal.signal(signal.SIGTERM, _terminated)
    libraries.quiet()
