"""The default recipe's step: equal to its literal loop, and the effect of each part."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from advance import DEFAULT_RECIPE, transformed
from literal_default import DefaultLoop
from test_step import EXACT, SMALL, batches, make_step
from torch import Tensor, nn

import kernels
from fastgan.config.schema import GroupingConfig
from fastgan.data.image_set import to_unit_range
from fastgan.models.sync_batchnorm import BATCH_NORMS
from fastgan.step.losses import LOSSES, mean_code, prior_loss
from fastgan.step.step import Step
from kernels.philox import reference as philox

DEFAULT = dataclasses.replace(SMALL, **DEFAULT_RECIPE)


def groups(images: Tensor, known: bool) -> Tensor:
    """A group for each image except every fifth; or none at all."""
    found = (images.flatten(1).long().sum(1) % 10) if known else torch.full((len(images),), -1)
    found[::5] = -1
    return found


def run(step: Step, count: int = 3, known: bool = True) -> Tensor:
    """The losses [count, 6] of a few steps."""
    found = []
    for images in batches(step.config, count):
        found.append(step(images, transformed(step, images), groups(images, known)))
    return torch.stack(found)


def caught(step: Step) -> dict[str, Tensor]:
    """The gradients that the next step will give, by the names of the weights."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        return lambda parameter: found.__setitem__(name, parameter.grad.clone())  # type: ignore[union-attr]

    for name, parameter in step.networks.named_parameters():
        parameter.register_post_accumulate_grad_hook(keep(name))
    return found


def literal_of(step: Step) -> DefaultLoop:
    """The loop written out, with the weights of `step`."""
    n = step.config.network
    literal = DefaultLoop(
        torch.zeros(10, dtype=torch.float64),
        finer=15,
        prior_learning_rate=step.config.prior_learning_rate or 0.0,
        pull=10.0,
        temperature=step.config.contrastive_temperature,
        width=n.width,
        hidden=n.hidden,
        embedding=n.embedding,
    )
    with torch.no_grad():
        for ours, theirs in zip(step.networks.parameters(), literal.networks.parameters(), strict=True):
            theirs.copy_(ours)
    return literal


def assert_same_model(step: Step, literal: DefaultLoop) -> None:
    """Every parameter, buffer and prior logit to 1e-8."""
    theirs = dict(zip(step.networks.state_dict(), literal.networks.state_dict().values(), strict=True))
    for name, ours in step.networks.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # counts passes that a momentum of 0 leaves without effect
            torch.testing.assert_close(ours, theirs[name], **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(step.prior.logits.detach(), literal.prior_logits.detach(), **EXACT)


def test_equals_literal_loop_of_the_default_recipe() -> None:
    """float64, 20 steps, the first five without groups."""
    step = make_step(DEFAULT, torch.float64)
    literal, n = literal_of(step), DEFAULT.network
    for number, images in enumerate(batches(DEFAULT, 20)):
        real, other, group_B = (
            to_unit_range(images, torch.float64),
            transformed(step, images),
            groups(images, number > 4),
        )
        seed, clock = step.noise_seed, torch.tensor(number * DEFAULT.batch_size)
        noise = kernels.normal((DEFAULT.batch_size, n.noise), seed=seed, offset=clock).double()
        words = philox.words(seed, clock, DEFAULT.batch_size, 10, stream=philox.STREAM_GUMBEL)
        assert other is not None
        expected = literal.learn(real, other, noise, philox.to_gumbel(words, torch.float64), group_B)
        torch.testing.assert_close(step(images, other, group_B), expected, **EXACT)
    assert_same_model(step, literal)


def test_the_prior_learns_through_the_gumbel_softmax_sample() -> None:
    """Without any other signal its gradient is not zero, differs between classes, and changes the prior."""
    step = make_step(dataclasses.replace(DEFAULT, prior_pull=0.0))
    arrived: list[Tensor] = []
    assert isinstance(step.prior.logits, nn.Parameter)
    step.prior.logits.register_post_accumulate_grad_hook(lambda p: arrived.append(p.grad.clone()))  # type: ignore[union-attr]
    run(step, 3)
    assert len(arrived) == 3
    for gradient in arrived:
        assert gradient.abs().max() > 1e-4 and gradient.std() > 1e-5
        assert gradient.sum().abs() < 1e-5  # a softmax's: what one class gains the others lose
    moved = step.prior.logits.detach()
    assert moved.abs().max() > 1e-3 and moved.std() > 1e-4


def test_the_pull_moves_the_prior_to_qs_mean_code() -> None:
    """200 steps of only the prior's own loss, on codes of known frequencies."""
    config = dataclasses.replace(DEFAULT, prior_learning_rate=0.05)
    step = make_step(config)
    target = torch.arange(1, 11) / 55.0
    logits = target.log().expand(8, 10)
    for _ in range(200):
        step.optimizers.g_optimizer.zero_grad()
        prior_loss(step.prior.logits, mean_code(logits)).backward()
        step.optimizers.g_optimizer.step()
    torch.testing.assert_close(step.prior.probabilities(), target, atol=2e-3, rtol=0)


def test_iic_and_prior_losses_are_zero_before_a_grouping() -> None:
    """Without groups the main codes have no loss on real images, and nothing pulls the prior."""
    step = make_step(dataclasses.replace(DEFAULT, contrastive_weight=0.0, finer_codes=0))
    found = run(step, 2, known=False)
    assert (found[:, LOSSES.index("agreement_loss") :] == 0).all()
    found = run(step, 2, known=True)
    assert (found[:, LOSSES.index("agreement_loss") :].abs() > 1e-6).all()


@pytest.mark.parametrize("learns", [True, False])
def test_real_images_train_the_front_end_only_if_configured(learns: bool) -> None:
    """Its gradient with and without the losses on real images; Q learns from them either way."""
    gradients = []
    for weight in (1.0, 0.0):
        config = dataclasses.replace(
            DEFAULT, front_end_learns=learns, contrastive_weight=weight, agreement_weight=weight
        )
        config = dataclasses.replace(config, grouping=GroupingConfig(at=(1,), weight=weight), prior_pull=0.0)
        step = make_step(config, torch.float64)
        gradients.append(caught(step))
        run(step, 1)
    with_real, without = gradients
    for name, gradient in with_real.items():
        if name.startswith("front_end") and not learns:
            torch.testing.assert_close(gradient, without[name], **EXACT)
        if (name.startswith("front_end") and learns) or name.startswith("code_head.embedding"):
            other = without.get(name, torch.zeros_like(gradient))
            if gradient.abs().max() > 1e-12:  # a bias before a normalisation has none but rounding
                assert (gradient - other).abs().max() > 1e-9, name


@pytest.mark.parametrize("amp", [False, True])
def test_every_gradient_is_used_and_none_is_kept(amp: bool) -> None:
    step = make_step(dataclasses.replace(DEFAULT, amp=amp))
    before = {name: p.detach().clone() for name, p in step.networks.named_parameters()}
    run(step, 1)
    for name, parameter in step.networks.named_parameters():
        assert parameter.grad is None and parameter.requires_grad, name
        assert not torch.equal(parameter, before[name]), f"{name} was not updated"
    if step.low is not None:
        assert all(p.grad is None for p in step.low.networks.parameters())


def test_running_statistics_are_of_real_images_only() -> None:
    """As if the front end and Q had seen only these: transforms and generated images do not change them."""
    step = make_step(DEFAULT, torch.float64)
    alone = copy.deepcopy(step.networks)
    images = batches(DEFAULT, 1)[0]
    step(images, transformed(step, images), groups(images, True))
    alone.code_head.embed(alone.front_end(to_unit_range(images, torch.float64)))
    for ours, theirs in zip(
        (*step.networks.front_end.modules(), *step.networks.code_head.modules()),
        (*alone.front_end.modules(), *alone.code_head.modules()),
        strict=True,
    ):
        if isinstance(ours, BATCH_NORMS):
            assert isinstance(theirs, BATCH_NORMS)
            torch.testing.assert_close(ours.running_mean, theirs.running_mean, **EXACT)
            torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)


@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_mixed_precision_stays_near_float32(amp_dtype: str) -> None:
    full, low = (run(make_step(dataclasses.replace(DEFAULT, amp=amp, amp_dtype=amp_dtype)), 5) for amp in (False, True))
    torch.testing.assert_close(low, full, atol=0.05, rtol=0.05)


def test_the_average_soon_forgets_the_first_weights() -> None:
    """After t steps the weight of the first weights is at most the product of s / (9 + s), whatever the decay."""
    step = make_step(dataclasses.replace(DEFAULT, average_decay=0.999))
    assert step.average is not None
    start = copy.deepcopy(step.networks.generator.state_dict())
    weights, expected = [], copy.deepcopy(start)
    for number in range(1, 5):
        run(step, 1)
        now = step.networks.generator.state_dict()
        weight = max(9.0 / (9.0 + number), 1e-3)
        weights.append(1.0 - weight)
        for name, value in expected.items():
            if value.is_floating_point():
                expected[name] = value + weight * (now[name] - value)
    for name, value in step.average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    assert torch.tensor(weights).prod() < 0.01


def test_same_seed_same_run() -> None:
    changed: list[dict[str, Any]] = [{}, {}, {"seed": 1}]
    first, again, other = (run(make_step(dataclasses.replace(DEFAULT, **change))) for change in changed)
    assert torch.equal(first, again) and not torch.equal(first, other)
