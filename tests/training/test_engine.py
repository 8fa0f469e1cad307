"""Runs that reuse one engine's tensors, as in a sweep: each equals one with a new engine, bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from advance import DEFAULT_RECIPE
from torch import Tensor

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import loading
from fastgan.errors import ConfigError
from fastgan.training.engine import Engine

CPU = torch.device("cpu")
SMALL = TrainConfig(
    image_size=16, batch_size=16, average_decay=0.9, network=NetworkConfig(width=4, hidden=32), augment="torchvision"
)


def trained(trainer: Engine, steps: int) -> dict[str, Tensor]:
    """Everything that is saved, after some more steps."""
    size = trainer.config.batch_size
    for number in range(steps):
        if number == steps // 2 and trainer.config.grouping.at:
            trainer.feed.regroup(torch.arange(len(trainer.feed.images)) % 10)
        seen = int(trainer.step.images_seen)
        trainer.feed.prefetch(seen, seen + size)
        trainer.run(seen, 1)
    state = trainer.step.model.state_dict() | trainer.step.training_state() | {"loss_sum": trainer.loss_sum}
    return {name: value.detach().clone() for name, value in state.items()}


def make(config: TrainConfig) -> Engine:
    return Engine(config, loading.load(config), CPU)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def places(trainer: Engine) -> dict[str, int]:
    return {name: value.data_ptr() for name, value in {**trainer.step.live_state(), "loss": trainer.loss_sum}.items()}


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seed": ({}, {"seed": 5}),
    "split": ({}, {"split": 7}),
    "fixed prior": ({"prior": "uniform"}, {"prior": "true", "split": 3}),
    "everything": ({"amp": True}, {"amp": True, "seed": 2, "split": 50, "epochs": 3, "eval_every": 1, "log_every": 64}),
    "loss scale": ({"amp": True, "amp_dtype": "float16"}, {"amp": True, "amp_dtype": "float16", "seed": 1}),
    "by DALI": ({"augment": "dali"}, {"augment": "dali", "seed": 4}),
    "default recipe": (DEFAULT_RECIPE, DEFAULT_RECIPE | {"split": 4, "seed": 3}),
    "default recipe, mixed precision": (DEFAULT_RECIPE | {"amp": True}, DEFAULT_RECIPE | {"amp": True, "seed": 3}),
    "pretraining": (DEFAULT_RECIPE | {"pretrain_epochs": 1}, DEFAULT_RECIPE | {"pretrain_epochs": 1, "split": 4}),
    "no contrastive loss": ({"contrastive_weight": 0.0}, {"contrastive_weight": 0.0, "split": 2}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_restarted_engine_equals_a_new_one(name: str) -> None:
    before, after = (dataclasses.replace(SMALL, **changes) for changes in CHANGES[name])
    used = make(before)
    trained(used, 4)
    assert used.fits(after)
    where = places(used)
    used.restart(after, loading.load(after))
    same(trained(used, 6), trained(make(after), 6))
    assert places(used) == where, "what a graph reads and writes has not moved"
    used.restart(before, loading.load(before))
    same(trained(used, 3), trained(make(before), 3))


def test_restarting_with_the_same_seed_repeats_the_run() -> None:
    trainer = make(SMALL)
    first = trained(trainer, 5)
    trainer.restart(SMALL, loading.load(SMALL))
    same(trained(trainer, 5), first)


@pytest.mark.parametrize("amp", [False, True])
def test_a_checkpoint_is_loaded_in_place(amp: bool) -> None:
    """So that a graph captured before stays valid; the rest of the run is unchanged."""
    config = dataclasses.replace(SMALL, amp=amp)
    whole = make(config)
    trained(whole, 3)
    model = {name: value.clone() for name, value in whole.step.model.state_dict().items()}
    training = {name: value.clone() for name, value in whole.step.training_state().items()}
    expected = trained(whole, 4)
    used = make(dataclasses.replace(config, seed=9))
    trained(used, 5)
    used.restart(config, loading.load(config))
    where = places(used)
    used.step.load_state(model, training)
    assert places(used) == where
    found = trained(used, 4)
    for name, value in expected.items():
        assert name == "loss_sum" or torch.equal(found[name], value), name


@pytest.mark.parametrize(
    "changes",
    [
        {"contrastive_weight": 0.0},
        {"prior": "uniform"},
        {"batch_size": 32},
        {"temperature": 0.5},
        {"learning_rate": 1e-3},
        {"amp": True},
        {"classes": 11},
        {"image_size": 28},
        {"average_decay": 0.5},
        {"contrastive_temperature": 0.5},
        {"kernels": "reference"},
    ],
)
def test_settings_that_change_operations_need_a_new_engine(changes: dict[str, Any]) -> None:
    trainer = make(SMALL)
    other = dataclasses.replace(SMALL, **changes)
    assert not trainer.fits(other)
    with pytest.raises(AssertionError):
        trainer.restart(other, loading.load(other))


def test_an_engine_that_cannot_be_built_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--prior true"):
        make(dataclasses.replace(SMALL, prior="true", classes=12))


def test_pretraining_ends_with_its_epochs() -> None:
    """Then the generator learns, at the run's learning rate and with new moments."""
    config = dataclasses.replace(SMALL, **DEFAULT_RECIPE, pretrain_epochs=1, batch_size=256)
    trainer = make(config)
    steps = trainer.epoch_images // trainer.batch
    before = trainer.step.networks.generator.image.weight.clone()
    rates: list[float] = []
    for number in range(steps + 1):
        trainer.prefetch(number * trainer.batch, (number + 1) * trainer.batch)
        trainer.run(number * trainer.batch, 1)
        rates.append(float(trainer.step.optimizers.d_optimizer.param_groups[0]["lr"]))
        assert torch.equal(trainer.step.networks.generator.image.weight, before) == (number < steps)
    assert rates == pytest.approx([config.pretrain_learning_rate] * steps + [config.learning_rate])
    counts = {int(v) for name, v in trainer.step.training_state().items() if name.endswith(".step")}
    assert counts == {1}
