"""What a run has added up since it last said so, how long it will take, and how much of its time it saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fastgan.distributed import ALONE, Gang
from fastgan.step import LOSSES

SAID_EVERY = 300.0  # seconds after which a run without a bar says how far it is, whatever its share done


class Pace:
    """For a run without a bar: when to say how far it is, and how long the rest will take.

    At its first report, at each tenth of the run, and at the first report five minutes after it last said so.

    Args:
        seen, total: images seen as this process begins, and those of the whole run.
    """

    def __init__(self, seen: int, total: int, now: Callable[[], float] = time.monotonic) -> None:
        self._first, self._total, self._now = seen, total, now
        self._began = self._said_at = now()
        self._said: int | None = None

    def due(self, seen: int) -> bool:
        """Whether to say it now, after `seen` images; what is due counts as said."""
        now = self._now()
        tenth = self._said is None or 10 * seen // self._total > 10 * self._said // self._total
        if not tenth and now - self._said_at < SAID_EVERY:
            return False
        self._said, self._said_at = seen, now
        return True

    def left(self, seen: int) -> str:
        """About how long the rest will take at the pace of this process, evaluations and all; empty at the end."""
        done, rest = seen - self._first, self._total - seen
        if done <= 0 or rest <= 0:
            return ""
        seconds = (self._now() - self._began) * rest / done
        minutes = round(seconds / 60)
        if seconds < 90:
            return f"about {max(round(seconds), 1)} s left"
        return f"about {minutes} min left" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min left"


class Progress:
    """Sums of the losses since the last report, and the seconds trained: saved with each checkpoint."""

    def __init__(self, loss_sum: Tensor, gang: Gang = ALONE) -> None:
        self.loss_sum = loss_sum  # to which every step adds, on the device
        self.steps = 0
        self.seconds = 0.0
        self._gang = gang

    def settle(self) -> None:
        """Make the sums the job's, the mean of the ranks', before they are read: a call of all ranks."""
        self._gang.mean_([self.loss_sum])

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


class SaveBudget:
    """Keeps checkpoints to their share of the time: each must be followed by enough training.

    Args:
        share: of the time, at most; 1 for any.
        clock: seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock = share, clock
        self._took, self._since = 0.0, clock()

    def allows(self) -> bool:
        """Whether another may be saved now, if it takes as long as the last."""
        return self._share >= 1 or self._took <= self._share * (self._took + self._clock() - self._since)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Inside, one is saved."""
        begin = self._clock()
        yield
        self._since = self._clock()
        self._took = self._since - begin
