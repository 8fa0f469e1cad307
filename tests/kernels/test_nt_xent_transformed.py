"""NT-Xent under second derivatives, torch.compile, torch.func and autocast, on every backend."""

from __future__ import annotations

import pytest
import torch
from kernel_inputs import Dropped, views
from test_nt_xent import gradients
from tolerances import close
from torch.autograd import forward_ad

from kernels import nt_xent, nt_xent_grad, nt_xent_lse, use_backend
from kernels.nt_xent import reference

pytestmark = pytest.mark.usefixtures("each_backend", "exact_products")


def test_second_derivative() -> None:
    """A gradient penalty: of the kernels and of cpu.py it is the specification's."""
    for dtype in (torch.float64, torch.float32):
        a, b = (view.requires_grad_() for view in views(4, 3, dtype=dtype))
        x, y = (view.detach().double().requires_grad_() for view in (a, b))
        found, expected = [], []
        for pair, out, function in (((a, b), found, nt_xent), ((x, y), expected, reference.nt_xent)):
            loss = function(*pair, temperature=0.5)
            grads = torch.autograd.grad(loss, pair, create_graph=True)
            out += torch.autograd.grad(loss + sum((grad**2).sum() for grad in grads), pair)
        for grad, want in zip(found, expected, strict=True):
            torch.testing.assert_close(grad.double(), want, **close(dtype, 10))


def test_second_derivative_of_one_view_given_twice() -> None:
    (a, _), upstream = views(4, 3), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda a, s: s * nt_xent(a, a.flip(0), temperature=0.5), (a.requires_grad_(), upstream)
    )
    x = a.detach().float().requires_grad_()
    (first,) = torch.autograd.grad(nt_xent(x, x, temperature=0.5), x, create_graph=True)
    with use_backend("reference"):
        (plain,) = torch.autograd.grad(nt_xent(x, x, temperature=0.5), x)
    torch.testing.assert_close(first, plain, **close(torch.float32))


def test_temperature_that_changes_under_the_compiler() -> None:
    """A Python number, which torch.compile makes a symbol when it changes."""
    a, b = views(5, 8, dtype=torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(nt_xent, fullgraph=True, backend="aot_eager")
    for temperature in (0.5, 0.4, 0.3, 0.01):
        x, y = (view.clone().requires_grad_() for view in (a, b))
        loss = compiled(x, y, temperature=temperature)
        loss.backward()
        expected, grad_a, grad_b = gradients(a, b, temperature)
        assert x.grad is not None and y.grad is not None
        factor = 1.0 / temperature
        torch.testing.assert_close(loss.detach(), expected, **close(torch.float32, factor))
        torch.testing.assert_close((x.grad, y.grad), (grad_a, grad_b), **close(torch.float32, factor))


def test_functional_gradient() -> None:
    a, b = views(5, 8, dtype=torch.float32)
    found = torch.func.grad(lambda a, b: nt_xent(a, b, temperature=0.5), argnums=(0, 1))(a, b)
    torch.testing.assert_close(found, gradients(a, b, 0.5)[1:], **close(torch.float32))


def test_forward_mode() -> None:
    """The derivative in one direction, which the kernels' ops would drop."""
    a, b = views(5, 8, dtype=torch.float32)
    direction = views(5, 8, dtype=torch.float32)[0].flip(0)
    with forward_ad.dual_level():
        loss = nt_xent(forward_ad.make_dual(a, direction), b, temperature=0.5)
        tangent = forward_ad.unpack_dual(loss).tangent
    assert tangent is not None
    torch.testing.assert_close(tangent, (gradients(a, b, 0.5)[1] * direction).sum(), **close(torch.float32, 10))


@pytest.mark.parametrize("count", [5, 70])
def test_an_undefined_gradient_is_zero(count: int) -> None:
    """By the small kernel and the large ones."""
    a, b = (view.requires_grad_() for view in views(count, 8, dtype=torch.float32))
    (Dropped.apply(nt_xent(a, b, temperature=0.5)) + 0.0 * a.sum()).backward()
    assert a.grad is not None and not a.grad.any() and (b.grad is None or not b.grad.any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    a, b = views(20, 32, dtype=torch.float32)
    gathered = torch.stack((a, b))
    plain = nt_xent(a, b, temperature=0.1)
    lse, losses = nt_xent_lse(gathered, gathered, 0, temperature=0.1)
    grad = nt_xent_grad(gathered, gathered, lse, 0, temperature=0.1)
    with torch.autocast("cpu", dtype):
        assert torch.equal(nt_xent(a, b, temperature=0.1), plain)
        again = nt_xent_lse(gathered, gathered, 0, temperature=0.1)
        assert torch.equal(again[0], lse) and torch.equal(again[1], losses)
        assert torch.equal(nt_xent_grad(gathered, gathered, lse, 0, temperature=0.1), grad)


def test_gradient_takes_log_sum_exps_of_another_dtype() -> None:
    gathered = torch.stack(views(5, 8, dtype=torch.float32))
    lse, _ = nt_xent_lse(gathered, gathered, 0, temperature=0.5)
    grad = nt_xent_grad(gathered, gathered, lse.double(), 0, temperature=0.5)
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, nt_xent_grad(gathered, gathered, lse, 0, temperature=0.5), atol=0, rtol=0)
