"""torch.compile that never stops a run: where it fails, a warning is given once and the run goes on eagerly.

On a CPU nothing gains by it. Networks are oneDNN's products and convolutions already (compiled 0.82 to 0.94 of eager's
speed, after 50 s), and the random numbers NumPy's: 0.16 ms of a step of 100 ms, after 23 s.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch

_warned = False
# Inductor's choice of a layout gives a convolution's gradient other strides than it then asserts, where an image of one
# channel takes both layouts for one: the model's own layouts stay. Small kernels of which none needs another's result
# are one launch; with sums among them it would be 27 fewer of 207, but those Inductor itself calls experimental.
OPTIONS = {"layout_optimization": False, "combo_kernels": True, "combo_kernels_pointwise_only": True}


def _is_news(record: logging.LogRecord) -> bool:
    """False for what torch says where its compiler finds CUDA's toolkit but no GPU: of a run on a CPU nobody minds."""
    return not record.getMessage().startswith("No CUDA runtime is found, using CUDA_HOME")


class Compiled:
    """Calls `function` compiled; if compiling it fails, warns (once a process) and calls it as it is from then on.

    Only the compiler's own errors are caught: what the function itself raises goes through. So does all that comes out
    of a compiled function's backward pass, which runs elsewhere; who calls that may `give_up`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        logging.getLogger("torch.utils.cpp_extension").addFilter(_is_news)
        self._eager = function
        self._call: Callable[..., Any] = torch.compile(function, dynamic=False, options=dict(OPTIONS))

    def __call__(self, *args: Any) -> Any:
        if self._call is self._eager:
            return self._eager(*args)
        try:
            return self._call(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.give_up(error)
            return self._eager(*args)

    def give_up(self, error: Exception) -> bool:
        """Call the function as it is from now on, and warn; False if that was so already."""
        global _warned
        if self._call is self._eager:
            return False
        self._call = self._eager
        if not _warned:
            _warned = True
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            if isinstance(error, torch._dynamo.exc.TorchDynamoException):
                reason = f"no working compiler ({said})"
                remedy = "Install a C++ compiler (g++ or clang++), or leave --compile out"
            else:
                reason, remedy = f"what it made fails ({type(error).__name__}: {said})", "Leave --compile out"
            warnings.warn(f"--compile: {reason}; training goes on eagerly. {remedy}", RuntimeWarning, stacklevel=3)
        return True


def compile_in_place(owner: object, names: Iterable[str]) -> list[Compiled]:
    """Compile what `owner` calls through these names; returns what was compiled."""
    parts = []
    for name in names:
        parts.append(Compiled(getattr(owner, name)))
        setattr(owner, name, parts[-1])
    return parts


def leave_compiler(parts: Iterable[Compiled], error: Exception) -> bool:
    """Call all parts as they are from now on; False if that was so already."""
    gave_up = [part.give_up(error) for part in parts]
    return any(gave_up)
