"""Steps of pretraining: what they change, by what rule, and that they leave the rest as it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from advance import DEFAULT_RECIPE, transformed
from test_default_step import DEFAULT, assert_same_model, groups, literal_of
from test_step import EXACT, batches, make_step
from torch import Tensor

from fastgan.data.image_set import to_unit_range
from fastgan.step.losses import GENERATION_LOSSES, LOSSES
from fastgan.step.pretraining import PretrainingStep
from fastgan.step.step import Step

LEARNS = ("networks.front_end.", "networks.code_head.")
PRECISIONS = [{"amp": False}, {"amp": True, "amp_dtype": "bfloat16"}, {"amp": True, "amp_dtype": "float16"}]


def pretrain(step: Step, count: int = 3, known: bool = False) -> Tensor:
    """The losses [count, 6] of a few steps."""
    pretraining = PretrainingStep(step)
    found = []
    for images in batches(step.config, count):
        found.append(pretraining(images, transformed(step, images), groups(images, known)))
    return torch.stack(found)


def test_equals_the_loop_written_out() -> None:
    """float64, ten steps, then one whole step with new moments."""
    step = make_step(DEFAULT, torch.float64)
    literal, pretraining = literal_of(step), PretrainingStep(step)
    step.optimizers.set_learning_rate(6e-4)
    for images in batches(DEFAULT, 10):
        other = transformed(step, images)
        assert other is not None
        expected = literal.pretrain(to_unit_range(images, torch.float64), other)
        torch.testing.assert_close(pretraining(images, other, groups(images, False)), expected, **EXACT)
    assert_same_model(step, literal)


@pytest.mark.parametrize("precision", PRECISIONS, ids=["float32", "bfloat16", "float16"])
def test_only_the_front_end_and_q_learn(precision: dict[str, object]) -> None:
    """The generator, its average, the discriminator and the prior stay as they are, and no gradient is kept."""
    step = make_step(dataclasses.replace(DEFAULT, average_decay=0.9, **precision))  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    losses = pretrain(step, known=True)
    assert (losses[:, : len(GENERATION_LOSSES)] == 0).all()
    assert (losses[:, LOSSES.index("contrastive_loss") :] != 0).all()
    weights = {f"networks.{name}" for name, _ in step.networks.named_parameters()}
    for name, value in step.model.state_dict().items():
        assert torch.equal(value, before[name]) != (name.startswith(LEARNS) and name in weights) or (
            name.startswith(LEARNS) and name not in weights  # running averages
        ), name
    assert int(step.images_seen) == 3 * DEFAULT.batch_size
    assert all(parameter.grad is None for parameter in step.networks.parameters())


def test_forgotten_moments_start_as_new_ones() -> None:
    """A whole step after pretraining equals one by a new optimiser on the same weights and clock."""
    used, new = make_step(DEFAULT), make_step(DEFAULT)
    pretrain(used)
    used.optimizers.forget()
    new.load_state(used.model.state_dict(), new.training_state() | {"images_seen": used.images_seen})
    images = batches(DEFAULT, 4)[3]
    ours, theirs = (step(images, transformed(step, images), groups(images, True)) for step in (used, new))
    assert torch.equal(ours, theirs)
    for name, value in used.model.state_dict().items():
        assert torch.equal(value, new.model.state_dict()[name]), name


def test_a_bad_batch_changes_nothing() -> None:
    step = make_step(dataclasses.replace(DEFAULT, **DEFAULT_RECIPE))
    pretraining, images = PretrainingStep(step), batches(DEFAULT, 1)[0]
    before = {name: value.clone() for name, value in step.model.state_dict().items() if "num_batches" not in name}
    other = transformed(step, images)
    assert other is not None
    other[0, 0, 0, 0] = torch.nan
    pretraining(images, other, groups(images, False))
    assert step.guard.first_bad() == 0
    for name, value in before.items():
        assert torch.equal(step.model.state_dict()[name], value), name


def test_the_average_begins_with_the_generator() -> None:
    """Its decay starts low at the generator's first step, not at the run's."""
    step = make_step(dataclasses.replace(DEFAULT, average_decay=0.999))
    step.pretrained_images.fill_(1000 * DEFAULT.batch_size)
    shares = [step.share(torch.tensor(count * DEFAULT.batch_size)) for count in (1000, 1010)]
    assert torch.stack([share for share in shares if share is not None]).tolist() == pytest.approx([0.9, 0.45])
