"""Sums of a run's losses since its last report, how long it has trained, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.step.losses import LOSSES


class Stopwatch:
    """Seconds of training; time within `paused` does not count.

    Args:
        wait: waits for the device before the clock is read, since a GPU's steps are only queued.
        clock: returns seconds.
    """

    def __init__(self, wait: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self._clock = wait, clock
        self._since, self._kept = clock(), 0.0

    def seconds(self) -> float:
        """Seconds since it was made, without pauses; waits for the device."""
        self._wait()
        now = self._clock()
        self._kept, self._since = self._kept + now - self._since, now
        return self._kept

    @contextmanager
    def paused(self) -> Iterator[float]:
        """Inside, it is stopped; yields the seconds until then."""
        try:
            yield self.seconds()
        finally:
            self._since = self._clock()


class Progress:
    """Sums of the losses since the last report, and the seconds trained; saved with each checkpoint.

    Seconds count from `start` on, without time spent within `paused`.
    """

    def __init__(self, loss_sum: Tensor, comm: Communicator = SINGLE_PROCESS) -> None:
        self.loss_sum = loss_sum  # every step adds to it, on the device
        self.steps = 0
        self.seconds = 0.0
        self._comm = comm

    def sync_losses(self) -> None:
        """Average the sums over ranks before they are read; all ranks must call it."""
        self._comm.all_reduce_mean_([self.loss_sum])

    def start(self, images_seen: int, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start this process's clock, after `images_seen` images; each reading waits for `device`."""

        def wait() -> None:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()

        self._watch, self._before = Stopwatch(wait, clock), self.seconds
        self._reported, self._reported_at = images_seen, 0.0

    def pace(self, images_seen: int) -> dict[str, float]:
        """Images a second since the last call, and the seconds trained, those before a resume included."""
        now = self._watch.seconds()
        self.seconds = self._before + now
        rate = (images_seen - self._reported) / (now - self._reported_at)
        self._reported, self._reported_at = images_seen, now
        return {"images_per_second": rate, "train_seconds": self.seconds}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the run does something other than training: these seconds do not count."""
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

    def pop_mean_losses(self) -> dict[str, float]:
        """Mean losses over all ranks since the last call, and reset the sums; waits for the device."""
        means = self.mean_losses()
        self.loss_sum.zero_()
        self.steps = 0
        return means

    def mean_losses(self) -> dict[str, float]:
        """The same without a reset: the next report counts these steps too."""
        self.sync_losses()
        means = (self.loss_sum / max(self.steps, 1)).tolist()
        return dict(zip(LOSSES, means, strict=True))
