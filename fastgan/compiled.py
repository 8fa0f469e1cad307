"""torch.compile that never stops a run: without a working compiler it warns once and goes on eagerly."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch

_warned = False


def _is_news(record: logging.LogRecord) -> bool:
    """False for what torch says where its compiler finds CUDA's toolkit but no GPU: of a run on a CPU nobody minds."""
    return not record.getMessage().startswith("No CUDA runtime is found, using CUDA_HOME")


class Compiled:
    """Calls `function` compiled; if compiling it fails, warns (once a process) and calls it as it is from then on.

    Only the compiler's own errors are caught: what the function itself raises goes through.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        logging.getLogger("torch.utils.cpp_extension").addFilter(_is_news)
        self._eager = function
        self._call: Callable[..., Any] = torch.compile(function, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        if self._call is self._eager:
            return self._eager(*args)
        try:
            return self._call(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            self._give_up(error)
            return self._eager(*args)

    def _give_up(self, error: Exception) -> None:
        global _warned
        self._call = self._eager
        if not _warned:
            _warned = True
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(
                f"--compile: no working compiler ({reason}); training goes on eagerly. Install a C++ compiler "
                "(g++ or clang++), or leave --compile out",
                RuntimeWarning,
                stacklevel=3,
            )
