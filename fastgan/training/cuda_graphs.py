"""CudaGraphRunner as CUDA graphs: the host launches one graph for many, where each would take some hundred launches.

What is captured must read all that changes from tensors that stay where they are: images from a ring, the clock, seeds,
learning rates, losses. Without a CUDA device, or with --no-capture, the same function runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fastgan.errors import ConfigError

UNROLL = 8  # iterations a graph: a replay's cost on the host is shared, and a signal waits for 2 ms at most
WARM_UP = 3  # iterations before a capture: compilation, libraries' choices and workspaces fall here


class CudaGraphRunner:
    """Runs `iterate` many times.

    Args:
        iterate: one iteration, on static tensors alone, without waiting for the device.
        state: the tensors that an iteration changes, by name; they are restored after warming up, and those that an
            iteration has made are zeroed.
        device: with `capture` and a CUDA device, iterations are captured, by `prepare` or at the first `run`.
        unroll: iterations a graph.
        recover: is handed what a warm-up has raised, once its traces are gone; True if the iteration was changed such
            that another warm-up may do better.
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
        """As many iterations as `run` does best in one call."""

    def prepare(self) -> bool:
        """Capture what is not captured yet; returns whether `run` replays graphs.

        From here on every tensor of `state` must stay where it is.

        Raises:
            ConfigError: when the iteration cannot be captured.
        """
        if self._capture and not self._graphs:
            self._capture_all()
        return bool(self._graphs)

    def run(self, count: int) -> None:
        """Run `count` iterations; nothing is waited for."""
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
        """Run some iterations that leave no trace in `state`."""
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
            else:  # an optimiser's state, which its first step makes
                value.zero_()

    def _capture_all(self) -> None:
        """Capture `unroll` iterations as one graph and one as another; ConfigError, with the remedy, if that fails.

        Nothing has been trained by then. Going on without graphs would not be safe: after a failed capture torch's
        allocator, the loss scale and gradients that were never computed may be in a state of their own.
        """
        reader, side = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        side.wait_stream(reader)
        with torch.cuda.stream(side):
            self.warm_up()
        reader.wait_stream(side)
        # A run on a stream of its own is captured there: cuBLAS keeps a workspace for each stream, and graphs of two
        # runs that were captured on one stream would write to the same one at once.
        own = reader if reader.cuda_stream else None  # the default stream is 0, and cannot be captured
        graphs = {}
        try:
            for size in {self.unroll, 1}:
                graphs[size] = torch.cuda.CUDAGraph()
                # thread_local: DALI's threads may allocate meanwhile. A capture that fails stays on its own stream,
                # which the outer context leaves again.
                graph = torch.cuda.graph(graphs[size], stream=own, capture_error_mode="thread_local")
                with torch.cuda.stream(reader), graph:
                    self._several(size)
        except RuntimeError as error:
            # Ending a broken capture raises as well, in place of what broke it.
            cause = str(error.__context__ or error).strip().partition("\n")[0]
            raise ConfigError(
                f"the training step cannot be captured as a CUDA graph here ({cause}); add --no-capture"
            ) from error
        self._graphs = graphs
