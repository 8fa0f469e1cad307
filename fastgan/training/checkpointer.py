"""When a run is saved, and what is saved of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
