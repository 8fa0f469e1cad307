"""One training step: equal to the literal loop, no unneeded gradients, reproducible, no host synchronisation."""

from __future__ import annotations

import copy
import dataclasses
import runpy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from advance import advance, transformed
from literal import LiteralLoop
from torch import Tensor, nn

import kernels
from fastgan.config.presets import preset
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits, loading
from fastgan.data.image_set import to_unit_range
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.losses import LOSSES
from fastgan.step.step import Step
from kernels.philox import reference as philox

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = TrainConfig(image_size=28, batch_size=16, network=NetworkConfig(width=8, hidden=64))
CPU = torch.device("cpu")
FREQUENCIES = torch.arange(1, 11, dtype=torch.float64) / 55  # of a "true" prior: far from equal
EXACT = {"atol": 1e-8, "rtol": 0.0}  # after 20 steps in float64: rounding of 1e-16, which Adam's division enlarges


def make_step(config: TrainConfig, dtype: torch.dtype = torch.float32) -> Step:
    """A new step on one-channel images."""
    prior = ClassPrior(config.prior, config.classes, FREQUENCIES).to(dtype)
    shape = Shape(config.image_size, 1, config.classes, config.network, config.finer_codes)
    networks = Networks(shape).initialise(config.seed)
    return Step(networks.to(dtype), prior, config, CPU)


def batches(config: TrainConfig, count: int) -> list[Tensor]:
    """The first batches of real digits, uint8 [B, 1, H, W]."""
    images = digits.full(config.image_size).images
    order = loading.epoch_order(config, len(images), 0)
    return [images[index] for index in order.split(config.batch_size)[:count]]


def with_settings(**changes: Any) -> TrainConfig:
    return dataclasses.replace(SMALL, **changes)


@pytest.mark.parametrize("contrastive_weight", [10.0, 0.0])
@pytest.mark.parametrize("prior", ["learned", "uniform", "true"])
def test_equals_literal_loop(prior: str, contrastive_weight: float) -> None:
    """float64, 20 steps on the same images and noise: every parameter, buffer and prior logit to 1e-8."""
    config = with_settings(prior=prior, contrastive_weight=contrastive_weight)
    step = make_step(config, torch.float64)
    start = FREQUENCIES.log().float().double() if prior == "true" else torch.zeros(10, dtype=torch.float64)
    literal = LiteralLoop(
        start,
        learn_prior=prior == "learned",
        contrastive_weight=contrastive_weight,
        width=config.network.width,
        hidden=config.network.hidden,
    )
    with torch.no_grad():
        for ours, theirs in zip(step.networks.parameters(), literal.networks.parameters(), strict=True):
            theirs.copy_(ours)

    for number, images in enumerate(batches(config, 20)):
        real, other = to_unit_range(images, torch.float64), transformed(step, images)
        seed, clock = step.noise_seed, torch.tensor(number * config.batch_size)
        noise = kernels.normal((config.batch_size, config.network.noise), seed=seed, offset=clock).double()
        words = philox.words(seed, clock, config.batch_size, config.classes, stream=philox.STREAM_GUMBEL)
        expected = literal.iteration(real, other, noise, philox.to_gumbel(words, torch.float64))
        found = step(images, other)
        torch.testing.assert_close(found[:4], expected, **EXACT)
        assert (found[4:] == 0).all()  # no loss of the default recipe's own

    theirs = dict(zip(step.networks.state_dict(), literal.networks.state_dict().values(), strict=True))
    for name, ours in step.networks.state_dict().items():
        torch.testing.assert_close(ours, theirs[name], **EXACT, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(step.prior.logits.detach(), literal.prior_logits.detach(), **EXACT)
    assert ((step.prior.logits.detach() - start).abs().max() > 1e-5) == (prior == "learned")


def test_parameter_counts() -> None:
    """The exact parameter counts of the paper's networks."""
    networks = Networks(Shape(28, 1, 10, NetworkConfig()))

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(networks.generator) == 6_650_433
    assert count(networks.front_end) == 6_558_144
    assert count(networks.discriminator) == 1_025
    assert count(networks.code_head) == 132_746
    assert count(networks) == 13_342_348


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 28, 32, 64, 128])
def test_shapes(size: int, channels: int) -> None:
    network = NetworkConfig(noise=5, width=8, hidden=24, embedding=12)
    networks = Networks(Shape(size, channels, 7, network)).initialise(0)
    image = networks.generator(torch.randn(4, 5), torch.eye(7)[:4])
    assert image.shape == (4, channels, size, size)
    assert image.abs().max() <= 1
    features = networks.front_end(image)
    assert features.shape == (4, 24)
    assert networks.discriminator(features).shape == (4,)
    assert networks.code_head.embed(features).shape == (4, 12)
    assert networks.code_head(features).shape == (4, 7)


@pytest.mark.parametrize(("dataset", "features"), [("mnist", "batch"), ("folder", "layer"), ("youtube-faces", "layer")])
def test_the_discriminator_sees_a_common_offset_or_not(dataset: str, features: Literal["batch", "layer"]) -> None:
    """Batch normalisation hides an offset that all generated images share; for photographs it must be visible."""
    assert preset(dataset).network.feature_norm == features
    network = NetworkConfig(width=8, hidden=64, feature_norm=features)
    front_end = Networks(Shape(32, 3, 10, network)).initialise(0).front_end
    flattened = torch.randn(16, front_end.linear[1].in_features)
    far = front_end.linear[1:](flattened + torch.randn(flattened.shape[1]))
    near = front_end.linear[1:](flattened)
    assert torch.allclose(far, near, atol=1e-4) == (features == "batch")


@pytest.mark.parametrize("features", ["batch", "layer"])
def test_groups_in_one_pass_equal_separate_passes(features: Literal["batch", "layer"]) -> None:
    network = NetworkConfig(width=8, hidden=64, feature_norm=features)
    front_end = Networks(Shape(32, 3, 10, network)).initialise(0).double().front_end
    apart, groups = copy.deepcopy(front_end), torch.randn(3, 4, 3, 32, 32).double()
    both, other = front_end.forward_groups(*groups)
    assert other is not None
    expected = [apart(group) for group in groups]
    torch.testing.assert_close(both, torch.cat((expected[0], expected[2])), **EXACT)
    torch.testing.assert_close(other, expected[1], **EXACT)
    for name, value in apart.state_dict().items():
        torch.testing.assert_close(front_end.state_dict()[name], value, **EXACT)


@pytest.mark.parametrize("contrastive_weight", [10.0, 0.0])
def test_computes_each_gradient_once_and_keeps_none(contrastive_weight: float) -> None:
    """F and D get gradients only from the D step; G, Q and the prior only from the G step."""
    step = make_step(with_settings(contrastive_weight=contrastive_weight))
    learned = {**dict(step.networks.named_parameters()), "prior": step.prior.logits}
    arrived: list[str] = []
    for name, parameter in learned.items():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: arrived.append(name))
    before = copy.deepcopy(learned)
    advance(step, batches(SMALL, 1)[0])
    assert sorted(arrived) == sorted(learned)
    for name, parameter in learned.items():
        assert parameter.grad is None, name
        assert parameter.requires_grad, name
        assert not torch.equal(parameter, before[name]), f"{name} was not updated"


def trained(config: TrainConfig, steps: int = 3) -> dict[str, Tensor]:
    step = make_step(config)
    for images in batches(config, steps):
        advance(step, images)
    return {**step.networks.state_dict(), "prior": step.prior.logits.detach()}


def test_same_seed_same_weights() -> None:
    first, again = trained(SMALL), trained(SMALL)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_other_seed_other_weights() -> None:
    first, other = trained(SMALL), trained(with_settings(seed=1))
    same = [name for name in first if torch.equal(first[name], other[name])]
    assert all(name.endswith("num_batches_tracked") for name in same), same


@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_mixed_precision_stays_near_float32(amp_dtype: str) -> None:
    """Under --amp the losses of five steps are finite and within 5% of float32's; weights stay float32."""
    full, mixed = make_step(SMALL), make_step(with_settings(amp=True, amp_dtype=amp_dtype))
    assert mixed.optimizers.scaler.is_enabled() == (amp_dtype == "float16")
    if amp_dtype == "float16":  # the default of 2**16 overflows here at first, and G would miss four of the five steps
        mixed.optimizers.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = copy.deepcopy(dict(mixed.networks.named_parameters()))
    for images in batches(SMALL, 5):
        expected, losses = advance(full, images), advance(mixed, images)
        assert losses.dtype == torch.float32
        assert losses.isfinite().all()
        torch.testing.assert_close(losses, expected, rtol=0.05, atol=0)
    for name, parameter in mixed.networks.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert not torch.equal(parameter, before[name]), f"{name} was not updated"


def test_scaled_losses_skip_an_overflow() -> None:
    """float16: a step whose scaled gradients overflow keeps the weights and lowers the scale."""
    step = make_step(with_settings(amp=True, amp_dtype="float16"))
    step.optimizers.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    before = copy.deepcopy(dict(step.networks.named_parameters()))
    advance(step, batches(SMALL, 1)[0])
    assert all(torch.equal(parameter, before[name]) for name, parameter in step.networks.named_parameters())
    assert step.optimizers.scaler.get_scale() < 2.0**120


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="the golden losses hold where torch has AVX2 or AVX-512 (tests/golden/make.py says why)",
)
def test_golden_run() -> None:
    """20 steps in float64 against the committed losses; `python tests/golden/make.py` writes them again."""
    header, *lines = (GOLDEN / "step_losses.txt").read_text(encoding="utf-8").splitlines()
    assert header.split() == ["#", "step", *LOSSES]
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    expected = torch.tensor([[float(loss) for loss in row[1:]] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(runpy.run_path(str(GOLDEN / "make.py"))["run"](), expected, rtol=1e-9, atol=0)
