"""Who watches a run from outside, such as callbacks: called where the host waits for the device anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastgan.runtime.distributed import Communicator


class Observer(Protocol):
    """Sees a run in training; each method returns True to stop it, which then saves and ends as after Ctrl-C."""

    def on_step_end(self, images_seen: int, losses: Mapping[str, float]) -> bool:
        """A report, every `log_every` images: mean losses since the last one."""

    def on_epoch_end(self, epoch: int, row: Mapping[str, Any]) -> bool:
        """An epoch, counted from 1: its clock, mean losses, and the figures of an evaluation if one was made."""


class Observed:
    """What an observer was shown of a run, and whether it has stopped it; all ranks must call its methods.

    Args:
        observer: called on the main rank; None is shown nothing and stops nothing.
    """

    def __init__(self, observer: Observer | None, comm: Communicator) -> None:
        self.observer, self._comm = observer, comm
        self.stopped = False
        self._losses: Mapping[str, float] = {}

    def report(self, images_seen: int, losses: Mapping[str, float]) -> None:
        """Show a report."""
        self._losses = losses
        if (observer := self.observer) is not None:
            self._ask(lambda: observer.on_step_end(images_seen, losses))

    def epoch(self, epoch: int, losses: Mapping[str, float], row: Mapping[str, Any]) -> None:
        """Show an epoch; without losses since the last report, those of that report."""
        if (observer := self.observer) is not None:
            self._ask(lambda: observer.on_epoch_end(epoch, {**(losses or self._losses), **row}))

    def _ask(self, call: Callable[[], bool]) -> None:
        self.stopped = self._comm.run_on_main(call) or self.stopped
