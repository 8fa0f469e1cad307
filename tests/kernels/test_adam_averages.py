"""Moving averages of weights in FusedAdam, against a literal computation in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_adam import LOW, SHAPES, assert_rounded
from tolerances import close
from torch import Tensor, nn

from kernels.adam import layout, reference
from kernels.adam.layout import TILE, Layout, lay_out
from kernels.adam.op import FusedAdam

pytestmark = pytest.mark.usefixtures("each_backend")
BETAS, EPS, LR = (0.5, 0.999), 1e-8, 1e-2
CHANNELS_LAST = (5, 3, 4, 4)


class Literal:
    """Adam and an average of its weights, one number after the other, in float64."""

    def __init__(self, weights: Tensor) -> None:
        self.weights, self.average = weights.detach().double(), weights.detach().double()
        self.m, self.v, self.steps = torch.zeros_like(self.weights), torch.zeros_like(self.weights), 0

    def step(self, gradient: Tensor, share: float) -> None:
        self.steps += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient.double()
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient.double() ** 2
        m, v = (x / (1 - beta**self.steps) for x, beta in zip((self.m, self.v), BETAS, strict=True))
        self.weights = self.weights - LR * m / (v.sqrt() + EPS)
        self.average = self.average + share * (self.weights - self.average)


def parameters() -> list[nn.Parameter]:
    """Odd sizes, more than a tile, and one in channels-last format."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator) for shape in (*SHAPES, CHANNELS_LAST)]
    made[-1] = made[-1].to(memory_format=torch.channels_last)
    return [nn.Parameter(tensor) for tensor in made]


def averaged(weights: list[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
    """Averages of some of them, which begin as they are."""
    return {weights[i]: weights[i].detach().clone() for i in (7, 1, 4, 6)}


def gradients(leaves: list[nn.Parameter], step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(leaf.shape, generator=generator).to(leaf.dtype) for leaf in leaves]


@pytest.mark.parametrize("shadow_dtype", [None, *LOW])
@pytest.mark.parametrize("large", [2000, 2**18])
def test_weights_and_averages_equal_the_literal_computation(
    shadow_dtype: torch.dtype | None, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a changing share, a skipped step, and the largest gradient read in place or copied."""
    monkeypatch.setattr(layout, "LARGE", large)
    weights = parameters()
    averages, literal = averaged(weights), [Literal(weight) for weight in weights]
    adam = FusedAdam(weights, lr=LR, betas=BETAS, shadow_dtype=shadow_dtype, averages=averages)
    assert adam.param_groups[0]["params"] == weights
    leaves = [adam.shadow_parameters().get(weight, weight) for weight in weights]
    for step in range(6):
        share, skip = 0.9 / (1 + step), step == 3
        arrived = gradients(leaves, step)
        for leaf, gradient, each in zip(leaves, arrived, literal, strict=True):
            leaf.grad = gradient
            if not skip:
                each.step(gradient, share)
        before = [x.detach().clone() for x in (*weights, *averages.values())]
        adam.step(found_inf=torch.tensor(float(skip)), average_share=torch.tensor([share]))
        after = [x.detach() for x in (*weights, *averages.values())]
        assert skip == all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    for weight, leaf, each in zip(weights, leaves, literal, strict=True):
        torch.testing.assert_close(weight.detach().double(), each.weights, **close(torch.float32, 0.1))
        if weight in averages:
            torch.testing.assert_close(averages[weight].double(), each.average, **close(torch.float32, 0.1))
        if shadow_dtype is not None:
            assert_rounded(leaf.detach(), weight.detach())


def test_averages_stay_the_same_tensors() -> None:
    """In one buffer, keeping shapes and memory formats, one after another from the start of a tile."""
    weights = parameters()
    averages = averaged(weights)
    before = {weight: average.clone() for weight, average in averages.items()}
    adam = FusedAdam(weights, lr=LR, averages=averages)
    assert len({average.untyped_storage().data_ptr() for average in averages.values()}) == 1
    for weight, average in averages.items():
        assert torch.equal(average, before[weight]) and average.stride() == weight.stride()
        assert average.data_ptr() % 32 == 0
    assert averages[weights[7]].is_contiguous(memory_format=torch.channels_last)
    assert {average.data_ptr() for average in adam.averages} == {average.data_ptr() for average in averages.values()}
    layout = lay_out(weights, averages)
    assert layout.first_averaged % TILE == 0 and layout.large is None
    for weight, start in zip(weights, layout.starts, strict=True):
        assert (start >= layout.first_averaged) == (weight in averages)


def test_parts_begin_with_tiles_and_the_large_one_is_last() -> None:
    sizes = (5, 2**18 + 16, 40, 2**19, 7)
    weights = [nn.Parameter(torch.empty(size, device="meta")) for size in sizes]
    tile, some = TILE, {weights[1]: weights[1], weights[4]: weights[4]}
    plain = lay_out(weights, {})
    assert plain.large == 3 and plain.length == plain.first_averaged == plain.starts[3] + 2**19
    assert plain.starts[3] % tile == 0 and plain.starts[:2] == [0, 16]
    mixed = lay_out(weights, some)  # the largest of all has no average
    assert mixed.large == 1 and mixed.length == mixed.starts[1] + sizes[1]
    assert mixed.first_averaged == mixed.starts[4] and mixed.starts[1] == mixed.starts[4] + tile
    assert lay_out(weights[1:2], {}) == Layout([0], sizes[1], sizes[1], 0)
    assert lay_out(weights[:1], {}).large is None


@pytest.mark.parametrize("skip", [False, True])
def test_the_specification_equals_the_literal_computation(skip: bool) -> None:
    """Of 50 weights, the last 20 take gradients from another buffer and the last 30 have an average."""
    weights, gradient = torch.randn(2, 50, dtype=torch.float64)
    average, literal = torch.randn(30, dtype=torch.float64), Literal(weights)
    literal.average = torch.cat((weights[:20], average))
    expected = copy.deepcopy(literal)
    if not skip:
        expected.step(gradient, 0.3)
    state = [torch.zeros_like(weights), torch.zeros_like(weights), torch.zeros(())]
    elsewhere = gradient.clone()
    elsewhere[30:] = torch.nan
    lr, share = torch.tensor([LR, 0.3], dtype=torch.float64)
    reference.adam_step(
        weights, *state, None, elsewhere, lr, betas=BETAS, eps=EPS, found_inf=torch.tensor(float(skip)),
        large=gradient[30:], average=average, share=share,
    )  # fmt: skip
    torch.testing.assert_close(weights, expected.weights, **close(torch.float64))
    torch.testing.assert_close(average, expected.average[20:], **close(torch.float64))


def test_groups_have_their_own_averages() -> None:
    """Given for all groups or for one; a group without averages is updated in the same step."""
    weights = parameters()
    averages = averaged(weights)
    groups: list[dict[str, Any]] = [{"params": weights[:5]}, {"params": weights[5:6]}, {"params": weights[6:]}]
    adam = FusedAdam(groups, lr=LR, averages=averages)
    assert "averages" not in repr(adam) and adam.averages == [averages[weights[i]] for i in (1, 4, 6, 7)]
    later = nn.Parameter(torch.ones(3))
    adam.add_param_group({"params": [later], "averages": {later: torch.zeros(3)}})
    (later.sum() + sum(weight.sum() for weight in weights)).backward()
    adam.step(average_share=torch.tensor(0.5))
    torch.testing.assert_close(adam.averages[-1], 0.5 * later.detach())
    torch.testing.assert_close(averages[weights[6]], weights[6].detach() + 0.5 * LR)


def test_a_state_has_no_averages_and_does_not_change_them() -> None:
    weights, others = parameters(), parameters()
    averages = averaged(weights)
    adam, plain = FusedAdam(weights, lr=LR, averages=averages), FusedAdam(others, lr=LR)
    share = torch.tensor(0.5)
    adam.step(average_share=share)
    plain.step()
    state, other = adam.state_dict(), plain.state_dict()
    assert state["param_groups"] == other["param_groups"]
    before = {weight: average.clone() for weight, average in averages.items()}
    for average in averages.values():
        average.fill_(3.0)
    adam.load_state_dict(state)
    assert all((average == 3.0).all() for average in averages.values())
    for weight, average in averages.items():
        average.copy_(before[weight])
    adam.step(average_share=share)
    assert all(average.isfinite().all() for average in averages.values())


def test_a_grad_scaler_passes_the_share_on() -> None:
    weight, average = nn.Parameter(torch.ones(3)), torch.zeros(3)
    adam = FusedAdam([weight], lr=0.1, averages={weight: average})
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for slope, expected in ((1.0, 0.45), (torch.inf, 0.45)):
        adam.zero_grad()
        scaler.scale((weight * slope).sum()).backward()
        scaler.step(adam, average_share=torch.tensor(0.5))
        scaler.update()
        torch.testing.assert_close(average, torch.full((3,), expected))


@pytest.mark.parametrize(
    "words, make",
    [
        ("float32", lambda p: {p: torch.zeros(3, dtype=torch.float64)}),
        ("float32", lambda p: {p: torch.zeros(3).to_sparse()}),
        (r"\[4\] on cpu for a parameter \[3\]", lambda p: {p: torch.zeros(4)}),
        ("on meta for", lambda p: {p: torch.zeros(3, device="meta")}),
        ("is a parameter", lambda p: {p: p}),
        ("in no group", lambda p: {nn.Parameter(torch.zeros(3)): torch.zeros(3)}),
    ],
)
def test_bad_averages_are_named(words: str, make: Any) -> None:
    weight = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match=f"averages: .*{words}"):
        FusedAdam([weight], lr=LR, averages=make(weight))


def test_a_step_that_cannot_move_averages_moves_nothing() -> None:
    """Without a share, and after an average has left its buffer."""
    weight, average = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    adam = FusedAdam([weight], lr=LR, averages={weight: average})
    weight.sum().backward()
    with pytest.raises(ValueError, match="average_share: missing"):
        adam.step()
    average.data = average.data.clone()
    with pytest.raises(ValueError, match="its average, has left"):
        adam.step(average_share=torch.tensor(0.5))
    assert (weight == 1.0).all() and (average == 1.0).all()
