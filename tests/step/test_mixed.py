"""What makes a step cheap on a CPU: oneDNN's float32 products, low-precision copies of weights, kept memory."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from advance import advance
from tolerances import close
from torch import nn

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits
from fastgan.models.layers import Linear, channels_last
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.mixed import LowPrecision
from fastgan.step.step import Step
from kernels import products

CONFIG = TrainConfig(
    image_size=28,
    batch_size=16,
    amp=True,
    amp_dtype="bfloat16",
    average_decay=0.9,
    network=NetworkConfig(width=8, hidden=64),
)


def make_step(config: TrainConfig = CONFIG) -> Step:
    networks = Networks(Shape(config.image_size, 1, 10, config.network)).initialise(0)
    return Step(networks, ClassPrior("learned", 10), config, torch.device("cpu"))


def images(step: int) -> torch.Tensor:
    return digits.full(28).images[16 * step : 16 * step + 16]


@pytest.mark.parametrize("rows, wide, narrow", [(1, 1, 1), (5, 7, 3), (64, 129, 65)])
@pytest.mark.parametrize("needed", [(True, True, True), (False, True, True), (True, False, False)])
def test_linear_and_its_gradients(rows: int, wide: int, narrow: int, needed: tuple[bool, bool, bool]) -> None:
    """Against float64; gradients that are not required are not computed."""
    torch.manual_seed(0)
    layer, x, upstream = Linear(wide, narrow), torch.randn(rows, wide), torch.randn(rows, narrow)
    exact, exact_x = copy.deepcopy(layer).double(), x.double().requires_grad_()
    leaves = (x, layer.weight, layer.bias)
    for leaf, wanted in zip(leaves, needed, strict=True):
        leaf.requires_grad_(wanted)
    result, expected = layer(x), exact(exact_x)
    torch.testing.assert_close(result.double(), expected, **close(torch.float32))
    result.backward(upstream)
    expected.backward(upstream.double())
    for leaf, wanted, theirs in zip(leaves, needed, (exact_x, exact.weight, exact.bias), strict=True):
        assert (leaf.grad is not None) == wanted
        if wanted:
            torch.testing.assert_close(leaf.grad.double(), theirs.grad, **close(torch.float32, 10))


def test_linear_without_onednn_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = Linear(9, 4), torch.randn(3, 9)
    with_it = layer(x)
    monkeypatch.setattr(products, "ONEDNN", None)
    torch.testing.assert_close(layer(x), with_it, **close(torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


def test_linear_does_not_change_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(9, 4)(torch.randn(3, 9)).dtype == torch.bfloat16


def test_copies_give_autocasts_gradients() -> None:
    """The same pass on the masters under autocast, and on the copies: outputs and every gradient of F."""
    masters = Networks(Shape(28, 1, 10, CONFIG.network)).initialise(0)
    plain, low = copy.deepcopy(masters), LowPrecision(masters, torch.bfloat16)
    x = images(0).float() / 127.5 - 1.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = plain.front_end(x), low.networks.front_end(x)
    # Convolutions of another memory layout may sum in another order, and round differently to bfloat16.
    tolerance = {"atol": 0.02, "rtol": 2.0**-6}
    torch.testing.assert_close(found, expected, **tolerance)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).to(expected.dtype)
    expected.backward(upstream)
    found.backward(upstream)
    low.take_gradients(masters.front_end.parameters())
    for (name, theirs), ours in zip(plain.front_end.named_parameters(), masters.front_end.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None and ours.grad.dtype == torch.float32
        size = theirs.grad.abs().max()
        if size > 1e-3:  # biases before a BatchNorm have no gradient but rounding
            torch.testing.assert_close(ours.grad / size, theirs.grad / size, **tolerance, msg=name)
    assert all(
        parameter.grad is None for parameter in low.networks.front_end.parameters() if parameter.dtype != x.dtype
    )


@pytest.mark.parametrize("amp_dtype", ["bfloat16", "float16"])
def test_copies_are_refreshed_from_their_masters(amp_dtype: str) -> None:
    """After a step each copy is its master, rounded; normalisation is the masters' own."""
    step = make_step(dataclasses.replace(CONFIG, amp_dtype=amp_dtype))
    assert step.low is not None
    before = copy.deepcopy(step.networks.state_dict())
    advance(step, images(0))
    copies = dict(step.low.networks.named_parameters())
    rounded = 0
    for name, master in step.networks.named_parameters():
        assert master.dtype == torch.float32
        assert not torch.equal(master, before[name]), name
        if copies[name] is not master:
            rounded += 1
            assert torch.equal(copies[name], master.to(getattr(torch, amp_dtype))), name
    products = [m for m in step.networks.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    assert rounded == 2 * len(products)
    for ours, theirs in zip(step.low.networks.buffers(), step.networks.buffers(), strict=True):
        assert ours is theirs


def test_a_mixed_precision_run_continues_exactly() -> None:
    """A checkpoint needs no copies: they are made again from the masters."""
    whole = make_step()
    advance(whole, images(0))
    model = {name: value.clone() for name, value in whole.model.state_dict().items()}
    training = {name: value.clone() for name, value in whole.training_state().items()}
    assert all(value.dtype != torch.bfloat16 for value in model.values())
    resumed = make_step()
    advance(resumed, images(3))
    resumed.load_state(model, training)
    for number in (1, 2):
        assert torch.equal(advance(whole, images(number)), advance(resumed, images(number)))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_convolutions_on_a_cpu_read_and_write_channels_last(channels: int) -> None:
    """With one channel too, where both layouts look the same to torch and only the strides differ."""
    x = torch.randn(2, channels, 8, 8, requires_grad=True)
    laid = channels_last(x)
    assert torch.equal(laid, x) and laid.stride(1) == 1
    out = nn.Conv2d(channels, 6, 4, 2, 1)(laid)
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert x.grad is not None and channels_last(x.double()).is_contiguous()
