"""torch.compile that never stops a run: if it fails, it warns once and the run goes on eagerly.

On a CPU nothing gains from it. The networks already run as oneDNN products and convolutions (compiled: 0.82 to 0.94 of
eager's speed, after 50 s of compiling), and the random numbers are NumPy's: 0.16 ms of a step of 100 ms, after 23 s.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch

_warned = False
# layout_optimization is off, so the model's own layouts stay: for images of one channel, which fit both layouts,
# Inductor gives a convolution's gradient other strides than it then asserts. combo_kernels launches small independent
# kernels together. With reductions among them a step of the default recipe takes 0.938 instead of 0.983 ms on an H200,
# but Inductor calls those experimental, and nobody has compared the losses.
OPTIONS = {"layout_optimization": False, "combo_kernels": True, "combo_kernels_pointwise_only": True}


def _is_relevant(record: logging.LogRecord) -> bool:
    """False for torch's warning that its compiler finds the CUDA toolkit but no GPU, which a run on a CPU expects."""
    return not record.getMessage().startswith("No CUDA runtime is found, using CUDA_HOME")


class Compiled:
    """Calls `function` compiled; if compiling fails, warns (once a process) and calls it eagerly from then on.

    Only the compiler's own errors are caught: errors of the function itself are raised. So are errors of a compiled
    function's backward pass, which runs outside this call; whoever runs that may call `give_up`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        logging.getLogger("torch.utils.cpp_extension").addFilter(_is_relevant)
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
        """Run the function eagerly from now on, and warn; False if it already did."""
        global _warned
        if self._call is self._eager:
            return False
        self._call = self._eager
        if not _warned:
            _warned = True
            message = str(error).strip().partition("\n")[0] or type(error).__name__
            if isinstance(error, torch._dynamo.exc.TorchDynamoException):
                reason = f"no working compiler ({message})"
                remedy = "Install a C++ compiler (g++ or clang++), or leave --compile out"
            else:
                reason, remedy = f"the compiled code fails ({type(error).__name__}: {message})", "Leave --compile out"
            warnings.warn(f"--compile: {reason}; training goes on eagerly. {remedy}", RuntimeWarning, stacklevel=3)
        return True


def compile_in_place(owner: object, names: Iterable[str]) -> list[Compiled]:
    """Replace these attributes of `owner` by compiled versions; returns those."""
    parts = []
    for name in names:
        parts.append(Compiled(getattr(owner, name)))
        setattr(owner, name, parts[-1])
    return parts


def leave_compiler(parts: Iterable[Compiled], error: Exception) -> bool:
    """Run all parts eagerly from now on; False if they already did."""
    gave_up = [part.give_up(error) for part in parts]
    return any(gave_up)
