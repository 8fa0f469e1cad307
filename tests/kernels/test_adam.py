"""FusedAdam against torch.optim.Adam, step by step, and its flat buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tolerances import close
from torch import Tensor, nn

from kernels import backend, use_backend
from kernels.adam import reference
from kernels.adam.op import FusedAdam
from kernels.backend import interpreted

LOW = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True, params=["reference", "triton"])
def _each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test holds for a CPU's own update and for the kernel."""
    if request.param == "triton" and not interpreted():
        pytest.skip("Triton's interpreter is off")
    with use_backend(request.param):
        yield


# A scalar, odd sizes, one that ends just before, on and just after an alignment, and one of several tiles.
SHAPES = [(), (1,), (3, 5), (16,), (17,), (7, 1, 3), (2, 1100)]


def parameters(seed: int = 0, shapes: list[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def pair(count: int = len(SHAPES), **options: Any) -> tuple[FusedAdam, torch.optim.Adam, list[Any], list[Any]]:
    """Ours and torch's optimiser on equal parameters."""
    ours, theirs = parameters(shapes=SHAPES[:count]), parameters(shapes=SHAPES[:count])
    return FusedAdam(ours, **options), torch.optim.Adam(theirs, foreach=False, **options), ours, theirs


def set_gradients(step: int, *sides: list[nn.Parameter], scale: float = 1.0) -> None:
    """Set the same random gradients for all parameters given, in place where they exist."""
    generator = torch.Generator().manual_seed(1000 + step)
    for same in zip(*sides, strict=True):
        gradient = scale * torch.randn(same[0].shape, generator=generator)
        for parameter in same:
            if parameter.grad is None:
                parameter.grad = gradient.to(parameter.dtype).clone()
            else:
                parameter.grad.copy_(gradient)


def assert_equal(ours: list[nn.Parameter], theirs: list[nn.Parameter], factor: float = 0.1) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), **close(torch.float32, factor))


def assert_rounded(shadow: Tensor, master: Tensor) -> None:
    """Each copy is its rounded master; Triton's interpreter truncates to bfloat16 where a GPU rounds."""
    if shadow.dtype == torch.bfloat16 and backend() == "triton" and interpreted():
        torch.testing.assert_close(shadow.float(), master.float(), rtol=2.0**-7, atol=0.0)
    else:
        assert torch.equal(shadow, master.to(shadow.dtype))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.999), (0.0, 0.0)])
def test_many_steps_equal_torch(betas: tuple[float, float]) -> None:
    steps = 100 if backend() == "triton" else 1000
    adam, other, ours, theirs = pair(lr=1e-2, betas=betas)
    for step in range(steps):
        set_gradients(step, ours, theirs)
        adam.step()
        other.step()
        if step in (0, 1, 9):
            assert_equal(ours, theirs, 0.02)
    assert_equal(ours, theirs)
    assert adam.state[ours[0]]["step"] == steps


def test_the_specification_equals_torch() -> None:
    weights, other_weights = torch.randn(500).double(), nn.Parameter(torch.zeros(500, dtype=torch.float64))
    other_weights.data.copy_(weights)
    other = torch.optim.Adam([other_weights], lr=1e-2, foreach=False)
    m, v, step, lr = (
        torch.zeros_like(weights),
        torch.zeros_like(weights),
        torch.zeros(()),
        torch.tensor(1e-2, dtype=torch.float64),
    )
    for _ in range(200):
        other_weights.grad = torch.randn(500, dtype=torch.float64)
        reference.adam_step(weights, m, v, step, None, other_weights.grad, lr, betas=(0.9, 0.999), eps=1e-8)
        other.step()
    torch.testing.assert_close(weights, other_weights.detach(), **close(torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e-4, 1e4, 1e15])
def test_gradients_of_any_size(scale: float) -> None:
    adam, other, ours, theirs = pair(lr=1e-2)
    for step in range(5):
        set_gradients(step, ours, theirs, scale=scale)
        adam.step()
        other.step()
    assert_equal(ours, theirs, 0.02)
    if scale == 0.0:
        assert_equal(ours, parameters(), 0.0)


def test_tiny_gradients_without_eps() -> None:
    """Their squares are below 1e-38: a square root that flushes these to 0 would divide by 0."""
    adam, other, ours, theirs = pair(lr=1e-2, eps=0.0)
    set_gradients(0, ours, theirs, scale=1e-20)
    for parameter in (*ours, *theirs):
        parameter.grad.abs_().add_(1e-20)
    adam.step()
    other.step()
    # A square near 1e-43 has two digits left, which torch and we may round differently.
    assert all(p.isfinite().all() for p in ours)
    assert_equal(ours, theirs, 1e3)


def test_a_bad_gradient_stays_in_its_element() -> None:
    adam = FusedAdam(ours := parameters(), lr=1e-2)
    set_gradients(0, ours)
    ours[3].grad[0] = torch.nan
    adam.step()
    assert [int(p.isnan().sum()) for p in ours] == [0, 0, 0, 1, 0, 0, 0]


def test_groups_have_their_own_hyperparameters() -> None:
    """Two groups, a learning rate that changes, and decay rates that change."""
    sides = parameters(), parameters()
    groups = [
        [{"params": s[:3], "lr": 1e-2}, {"params": s[3:], "betas": (0.5, 0.9), "eps": 1e-3}]
        for s in (sides[0], sides[1])
    ]
    adam, other = FusedAdam(groups[0], lr=1e-3), torch.optim.Adam(groups[1], lr=1e-3)
    rates = [group["lr"] for group in adam.param_groups]
    for step in range(12):
        set_gradients(step, *sides)
        if step == 4:
            adam.set_lr(3e-3)
            for group in other.param_groups:
                group["lr"] = 3e-3
        if step == 8:
            adam.param_groups[0]["lr"] = other.param_groups[0]["lr"] = 5e-2
            adam.param_groups[1]["betas"] = other.param_groups[1]["betas"] = (0.8, 0.99)
        adam.step()
        other.step()
    assert_equal(*sides, 0.02)
    # A captured graph reads these very tensors.
    assert all(group["lr"] is rate for group, rate in zip(adam.param_groups, rates, strict=True))


@pytest.mark.parametrize("build", ["StepLR", "CosineAnnealingLR", "LambdaLR", "OneCycleLR"])
def test_schedulers_set_the_rate_in_place(build: str) -> None:
    adam, other, ours, theirs = pair(3, lr=1e-2)
    rate = adam.param_groups[0]["lr"]
    options: dict[str, dict[str, Any]] = {
        "StepLR": {"step_size": 2, "gamma": 0.5},
        "CosineAnnealingLR": {"T_max": 8},
        "LambdaLR": {"lr_lambda": lambda epoch: 0.9**epoch},
        "OneCycleLR": {"max_lr": 0.1, "total_steps": 10},  # moves the first decay rate too
    }
    schedulers = [getattr(torch.optim.lr_scheduler, build)(side, **options[build]) for side in (adam, other)]
    for step in range(8):
        set_gradients(step, ours, theirs)
        for side, scheduler in zip((adam, other), schedulers, strict=True):
            side.step()
            scheduler.step()
    assert adam.param_groups[0]["lr"] is rate and rate.item() == pytest.approx(other.param_groups[0]["lr"], rel=1e-5)
    assert_equal(ours, theirs, 0.02)


def test_parameters_stay_their_modules() -> None:
    """The same objects with the same values, in one buffer that load_state_dict writes into."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last), nn.BatchNorm2d(3), nn.Linear(5, 7))
    before, weight = copy.deepcopy(net.state_dict()), net[0].weight
    adam = FusedAdam(net.parameters(), lr=1e-2)
    assert net[0].weight is weight and weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    storages = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    assert len(storages) == 1
    assert all(parameter.data_ptr() % 32 == 0 for parameter in net.parameters())
    places = [parameter.data_ptr() for parameter in net.parameters()]
    net.load_state_dict({name: value + 1 for name, value in before.items()})
    assert [parameter.data_ptr() for parameter in net.parameters()] == places
    x = torch.randn(1, 2, 5, 7).narrow(3, 0, 7)
    net(x).square().sum().backward()
    adam.step()
    assert not torch.equal(weight, before["0.weight"] + 1)


@pytest.mark.parametrize("shadow_dtype", [None, *LOW])
def test_scaled_gradients_and_the_flag(shadow_dtype: torch.dtype | None) -> None:
    """Divided by grad_scale; a flag above 0 changes nothing; the gradients themselves are only read."""
    adam, plain = (FusedAdam(parameters(), lr=1e-2, shadow_dtype=shadow_dtype) for _ in range(2))
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        plain.flat_grad[0].copy_(torch.randn(plain.flat_grad[0].shape, generator=generator))
        adam.flat_grad[0].copy_(64.0 * plain.flat_grad[0])
        before = adam.flat_grad[0].clone()
        skip = step == 2
        state = copy.deepcopy(adam.state_dict()["state"])
        leaves = [*adam.param_groups[0]["params"], *adam.shadow_parameters().values()]
        values = [leaf.detach().clone() for leaf in leaves]
        adam.step(grad_scale=torch.tensor(64.0), found_inf=torch.tensor([float(2 * skip)]))
        if skip:
            assert all(torch.equal(a, b) for a, b in zip(leaves, values, strict=True))
            for index, entry in adam.state_dict()["state"].items():
                assert all(torch.equal(value, state[index][name]) for name, value in entry.items())
        else:
            plain.step()
        assert torch.equal(adam.flat_grad[0], before)
    assert adam.state[leaves[0]]["step"] == 3
    assert_equal(adam.param_groups[0]["params"], plain.param_groups[0]["params"], 0.001)


def test_grad_scaler() -> None:
    adam, other, ours, theirs = pair(3, lr=1e-2)
    scalers = [torch.amp.GradScaler("cpu", init_scale=8.0) for _ in range(2)]
    for step in range(4):
        for side, leaves, scaler in zip((adam, other), (ours, theirs), scalers, strict=True):
            side.zero_grad()
            scaler.scale(sum((p * (step + 1)).square().sum() for p in leaves)).backward()
            if step == 1:
                leaves[2].grad[0, 0] = torch.inf
            scaler.step(side)
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 4.0
    assert adam.state[ours[0]]["step"] == other.state[theirs[0]]["step"] == 3
    assert_equal(ours, theirs, 0.02)


@pytest.mark.parametrize("dtype", LOW)
def test_shadows_follow_their_masters(dtype: torch.dtype) -> None:
    """A group of low-precision copies beside one without: gradients arrive in the copies, which stay rounded."""
    sides = parameters(), parameters()
    groups = [{"params": sides[0][:2], "shadow_dtype": None}, {"params": sides[0][2:]}]
    adam, other = FusedAdam(groups, lr=1e-2, shadow_dtype=dtype), torch.optim.Adam(sides[1], lr=1e-2)
    shadows = adam.shadow_parameters()
    assert list(shadows) == sides[0][2:] and [g.dtype for g in adam.flat_grad] == [torch.float32, dtype]
    leaves = [shadows.get(p, p) for p in sides[0]]
    for step in range(6):
        adam.zero_grad()
        generator = torch.Generator().manual_seed(step)
        for leaf, theirs in zip(leaves, sides[1], strict=True):
            assert leaf.requires_grad and leaf.is_leaf and leaf.shape == theirs.shape
            slope = torch.randn(leaf.shape, generator=generator).to(leaf.dtype)
            (leaf * slope).sum().backward()
            theirs.grad = slope.float()
        adam.step()
        other.step()
        for master, shadow in shadows.items():
            assert master.grad is None and shadow.grad is not None and shadow.grad.dtype == dtype
            assert_rounded(shadow.detach(), master.detach())
    assert_equal(*sides, 0.02)
    assert not torch.equal(shadows[sides[0][6]].detach(), parameters()[6].to(dtype))
    with torch.no_grad():
        sides[0][2].fill_(0.3)
    adam.refresh_shadows()
    assert torch.equal(shadows[sides[0][2]].detach(), sides[0][2].detach().to(dtype))
