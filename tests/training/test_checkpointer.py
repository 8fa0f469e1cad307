"""A run's checkpoints: a saved run continues in another process, and nothing non-finite is saved."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from advance import DEFAULT_RECIPE

from fastgan.config.schema import GroupingConfig, NetworkConfig, TrainConfig
from fastgan.data import loading
from fastgan.errors import CheckpointCorruptError, ConfigError, DivergenceError
from fastgan.runs.metrics_log import RunLog
from fastgan.runs.run_folder import RunFolder
from fastgan.training.checkpointer import Checkpointer
from fastgan.training.engine import Engine
from fastgan.training.progress import Progress

CPU = torch.device("cpu")
CONFIG = TrainConfig(image_size=16, batch_size=16, network=NetworkConfig(width=4, hidden=32))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "checkpoints").mkdir()
    return RunFolder(tmp_path)


def made(run: RunFolder, config: TrainConfig = CONFIG, *, writes: bool = True) -> Checkpointer:
    trainer = Engine(config, loading.load(config), CPU)
    return Checkpointer(config, run, trainer, Progress(trainer.loss_sum), writes=writes)


def advance(one: Checkpointer, steps: int) -> int:
    """Train so far; returns the images seen."""
    seen = int(one.step.images_seen)
    one.trainer.prefetch(seen, seen + 16 * steps)
    one.trainer.run(seen, steps)
    one.progress.steps += steps
    return seen + 16 * steps


def test_a_run_that_never_saved_begins_anew(run: RunFolder) -> None:
    """With or without rows by then; nothing of those stays."""
    for rows in ([], [{"images_seen": 0, "regrouped": 0.5}, {"images_seen": 64}]):
        one, log = made(run), RunLog(run)
        for row in rows:
            log.append(row)
        assert one.resume(log) is None and one.saved_at == 0 and int(one.step.images_seen) == 0
        assert log.rows() == []


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(run: RunFolder) -> None:
    """Its log goes beyond where the first was saved; or, of a finished run of a sweep, their folder is gone."""
    log = RunLog(run)
    one = made(run)
    first = CONFIG.save_every * one.trainer.epoch_images
    log.append({"images_seen": first})
    assert one.resume(log) is None
    log.append({"images_seen": first + 16})
    with pytest.raises(CheckpointCorruptError, match="holds no checkpoint"):
        one.resume(log)
    log.keep_until(-1)
    log.append({"images_seen": first})
    run.checkpoints.rmdir()
    with pytest.raises(CheckpointCorruptError, match="holds no checkpoint"):
        one.resume(log)


def test_a_run_goes_on_from_what_was_saved_and_its_later_rows_are_dropped(run: RunFolder) -> None:
    first, log = made(run), RunLog(run)
    log.append({"images_seen": 32})
    first.save(advance(first, 2))
    log.append({"images_seen": 48})
    second = made(run)
    assert second.resume(log) == run.checkpoints / f"{32:012d}"
    assert second.saved_at == 32 and second.progress.steps == 2
    assert [row["images_seen"] for row in log.rows()] == [32]
    ours, theirs = (one.step.model.state_dict() for one in (first, second))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_run_that_saves_nothing_is_still_checked(run: RunFolder) -> None:
    one = made(run, writes=False)
    one.save(advance(one, 1))
    assert one.saved_at == 16 and not list(run.checkpoints.iterdir())
    one.progress.loss_sum[0] = math.nan
    with pytest.raises(DivergenceError, match=r"d_loss is nan; .* --resume, or lower --learning-rate \(now 0.0002\)"):
        one.save(16)


def test_weights_that_are_not_finite_are_not_saved(run: RunFolder) -> None:
    one = made(run)
    next(one.step.model.networks.parameters()).data.fill_(math.inf)
    with pytest.raises(DivergenceError, match="is not finite before image 16 and is not saved; .* --resume"):
        one.save(16)
    assert not list(run.checkpoints.iterdir())


def test_a_run_on_other_images_is_refused(run: RunFolder) -> None:
    """Since groups are stored by the images' indices."""
    grouped = dataclasses.replace(CONFIG, grouping=GroupingConfig(at=(1,)))
    one, two = made(run, grouped), made(run, grouped)
    one.save(advance(one, 1))
    images = two.trainer.feed.images
    two.trainer.feed.images = images[:-1]
    with pytest.raises(ConfigError, match=f"with {len(images):,} images, but there are {len(images) - 1:,} now"):
        two.resume(RunLog(run))


@pytest.mark.parametrize("saved", [1, 4, 5])
def test_a_run_goes_on_in_pretraining_at_its_end_and_after_it(run: RunFolder, saved: int) -> None:
    """Four batches an epoch, pretrained for one: from each point all weights are those of one uninterrupted run."""
    config = dataclasses.replace(CONFIG, **DEFAULT_RECIPE, pretrain_epochs=1, batch_size=256)
    first = made(run, config)

    def train(one: Checkpointer, begin: int, end: int) -> None:
        for number in range(begin, end):
            one.trainer.prefetch(256 * number, 256 * (number + 1))
            one.trainer.run(256 * number, 1)

    assert first.trainer.epoch_images == 1024
    train(first, 0, saved)
    first.save(256 * saved)
    train(first, saved, 7)
    second = made(run, config)
    second.resume(RunLog(run))
    train(second, saved, 7)
    ours, theirs = (one.step.model.state_dict() | one.step.training_state() for one in (first, second))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
