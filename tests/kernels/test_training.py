"""A training run on the kernels is a training run on their references."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from advance import DEFAULT_RECIPE, advance
from tolerances import close
from torch import Tensor

import kernels
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits, loading
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.step import Step
from kernels import use_backend
from kernels.backend import interpreted

pytestmark = pytest.mark.skipif(not interpreted(), reason="a GPU compares devices in test_gpu.py")

CONFIG = TrainConfig(image_size=16, batch_size=16, network=NetworkConfig(width=4, hidden=32, embedding=8))
DEFAULT = dataclasses.replace(CONFIG, **DEFAULT_RECIPE, average_decay=0.9)
STEPS = 20


def run(backend: str, config: TrainConfig = CONFIG) -> tuple[Step, Tensor, Tensor]:
    """A trained step, its losses [STEPS, 6], and images that its generator draws."""
    images = digits.full(16).images
    order = loading.epoch_order(config, len(images), 0)
    with use_backend(backend):  # type: ignore[arg-type]
        networks = Networks(Shape(16, 1, 10, config.network, config.finer_codes)).initialise(0)
        assert sum(parameter.numel() for parameter in networks.parameters()) < 200_000
        step = Step(networks, ClassPrior("learned", 10), config, torch.device("cpu"))
        losses = torch.stack([advance(step, images[index]) for index in order.split(config.batch_size)[:STEPS]])
        noise = kernels.normal((10, config.network.noise), seed=torch.tensor(1), offset=torch.tensor(0))
    with torch.no_grad():
        pair = step.networks.generator, step.model.sampling_generator  # the average, where there is one
        drawn = torch.cat([generator.eval()(noise, torch.eye(10)) for generator in pair])
    return step, losses, drawn


@pytest.mark.parametrize("config", [CONFIG, DEFAULT], ids=["paper", "default"])
def test_twenty_steps_match_the_reference(config: TrainConfig) -> None:
    """float32: losses and outputs, not weights, which Adam moves either way where the gradient is only rounding."""
    step, losses, drawn = run("triton", config)
    reference, expected, expected_drawn = run("reference", config)
    assert isinstance(step.optimizers.d_optimizer, kernels.FusedAdam)
    assert isinstance(reference.optimizers.d_optimizer, torch.optim.Adam)
    # Rounding grows with every step that is taken on its result.
    torch.testing.assert_close(losses[:3], expected[:3], **close(torch.float32))
    torch.testing.assert_close(losses, expected, **close(torch.float32, 100))
    torch.testing.assert_close(drawn, expected_drawn, **close(torch.float32, 100))
    torch.testing.assert_close(step.prior.logits, reference.prior.logits, **close(torch.float32, 100))


@pytest.mark.parametrize("recipe", [CONFIG, DEFAULT], ids=["paper", "default"])
def test_mixed_precision_reads_the_copies_that_adam_writes(recipe: TrainConfig) -> None:
    """bfloat16: losses near the reference's, and each copy equal to its rounded master."""
    config = dataclasses.replace(recipe, amp=True, amp_dtype="bfloat16")
    step, losses, _ = run("triton", config)
    _, expected, _ = run("reference", config)
    torch.testing.assert_close(losses, expected, rtol=0.1, atol=0.02)
    assert step.low is not None
    copies = dict(step.low.networks.named_parameters())
    low = [name for name, copy in copies.items() if copy.dtype == torch.bfloat16]
    assert len(low) == 2 * (10 + bool(config.finer_codes))  # weight and bias of every product
    for weight in (copy for copy in copies.values() if copy.dim() == 4):
        _, channels, height, width = weight.shape
        assert weight.stride() == (channels * height * width, 1, width * channels, channels)  # as cuDNN wants it
    for name, master in step.networks.named_parameters():
        if name in low:
            assert (copies[name].float() - master).abs().max() <= master.abs().max() * 2.0**-7, name


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("backends", [("triton", "triton"), ("reference", "triton"), ("triton", "reference")], ids=str)
def test_a_checkpoint_passes_between_backends(backends: tuple[str, str], amp: bool) -> None:
    """Optimizer states are stored by parameter name: three steps, a checkpoint, and three more on another backend."""
    config = dataclasses.replace(CONFIG, amp=amp, average_decay=0.9)
    images, before, after = digits.full(16).images, *backends
    batches = [images[16 * i : 16 * i + 16] for i in range(6)]

    def make(backend: str) -> Step:
        with use_backend(backend):  # type: ignore[arg-type]
            networks = Networks(Shape(16, 1, 10, config.network)).initialise(0)
            return Step(networks, ClassPrior("learned", 10), config, torch.device("cpu"))

    def train(step: Step, backend: str, part: list[Tensor]) -> Tensor:
        with use_backend(backend):  # type: ignore[arg-type]
            return torch.stack([advance(step, batch) for batch in part])

    whole, resumed = make(before), make(after)
    train(whole, before, batches[:3])
    train(resumed, after, batches[3:4])  # what is loaded replaces what was learned
    model = {name: value.clone() for name, value in whole.model.state_dict().items()}
    resumed.load_state(model, {name: value.clone() for name, value in whole.training_state().items()})
    expected, found = train(whole, before, batches[3:]), train(resumed, after, batches[3:])
    if before == after and not amp:  # the interpreter truncates a copy that loading rounds
        assert torch.equal(found, expected)
        ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    else:
        torch.testing.assert_close(found, expected, rtol=0.05 if amp else 1e-3, atol=0.01 if amp else 1e-4)


@pytest.mark.parametrize("amp_dtype", [None, "bfloat16", "float16"])
def test_adam_updates_the_average(amp_dtype: str | None) -> None:
    """Every weight of it moves in a good step, none in a bad one; a restart continues in place."""
    config = dataclasses.replace(DEFAULT, amp=amp_dtype is not None, amp_dtype=amp_dtype or "bfloat16")
    images, prior = digits.full(16).images[:16], ClassPrior("learned", 10)
    with use_backend("triton"):
        networks = Networks(Shape(16, 1, 10, config.network, config.finer_codes)).initialise(0)
        step = Step(networks, prior, config, torch.device("cpu"))
        assert step.average is not None and isinstance(step.optimizers.g_optimizer, kernels.FusedAdam)
        weights = list(step.average.parameters())
        assert {id(weight) for weight in weights} == {id(average) for average in step.optimizers.g_optimizer.averages}
        before = [weight.detach().clone() for weight in weights]
        first = advance(step, images)
        moved = [weight.detach().clone() for weight in weights]
        assert not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True))

        step.guard.found_nonfinite.fill_(1.0)
        state = {name: value.clone() for name, value in step.model.state_dict().items() if "num_batches" not in name}
        advance(step, images)
        assert all(torch.equal(value, step.model.state_dict()[name]) for name, value in state.items())

        step.restart(config, ClassPrior("learned", 10))
        assert torch.equal(advance(step, images), first)
        assert all(torch.equal(a.detach(), b) for a, b in zip(weights, moved, strict=True))
