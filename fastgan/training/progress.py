"""What a run has added up since its last report, how long it has trained, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.step.losses import LOSSES


class Stopwatch:
    """Seconds of training alone: what is done within `paused` is no part of them.

    Args:
        wait: for the device, before the clock is read: a GPU's steps are only queued.
        clock: seconds.
    """

    def __init__(self, wait: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self._clock = wait, clock
        self._since, self._kept = clock(), 0.0

    def seconds(self) -> float:
        """Since it was made."""
        self._wait()
        now = self._clock()
        self._kept, self._since = self._kept + now - self._since, now
        return self._kept

    @contextmanager
    def paused(self) -> Iterator[float]:
        """Inside, it stands still; gives the seconds until then."""
        try:
            yield self.seconds()
        finally:
            self._since = self._clock()


class Progress:
    """Sums of the losses since the last report, and the seconds trained: saved with each checkpoint.

    The clock of the seconds runs from `start` on, but for what is done within `paused`.
    """

    def __init__(self, loss_sum: Tensor, comm: Communicator = SINGLE_PROCESS) -> None:
        self.loss_sum = loss_sum  # to which every step adds, on the device
        self.steps = 0
        self.seconds = 0.0
        self._comm = comm

    def settle(self) -> None:
        """Make the sums the job's, the mean of the ranks', before they are read: a call of all ranks."""
        self._comm.all_reduce_mean_([self.loss_sum])

    def start(self, images_seen: int, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin to count this process's seconds, after `images_seen` images; waits for `device` to read the clock."""

        def wait() -> None:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()

        self._watch, self._before = Stopwatch(wait, clock), self.seconds
        self._reported, self._reported_at = images_seen, 0.0

    def pace(self, images_seen: int) -> dict[str, float]:
        """Images a second since the last call, and the seconds trained, by all processes that went on from another."""
        now = self._watch.seconds()
        self.seconds = self._before + now
        rate = (images_seen - self._reported) / (now - self._reported_at)
        self._reported, self._reported_at = images_seen, now
        return {"images_per_second": rate, "train_seconds": self.seconds}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, something else than training is done: its seconds do not count."""
        with self._watch.paused() as seconds:
            self.seconds = self._before + seconds
            yield

    def state(self) -> dict[str, Tensor]:
        return {
            "progress.loss_sum": self.loss_sum,
            "progress.steps": torch.tensor(self.steps),
            "progress.seconds": torch.tensor(self.seconds, dtype=torch.float64),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        self.loss_sum.copy_(state["progress.loss_sum"])
        self.steps = int(state["progress.steps"])
        self.seconds = float(state["progress.seconds"])

    def take(self) -> dict[str, float]:
        """Mean losses of the job since the last call; this is where the device is waited for."""
        self.settle()
        means = (self.loss_sum / max(self.steps, 1)).tolist()
        self.loss_sum.zero_()
        self.steps = 0
        return dict(zip(LOSSES, means, strict=True))
