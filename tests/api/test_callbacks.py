"""Callbacks see epochs and reports, and stop a run that can go on; they cost no step and change no weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

from fastgan import ElasticInfoGAN
from fastgan.training.loop import TrainingLoop

pytestmark = pytest.mark.usefixtures("no_pictures")

SETTINGS: dict[str, Any] = {
    **small_models.SMALL,
    "epochs": 4,
    "pretrain_epochs": 1,
    "eval_every": 2,
    "log_every": 24,
    "batch_size": 8,
    "augment": "torchvision",
    "final_rate": 1.0,
}
IMAGES = np.random.default_rng(0).integers(0, 256, (36, 8, 8), dtype=np.uint8)  # 4 steps an epoch


class Watcher:
    """Keeps what it sees, and stops at an epoch."""

    def __init__(self, stop_at: int = 0) -> None:
        self.epochs: list[tuple[int, dict[str, Any]]] = []
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.stop_at = stop_at

    def on_epoch_end(self, epoch: int, row: dict[str, Any]) -> bool:
        self.epochs.append((epoch, row))
        return epoch == self.stop_at

    def on_step_end(self, images_seen: int, losses: dict[str, float]) -> None:
        self.steps.append((images_seen, losses))
        losses.clear()  # a copy


def fitted(callbacks: Any = (), resume: bool = False, **more: Any) -> ElasticInfoGAN:
    return ElasticInfoGAN(2, **(SETTINGS | more)).fit(IMAGES, resume=resume, callbacks=callbacks)


@pytest.fixture(scope="module")
def whole(no_pictures: None) -> ElasticInfoGAN:
    """A run that nobody watched."""
    return fitted()


def test_callbacks_see_every_epoch_and_report_and_change_nothing(whole: ElasticInfoGAN) -> None:
    watcher, alone = Watcher(), []
    model = fitted([watcher, lambda epoch, row: alone.append(epoch)])
    assert [epoch for epoch, _ in watcher.epochs] == [1, 2, 3, 4] == alone
    assert [row["images_seen"] for _, row in watcher.epochs] == [32, 64, 96, 128]
    assert ["effective_classes" in row for _, row in watcher.epochs] == [False, True, False, True]
    assert ["g_loss" in row for _, row in watcher.epochs] == [False, True, True, True]  # pretraining generates nothing
    reports = [row["images_seen"] for row in model.history_ if "contrastive_loss" in row]
    assert [seen for seen, _ in watcher.steps] == reports and len(reports) > 4
    assert np.array_equal(model.transform(IMAGES), whole.transform(IMAGES))
    rows = [{name: value for name, value in row.items() if "second" not in name} for row in model.history_]
    assert rows == [{name: value for name, value in row.items() if "second" not in name} for row in whole.history_]


def test_the_losses_of_a_report_are_the_logs(whole: ElasticInfoGAN) -> None:
    seen: list[float] = []

    class Reports:
        def on_step_end(self, images_seen: int, losses: dict[str, float]) -> None:
            seen.append(losses["contrastive_loss"])

    fitted(Reports())
    assert seen == [row["contrastive_loss"] for row in whole.history_ if "contrastive_loss" in row]


def test_a_run_that_a_callback_stops_is_saved_and_goes_on(whole: ElasticInfoGAN, tmp_path: Path) -> None:
    model = fitted(Watcher(stop_at=2), run_dir=tmp_path / "run")
    assert model.n_iter_ == 2 and model.labels_.shape == (36,) and len(list((tmp_path / "run/checkpoints").iterdir()))
    again = fitted(run_dir=tmp_path / "run", resume=True)
    assert again.n_iter_ == 4 and np.array_equal(again.transform(IMAGES), whole.transform(IMAGES))


def test_a_run_in_a_temporary_folder_goes_on_too(whole: ElasticInfoGAN) -> None:
    model = fitted(Watcher(stop_at=3))
    first = model.run_dir_
    model.fit(IMAGES, resume=True)
    assert model.run_dir_ == first and np.array_equal(model.transform(IMAGES), whole.transform(IMAGES))
    model.fit(IMAGES)
    assert model.run_dir_ != first and not first.exists()  # one folder at a time


def stop_by_exception(epoch: int, row: dict[str, Any]) -> None:
    raise StopIteration


def test_a_run_without_callbacks_is_shown_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait at the end of an epoch."""

    def seen(*_: Any) -> None:
        raise AssertionError("the loop has an observer")

    monkeypatch.setattr(TrainingLoop, "_observe_epoch", seen)
    assert fitted().n_iter_ == 4
    with pytest.raises(AssertionError, match="has an observer"):
        fitted(Watcher())


def test_stop_iteration_stops() -> None:
    assert fitted(stop_by_exception).n_iter_ == 1


def test_an_error_of_a_callback_is_raised_once_the_run_is_saved() -> None:
    def broken(epoch: int, row: dict[str, Any]) -> None:
        raise LookupError("theirs")

    model = ElasticInfoGAN(2, **SETTINGS)
    with pytest.raises(LookupError, match="theirs"):
        model.fit(IMAGES, callbacks=broken)
    assert model.n_iter_ == 1 and model.fit(IMAGES, resume=True).n_iter_ == 4


def test_what_is_no_callback_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ValueError, match="callbacks: int has neither on_epoch_end nor on_step_end"):
        fitted([3])


def test_what_a_callback_prints_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    fitted(lambda epoch, row: print(f"--epochs {epoch}"), epochs=1, pretrain_epochs=0)
    assert capfd.readouterr().out == "--epochs 1\n"  # as it was printed, though the estimator is quiet
