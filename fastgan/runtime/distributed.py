"""Distributed training: collective operations between ranks.

Each rank has B images of a job's batch of W * B. Its losses are means over its own images (or already over the job's),
and gradients are averaged over ranks, which gives the gradient of the job's mean loss. So a rank's backward pass
carries W times the job's gradient, and the gradient of a mean over ranks is passed through unchanged.

Legend: W ranks, B images per rank.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from fastgan.errors import FastganError, RankError
from fastgan.runtime.heartbeat import Heartbeat
from fastgan.runtime.ranks import RankInfo

T = TypeVar("T")
LONG_WAIT = timedelta(hours=2)  # for all ranks to start, and while rank 0 reads the data, evaluates or saves


class Communicator:
    """Collective operations between the ranks of a run. With one rank every call is a no-op.

    All ranks must make the same calls in the same order. A call raises RankError when another rank has ended or does
    not answer in time. `init_distributed` creates a communicator, which uses gloo on host memory with a long timeout.
    After `begin` it also works on device memory, and losing a rank ends the others.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size
        self._group: Any = None
        self._heartbeat: Heartbeat | None = None

    def begin(self, device: torch.device, timeout: float) -> None:
        """Create the group for training, NCCL between GPUs or gloo between CPUs, and start the heartbeat.

        Args:
            timeout: seconds after which a rank that does not answer counts as lost.
        """
        if self.world_size == 1:
            return
        with self._as_rank_error():
            backend = "nccl" if device.type == "cuda" else "gloo"
            self._group = dist.new_group(backend=backend, timeout=timedelta(seconds=timeout))
            self._heartbeat = Heartbeat(timeout, self._lost)

    def __deepcopy__(self, memo: dict[int, Any]) -> Communicator:
        """Itself: copies of a module that holds a communicator share it."""
        return self

    @property
    def is_main(self) -> bool:
        """Whether this rank evaluates, writes and prints for all."""
        return self.rank == 0

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over ranks, in place; one all-reduce per dtype."""
        if self.world_size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for alike in by_dtype.values():
            whole = len(alike) == 1 and alike[0].is_contiguous()
            flat = alike[0] if whole else torch.cat([tensor.reshape(-1) for tensor in alike])
            with self._as_rank_error():
                dist.all_reduce(flat, group=self._group)
            flat.div_(self.world_size)  # gloo has no ReduceOp.AVG
            if not whole:
                parts = flat.split([tensor.numel() for tensor in alike])
                torch._foreach_copy_(alike, [part.view(t.shape) for part, t in zip(parts, alike, strict=True)])

    def mean(self, x: Tensor) -> Tensor:
        """The mean of a tensor over ranks; its gradient is passed through unchanged (see the module's text)."""
        if self.world_size == 1:
            return x
        result: Tensor = _Mean.apply(x, self)
        return result

    @torch.no_grad()
    def gather(self, x: Tensor) -> Tensor:
        """x [...] of all ranks in rank order: [W, ...], without gradient."""
        if self.world_size == 1:
            return x[None]
        everyone = x.new_empty(self.world_size, *x.shape)
        with self._as_rank_error():
            flat = everyone.flatten(0, 1) if x.dim() else everyone
            dist.all_gather_into_tensor(flat, x.contiguous(), group=self._group)
        return everyone

    def run_on_main(self, act: Callable[[], T]) -> T:
        """Call `act` on rank 0 only and return its value, which must be picklable, on all ranks; waits up to LONG_WAIT.

        Raises:
            FastganError: on all ranks, when `act` raises one; only rank 0 prints it.
        """
        if self.world_size == 1:
            return act()
        value, error = None, None
        if self.is_main:
            with self._heartbeat.busy() if self._heartbeat else nullcontext():
                value, error = _outcome(act)
        held: list[Any] = [value, error]
        with self._as_rank_error():
            dist.broadcast_object_list(held, src=0)
        self._raise_from(0, error or held[1])
        return cast(T, held[0])

    def run_on_all(self, act: Callable[[], T]) -> T:
        """Call `act` on every rank and return this rank's value.

        Raises:
            FastganError: on all ranks, when `act` raises one on any; only the first such rank prints it.
        """
        if self.world_size == 1:
            return act()
        value, error = _outcome(act)
        first = self.world_size - self.all_reduce_max(self.world_size - self.rank if error else 0)
        if first < self.world_size:
            held: list[Any] = [error]
            with self._as_rank_error():
                dist.broadcast_object_list(held, src=first)
            self._raise_from(first, error if self.rank == first else held[0])
        return cast(T, value)

    def all_reduce_max(self, number: int) -> int:
        """The maximum of `number` over ranks."""
        if self.world_size == 1:
            return number
        held = torch.tensor(number)
        with self._as_rank_error():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held)

    def leave(self) -> None:
        """Leave after success: wait until all ranks do, and for the communication threads."""
        if self._heartbeat:
            self._heartbeat.leave()
        # A group ends its threads when its last reference goes. A thread that frees a tensor while the interpreter
        # shuts down may abort the process.
        self._group = self._heartbeat = None
        dist.destroy_process_group()

    def end(self) -> None:
        """Leave after an error, without waiting for other ranks, which may be gone."""
        if self._heartbeat:
            self._heartbeat.end()

    def _raise_from(self, rank: int, error: FastganError | None) -> None:
        if error is not None:
            error.silent, error.at_once = rank != self.rank, True
            self._silence()
            raise error

    @contextmanager
    def _as_rank_error(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._silence()
            raise RankError(self._lost(str(error).strip().partition("\n")[0])) from error

    def _silence(self) -> None:
        """The cause is known and will be printed: the heartbeat must not report another."""
        if self._heartbeat:
            self._heartbeat.silence()

    def _lost(self, cause: str) -> str:
        return (
            f"rank {self.rank} of {self.world_size}: another rank has ended or does not answer ({cause}); "
            "fix the cause if it printed one; then --resume"
        )


def _outcome(act: Callable[[], T]) -> tuple[T | None, FastganError | None]:
    try:
        return act(), None
    except FastganError as error:
        return None, error


SINGLE_PROCESS = Communicator()


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, comm: Communicator) -> Tensor:
        mean = x.detach().clone()
        comm.all_reduce_mean_([mean])
        return mean

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


@contextmanager
def init_distributed(ranks: RankInfo) -> Iterator[Communicator]:
    """Within, the communicator of torchrun's ranks, or SINGLE_PROCESS without torchrun."""
    if ranks.world_size == 1:
        yield SINGLE_PROCESS
        return
    # Imported after the group exists, as torch's optimisers do, it would keep a reference to it; see `leave`.
    importlib.import_module("torch.distributed.nn.functional")
    comm = Communicator(ranks.rank, ranks.world_size)
    with comm._as_rank_error():  # the ranks may start at very different times
        dist.init_process_group("gloo", rank=ranks.rank, world_size=ranks.world_size, timeout=LONG_WAIT)
    try:
        yield comm
    except BaseException:
        comm.end()
        raise
    comm.leave()
