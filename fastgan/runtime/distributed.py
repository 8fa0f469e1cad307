"""This process among its ranks, as torchrun tells it, and what the ranks of one run say to each other.

Each rank has B images of a job's batch of W * B. Its losses are means over its own images (or already the job's), and
gradients are averaged over ranks: that is the gradient of the job's mean loss. A rank's backward pass therefore carries
W times the job's gradient, and what a rank takes from all ranks' numbers is differentiated by that rule: through a mean
over ranks the gradient passes as it is.

Legend: W ranks, B images of one.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from fastgan.errors import FastganError, RankError
from fastgan.runtime.heartbeat import Heartbeat

T = TypeVar("T")
LONG_WAIT = timedelta(hours=2)  # for all to start, and for one that alone reads the data, evaluates or saves


@dataclass(frozen=True)
class RankInfo:
    """Which of `count` processes this is, and which of `local_count` on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @staticmethod
    def from_environment() -> RankInfo:
        """What torchrun has set; one rank without it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        values = [os.environ.get(name) for name in names]
        if values[0] is None or values[1] is None:
            return RankInfo()
        rank, count = int(values[0]), int(values[1])
        return RankInfo(rank, count, int(values[2] or rank), int(values[3] or count))

    def device(self, device: torch.device) -> torch.device:
        """This rank's own of the machine's GPUs."""
        if device.type == "cuda":
            own = torch.device("cuda", self.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(own)
            return own
        return device


class Communicator:
    """The ranks that train one run together. One alone hands back what it is given, at no cost.

    All ranks must make the same calls in the same order. Each raises RankError when another rank has ended, or has not
    answered in time. `together` makes a communicator, which first speaks of what lies in host memory: over gloo, and
    patiently. From `begin` on it also speaks of what lies on the device, and a rank that is lost ends the others.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        self._group: Any = None
        self._watch: Heartbeat | None = None

    def begin(self, device: torch.device, timeout: float) -> None:
        """Be ready to train: over NCCL between GPUs, over gloo between CPUs.

        Args:
            timeout: seconds after which a rank that does not answer is given up.
        """
        if self.count == 1:
            return
        with self._heard():
            backend = "nccl" if device.type == "cuda" else "gloo"
            self._group = dist.new_group(backend=backend, timeout=timedelta(seconds=timeout))
            self._watch = Heartbeat(timeout, self._lost)

    def __deepcopy__(self, memo: dict[int, Any]) -> Communicator:
        """Itself: a module that speaks to the other ranks is copied, the ranks are not."""
        return self

    @property
    def is_main(self) -> bool:
        """Whether this rank evaluates, writes and prints for all."""
        return self.rank == 0

    @torch.no_grad()
    def all_reduce_mean_(self, tensors: Sequence[Tensor]) -> None:
        """Turn tensors into their means over ranks, in place: one all-reduce for all of a dtype."""
        if self.count == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for alike in by_dtype.values():
            whole = len(alike) == 1 and alike[0].is_contiguous()
            flat = alike[0] if whole else torch.cat([tensor.reshape(-1) for tensor in alike])
            with self._heard():
                dist.all_reduce(flat, group=self._group)
            flat.div_(self.count)  # gloo knows no mean
            if not whole:
                parts = flat.split([tensor.numel() for tensor in alike])
                torch._foreach_copy_(alike, [part.view(t.shape) for part, t in zip(parts, alike, strict=True)])

    def mean(self, x: Tensor) -> Tensor:
        """The mean over ranks of a tensor; its gradient passes as it is (see above)."""
        if self.count == 1:
            return x
        result: Tensor = _Mean.apply(x, self)
        return result

    @torch.no_grad()
    def gather(self, x: Tensor) -> Tensor:
        """All ranks' x [...], in their order: [W, ...], without gradient."""
        if self.count == 1:
            return x[None]
        everyone = x.new_empty(self.count, *x.shape)
        with self._heard():
            flat = everyone.flatten(0, 1) if x.dim() else everyone
            dist.all_gather_into_tensor(flat, x.contiguous(), group=self._group)
        return everyone

    def run_on_main(self, act: Callable[[], T]) -> T:
        """What `act` gives on rank 0, which alone calls it, and is waited for long; any value that can be pickled.

        An error that it raises for the user ends all ranks, and rank 0 says it.
        """
        if self.count == 1:
            return act()
        value, error = None, None
        if self.is_main:
            with self._watch.busy() if self._watch else nullcontext():
                value, error = _outcome(act)
        held: list[Any] = [value, error]
        with self._heard():
            dist.broadcast_object_list(held, src=0)
        self._raise_from(0, error or held[1])
        return cast(T, held[0])

    def run_on_all(self, act: Callable[[], T]) -> T:
        """What `act` gives on this rank. An error for the user on any of them ends all; the first says it."""
        if self.count == 1:
            return act()
        value, error = _outcome(act)
        first = self.count - self.all_reduce_max(self.count - self.rank if error else 0)
        if first < self.count:
            held: list[Any] = [error]
            with self._heard():
                dist.broadcast_object_list(held, src=first)
            self._raise_from(first, error if self.rank == first else held[0])
        return cast(T, value)  # without an error there is one

    def all_reduce_max(self, number: int) -> int:
        """The largest of all ranks' numbers."""
        if self.count == 1:
            return number
        held = torch.tensor(number)
        with self._heard():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held)

    def leave(self) -> None:
        """At a good end: wait until all others have come to it, and for the threads that spoke to them."""
        if self._watch:
            self._watch.leave()
        # A group ends its threads when nobody holds it any more. One that lets go of a tensor while the interpreter
        # goes may abort the process.
        self._group = self._watch = None
        dist.destroy_process_group()

    def end(self) -> None:
        """At another end, without waiting for others, who may be gone."""
        if self._watch:
            self._watch.end()

    def _raise_from(self, rank: int, error: FastganError | None) -> None:
        if error is not None:
            error.silent, error.at_once = rank != self.rank, True
            self._hush()
            raise error

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._hush()
            raise RankError(self._lost(str(error).strip().partition("\n")[0])) from error

    def _hush(self) -> None:
        """What is wrong is known, and about to be said."""
        if self._watch:
            self._watch.hush()

    def _lost(self, cause: str) -> str:
        return (
            f"rank {self.rank} of {self.count}: another rank has ended or does not answer ({cause}); "
            "if it said why, mend that; then --resume"
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
def together(ranks: RankInfo) -> Iterator[Communicator]:
    """The communicator of torchrun's ranks; of one process without torchrun."""
    if ranks.count == 1:
        yield SINGLE_PROCESS
        return
    # Imported later, by torch's optimisers, it would hold the group as its functions' default; see `leave`.
    importlib.import_module("torch.distributed.nn.functional")
    comm = Communicator(ranks.rank, ranks.count)
    with comm._heard():  # the ranks may start at very different times
        dist.init_process_group("gloo", rank=ranks.rank, world_size=ranks.count, timeout=LONG_WAIT)
    try:
        yield comm
    except BaseException:
        comm.end()
        raise
    comm.leave()
