"""fastgan: a fast, tested trainer for Elastic-InfoGAN (Ojha et al., arXiv 1910.01112)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastgan.runtime import command, libraries, threads  # noqa: F401 - threads measures from here on how busy the machine is

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


if sys.argv and sys.argv[0] == "-m":  # one of our commands, not a program that imports us
    command.begin()
