"""Training iterations as CUDA graphs: the host launches one graph for several iterations of some hundred kernels each.

A captured iteration must read all that changes from fixed tensors: images from a ring, the clock, seeds, learning
rates, losses. Without a CUDA device, or with --no-capture, the same function runs eagerly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fastgan.errors import ConfigError

UNROLL = 8  # iterations a graph: they share a replay's cost on the host, and a signal waits at most 2 ms
WARM_UP = 3  # iterations before a capture, for compilation, libraries' algorithm choices and workspaces


class CudaGraphRunner:
    """Runs `iterate` many times, as CUDA graphs where possible.

    Args:
        iterate: one iteration, on static tensors only, without waiting for the device.
        state: the tensors that an iteration changes, by name; warming up restores them, and zeroes those that an
            iteration has created.
        device: with `capture` and a CUDA device, iterations are captured by `prepare` or at the first `run`.
        unroll: iterations a graph.
        recover: called with the error of a failed warm-up, after the state is restored; returns True if it has changed
            the iteration so that another warm-up may succeed.
    """

    def __init__(
        self,
        iterate: Callable[[], None],
        state: Callable[[], Mapping[str, Tensor]],
        *,
        device: torch.device,
        capture: bool = True,
        unroll: int = UNROLL,
        recover: Callable[[Exception], bool] = lambda error: False,
    ) -> None:
        self._iterate, self._state, self._recover = iterate, state, recover
        self._capture = capture and device.type == "cuda"
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by the number of iterations
        self.device = device
        self.unroll = unroll if self._capture else 1
        """The best number of iterations for one call of `run`."""

    def prepare(self) -> bool:
        """Capture, unless that is done already; returns whether `run` replays graphs.

        From here on every tensor of `state` must keep its address.

        Raises:
            ConfigError: if the iteration cannot be captured.
        """
        if self._capture and not self._graphs:
            self._capture_all()
        return bool(self._graphs)

    def run(self, count: int) -> None:
        """Run `count` iterations, without waiting for the device."""
        self.prepare()
        for size in (self.unroll, 1):
            while count >= size:
                if self._graphs:
                    self._graphs[size].replay()
                else:
                    self._several(size)
                count -= size

    def _several(self, count: int) -> None:
        for _ in range(count):
            self._iterate()

    def warm_up(self) -> None:
        """Run some iterations, then restore `state`."""
        before = {name: value.clone() for name, value in self._state().items()}
        try:
            self._several(WARM_UP)
        except Exception as error:
            self._restore(before)
            if not self._recover(error):
                raise
            self._several(WARM_UP)
        finally:
            self._restore(before)

    @torch.no_grad()
    def _restore(self, before: Mapping[str, Tensor]) -> None:
        for name, value in self._state().items():
            if name in before:
                value.copy_(before[name])
            else:  # an optimiser's state, which its first step creates
                value.zero_()

    def _capture_all(self) -> None:
        """Capture one graph of `unroll` iterations and one of a single iteration; raises ConfigError if that fails.

        Nothing has been trained by then. Going on without graphs would not be safe: a failed capture may leave torch's
        allocator, the loss scale and gradients that were never computed in an undefined state.
        """
        reader, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        side.wait_stream(reader)
        with torch.cuda.stream(side):
            self.warm_up()
        reader.wait_stream(side)
        # A run with its own stream is captured on it: cuBLAS keeps one workspace per stream, and the graphs of two runs
        # captured on one stream would write to the same workspace at once.
        own = reader if reader.cuda_stream else None  # the default stream is 0, and cannot be captured
        graphs = {}
        try:
            for size in {self.unroll, 1}:
                graphs[size] = torch.cuda.CUDAGraph()
                # thread_local: DALI's threads may allocate meanwhile. A failed capture stays the current stream, so
                # the outer context restores the previous one.
                graph = torch.cuda.graph(graphs[size], stream=own, capture_error_mode="thread_local")
                with torch.cuda.stream(reader), graph:
                    self._several(size)
        except RuntimeError as error:
            # Ending a failed capture raises too, and hides the original error.
            cause = str(error.__context__ or error).strip().partition("\n")[0]
            raise ConfigError(
                f"the training step cannot be captured as a CUDA graph here ({cause}); add --no-capture"
            ) from error
        self._graphs = graphs
