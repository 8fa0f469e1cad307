"""Who watches a run: asked on the main rank alone, obeyed by all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastgan.config.schema import TrainConfig
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.training.events import Events
from fastgan.training.observer import Observed

T = TypeVar("T")


class Watcher:
    """Stops at an epoch."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def on_step_end(self, images_seen: int, losses: Mapping[str, float]) -> bool:
        return images_seen > 100

    def on_epoch_end(self, epoch: int, row: Mapping[str, Any]) -> bool:
        self.rows.append(row)
        return epoch == 2


class SecondRank(Communicator):
    """A rank that the main one tells what an observer wants."""

    def __init__(self, told: Any) -> None:
        super().__init__(1, 2)
        self.told = told

    def run_on_main(self, act: Callable[[], T]) -> T:
        return self.told


def test_an_epoch_without_new_losses_has_those_of_its_report() -> None:
    watcher = Watcher()
    observed = Observed(watcher, SINGLE_PROCESS)
    observed.report(64, {"d_loss": 1.0})
    observed.epoch(1, {}, {"epoch": 1})
    observed.epoch(2, {"d_loss": 2.0}, {"epoch": 2})
    assert watcher.rows == [{"d_loss": 1.0, "epoch": 1}, {"d_loss": 2.0, "epoch": 2}] and observed.stopped


def test_a_stop_stays_one() -> None:
    observed = Observed(Watcher(), SINGLE_PROCESS)
    observed.report(128, {})
    observed.epoch(1, {}, {})
    assert observed.stopped


def test_another_rank_asks_nobody_and_stops_with_the_main_one() -> None:
    watcher = Watcher()
    for told in (False, True):
        observed = Observed(watcher, SecondRank(told))
        observed.report(128, {})
        observed.epoch(2, {}, {})
        assert observed.stopped == told
    assert not watcher.rows


def test_nobody_stops_nothing() -> None:
    observed = Observed(None, SecondRank(True))
    observed.report(128, {})
    observed.epoch(1, {}, {})
    assert not observed.stopped


def test_steps_end_at_epochs_only_where_somebody_watches() -> None:
    config = TrainConfig(batch_size=64, epochs=6, eval_every=3, save_every=3, log_every=10**6)
    alone, watched = (Events(config, batch=64, epoch_images=640, epochs=epochs) for epochs in (False, True))
    assert alone.steps_ahead(0, 100) == 30 and watched.steps_ahead(0, 100) == 10
    assert watched.epoch_ends(640) and not watched.epoch_ends(704) and not watched.epoch_ends(0)
