"""Gradients that backward gives to FusedAdam: where they are stored, and what happens if one is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_adam import LOW, assert_equal, pair, parameters, set_gradients
from tolerances import close
from torch import Tensor, nn

from kernels.adam import layout
from kernels.adam.layout import TILE
from kernels.adam.op import FusedAdam

pytestmark = pytest.mark.usefixtures("each_backend")
# One of several tiles, of rows and columns; in channels-last format; the rest is smaller.
SHAPES = [(3, 5), (64, 48), (17,)]
LAST = [(3, 5), (16, 12, 4, 4), (17,)]


def sides(shapes: list[tuple[int, ...]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Equal parameters for ours and for torch's optimiser; images' weights in channels-last format."""
    ours, theirs = parameters(shapes=shapes), parameters(shapes=shapes)
    for parameter in (*ours, *theirs):
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return ours, theirs


def hand_over(ours: list[nn.Parameter], theirs: list[nn.Parameter], step: int) -> None:
    """New gradients, as backward gives them after zero_grad, of the leaves' dtypes and strides."""
    generator = torch.Generator().manual_seed(step)
    for leaf, other in zip(ours, theirs, strict=True):
        leaf.grad = torch.empty_like(leaf).copy_(torch.randn(leaf.shape, generator=generator))
        other.grad = leaf.grad.float().clone()


@pytest.mark.parametrize("shapes", [SHAPES, LAST, [(2304,)]])
@pytest.mark.parametrize("shadow_dtype", [None, *LOW])
def test_a_large_gradient_is_read_in_place(
    shapes: list[tuple[int, ...]], shadow_dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flat buffer is not read: its place for this gradient holds NaN. No gradient is written."""
    monkeypatch.setattr(layout, "LARGE", 2304)
    ours, theirs = sides(shapes)
    adam, other = FusedAdam(ours, lr=1e-2, shadow_dtype=shadow_dtype), torch.optim.Adam(theirs, lr=1e-2)
    leaves = [adam.shadow_parameters().get(parameter, parameter) for parameter in ours]
    large = max(range(len(shapes)), key=lambda i: ours[i].numel())
    for step in range(4):
        adam.zero_grad()
        hand_over(leaves, theirs, step)
        kept = [leaf.grad for leaf in leaves]
        adam.flat_grad[0].zero_()
        adam._flats[0].grads[large].fill_(torch.nan)
        for leaf, gradient in zip(leaves, kept, strict=True):
            leaf.grad = gradient
        before = [gradient.clone() for gradient in kept]  # type: ignore[union-attr]
        adam.step()
        other.step()
        for leaf, gradient, was in zip(leaves, kept, before, strict=True):
            assert leaf.grad is gradient and torch.equal(gradient, was)  # type: ignore[arg-type]
    assert_equal(ours, theirs, 0.02)


MISFITS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda g: g.t().contiguous().t(),
    "in the middle of 16 bytes": lambda g: torch.cat((g.new_zeros(1), g.flatten()))[1:].view_as(g),
    "repeated": lambda g: g[:1].expand_as(g),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_large_gradient_that_does_not_fit_is_copied(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LARGE", 2304)
    ours, theirs = sides(SHAPES)
    adam, other = FusedAdam(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2)
    for step in range(3):
        hand_over(ours, theirs, step)
        ours[1].grad = MISFITS[name](theirs[1].grad)  # type: ignore[arg-type]
        theirs[1].grad = ours[1].grad.clone()
        assert adam._flats[0]._large_grad() is None
        adam.step()
        other.step()
    assert_equal(ours, theirs, 0.02)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_gradient_is_zero(missing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one and the large one, also after a step in which it existed; it stays None."""
    monkeypatch.setattr(layout, "LARGE", 2304)
    ours, theirs = sides(SHAPES)
    adam, other = FusedAdam(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2)
    for step in range(4):
        hand_over(ours, theirs, step)
        if step == 1:
            assert adam.flat_grad[0].any()
        if step >= 2:
            ours[missing].grad = None
            theirs[missing].grad = torch.zeros_like(theirs[missing])
        adam.step()
        other.step()
        assert (ours[missing].grad is None) == (step >= 2)
    assert_equal(ours, theirs, 0.02)


def test_the_real_threshold() -> None:
    """With 2^18 elements the parameter is last in the buffer, from the start of a tile; with one row less it is not."""
    for rows, large in ((512, 0), (511, None)):
        ours, theirs = sides([(rows, 512), (3,)])
        adam, other = FusedAdam(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2)
        layout = adam._flats[0].layout
        assert layout.large == large and layout.starts == ([TILE, 0] if large == 0 else [0, 511 * 512])
        hand_over(ours, theirs, 0)
        assert (adam._flats[0]._large_grad() is not None) == (large == 0)
        adam.step()
        other.step()
        assert_equal(ours, theirs, 0.02)


def test_backward_passes_add_up() -> None:
    """Two before a step, then others after zeroing in either way; autograd's tensor itself becomes `.grad`."""
    adam = FusedAdam(ours := parameters(), lr=1e-2)
    for set_to_none in (True, False, True):
        for _ in range(2):
            sum(p.square().sum() for p in ours).backward()  # type: ignore[union-attr]
        for p in ours:
            torch.testing.assert_close(p.grad, 4 * p.detach())
        held = [p.grad for p in ours]
        adam.step()
        assert all(p.grad is grad for p, grad in zip(ours, held, strict=True))
        adam.zero_grad(set_to_none=set_to_none)
        if set_to_none:
            assert all(p.grad is None for p in ours)
        else:
            assert all(p.grad is g and not g.any() for p, g in zip(ours, held, strict=True))  # type: ignore[union-attr]


def test_a_second_backward_pass_after_a_step_adds_to_the_first() -> None:
    adam, other, ours, theirs = pair(lr=1e-2)
    for step in range(4):
        for leaves in (ours, theirs):
            sum((p * step).square().sum() for p in leaves).backward()  # type: ignore[union-attr]
        adam.step()
        other.step()
    assert_equal(ours, theirs, 0.02)


@pytest.mark.parametrize("shadow_dtype", [None, torch.bfloat16])
def test_all_gradients_in_one_buffer(shadow_dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """flat_grad holds them, a step uses what is written there, backward adds to it, and zero_grad drops it."""
    monkeypatch.setattr(layout, "LARGE", 2304)
    ours, theirs = sides(SHAPES)
    adam, other = FusedAdam(ours, lr=1e-2, shadow_dtype=shadow_dtype), torch.optim.Adam(theirs, lr=1e-2)
    leaves = [adam.shadow_parameters().get(parameter, parameter) for parameter in ours]
    for step in range(3):
        hand_over(leaves, theirs, step)
        leaves[0].grad, theirs[0].grad = None, torch.zeros_like(theirs[0])
        (buffer,) = adam.flat_grad
        for leaf, view, theirs_leaf in zip(leaves, adam._flats[0].views(buffer), theirs, strict=True):
            assert leaf.grad is not None and leaf.grad.data_ptr() == view.data_ptr()
            torch.testing.assert_close(leaf.grad.float(), theirs_leaf.grad, rtol=0, atol=0)
        buffer.mul_(0.5)
        (leaves[1] * 2.0).sum().backward()
        assert adam.flat_grad[0] is buffer
        added = 0.5 * theirs[1].grad + 2.0  # type: ignore[operator]
        torch.testing.assert_close(leaves[1].grad.float(), added, **close(leaves[1].dtype))  # type: ignore[union-attr]
        for leaf, theirs_leaf in zip(leaves, theirs, strict=True):
            theirs_leaf.grad = leaf.grad.float().clone()  # type: ignore[union-attr]
        adam.step()
        other.step()
        adam.zero_grad()
        assert all(leaf.grad is None for leaf in leaves)
    assert_equal(ours, theirs, 0.02)


def test_gradients_from_before_are_kept() -> None:
    """An optimiser that is built between backward and step."""
    ours, theirs = parameters(), parameters()
    set_gradients(0, ours, theirs)
    adam, other = FusedAdam(ours, lr=1e-2), torch.optim.Adam(theirs, lr=1e-2)
    adam.step()
    other.step()
    assert_equal(ours, theirs, 0.02)
    assert torch.equal(ours[3].grad, theirs[3].grad)  # type: ignore[arg-type]
