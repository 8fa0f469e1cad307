"""NT-Xent against loops written from its definition, its two parts for many ranks, and extreme or bad input."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from kernel_inputs import views
from tolerances import close
from torch import Tensor

from kernels import nt_xent, nt_xent_grad, nt_xent_lse

pytestmark = pytest.mark.usefixtures("each_backend", "exact_products")

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def losses_by_hand(view_a: Tensor, view_b: Tensor, temperature: float, eps: float = 1e-8) -> list[float]:
    """The 2N losses, anchor by anchor, term by term."""
    raw = np.concatenate((view_a.double().numpy(), view_b.double().numpy()))
    unit = [row / max(math.sqrt(sum(value * value for value in row)), eps) for row in raw]
    n, losses = len(view_a), []
    for i in range(2 * n):
        terms = {j: float(unit[i] @ unit[j]) / temperature for j in range(2 * n) if j != i}
        most = max(terms.values())
        total = sum(math.exp(term - most) for term in terms.values())
        losses.append(most + math.log(total) - terms[(i + n) % (2 * n)])
    return losses


def gradients(view_a: Tensor, view_b: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = view_a.clone().requires_grad_(), view_b.clone().requires_grad_()
    loss = nt_xent(a, b, temperature=temperature)
    loss.sum().backward()
    assert a.grad is not None and b.grad is not None
    return loss.detach(), a.grad, b.grad


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 3), (3, 100), (31, 7), (32, 64), (33, 65), (50, 128)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_by_hand(shape: tuple[int, int], dtype: torch.dtype) -> None:
    a, b = views(*shape, dtype=dtype)
    loss = nt_xent(a, b, temperature=0.5)
    accumulated = torch.float64 if dtype == torch.float64 else torch.float32
    assert loss.dtype == accumulated and loss.shape == ()
    assert math.isclose(loss.item(), np.mean(losses_by_hand(a, b, 0.5)), abs_tol=close(accumulated)["atol"])


@pytest.mark.parametrize("temperature", [1e-3, 1e-2, 0.07, 0.5, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperatures(temperature: float, dtype: torch.dtype) -> None:
    """A float and a tensor; the similarities' rounding is divided by the temperature."""
    a, b = views(12, 16, dtype=dtype)
    expected = torch.tensor(np.mean(losses_by_hand(a, b, temperature)))
    for given in (temperature, torch.tensor(temperature, dtype=dtype)):
        loss, grad_a, grad_b = gradients(a, b, given)
        torch.testing.assert_close(loss.double(), expected, **close(dtype, 1.0 / min(temperature, 1.0)))
        assert grad_a.isfinite().all() and grad_b.isfinite().all()


def test_order_of_the_views_does_not_matter() -> None:
    a, b = views(9, 5)
    loss, grad_a, grad_b = gradients(a, b, 0.5)
    swapped, swapped_b, swapped_a = gradients(b, a, 0.5)
    torch.testing.assert_close((loss, grad_a, grad_b), (swapped, swapped_a, swapped_b), **close(torch.float64))


@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 5, 3), (2, 1, 3)], ids=str)
def test_stacked_losses_equal_each_alone(shape: tuple[int, int, int]) -> None:
    a, b = views(*shape)
    loss, grad_a, grad_b = gradients(a, b, 0.5)
    assert loss.shape == shape[:1]
    for e in range(shape[0]):
        alone = gradients(a[e], b[e], 0.5)
        torch.testing.assert_close((loss[e], grad_a[e], grad_b[e]), alone, **close(torch.float64))


def test_strided_views() -> None:
    a, b = views(8, 24)
    strided = gradients(a[:, ::3], b.T.contiguous().T[:, ::3], 0.5)
    dense = gradients(a[:, ::3].contiguous(), b[:, ::3].contiguous(), 0.5)
    torch.testing.assert_close(strided, dense, **close(torch.float64))


@pytest.mark.parametrize("precision", ["bf16", "tf32", "ieee"])
def test_every_precision_is_within_tolerance(precision: Any) -> None:
    """For each precision the error is within that of bfloat16 products."""
    a, b = views(16, 32, dtype=torch.float32)
    loss = nt_xent(a, b, temperature=0.5, precision=precision)
    # bfloat16 rounds a cosine by at most 2^-7 or so, and the temperature doubles that.
    atol = {"bf16": 2.0**-6, "tf32": 2.0**-9, "ieee": close(torch.float32)["atol"]}[precision]
    assert math.isclose(loss.item(), np.mean(losses_by_hand(a, b, 0.5)), abs_tol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_image_has_no_negatives(dtype: torch.dtype) -> None:
    loss, grad_a, grad_b = gradients(*views(1, 8, dtype=dtype), 0.1)
    assert loss == 0 and (grad_a == 0).all() and (grad_b == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_embedding(dtype: torch.dtype) -> None:
    """Its similarity to all others is 0 and its gradient 0; the others still have gradients."""
    a, b = views(6, 8, dtype=dtype)
    a[2] = 0.0
    loss, grad_a, grad_b = gradients(a, b, 0.5)
    assert math.isclose(loss.item(), np.mean(losses_by_hand(a, b, 0.5)), abs_tol=1e-5)
    assert (grad_a[2] == 0).all() and grad_a.isfinite().all() and grad_b.isfinite().all()
    assert (grad_a[[0, 1, 3, 4, 5]] != 0).any(-1).all() and (grad_b != 0).any(-1).all()


def test_all_zero() -> None:
    """All terms are equal: the loss is log(2N - 1)."""
    loss, grad_a, grad_b = gradients(torch.zeros(5, 4), torch.zeros(5, 4), 0.5)
    assert math.isclose(loss.item(), math.log(9), rel_tol=1e-6)
    assert (grad_a == 0).all() and (grad_b == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_bad_embedding_gives_nan(bad: float, dtype: torch.dtype) -> None:
    """In the loss and in every row's gradient, never a wrong finite number."""
    a, b = views(6, 8, dtype=dtype)
    b[3, 5] = bad
    loss, grad_a, grad_b = gradients(a, b, 0.5)
    assert loss.isnan() and grad_a.isnan().all() and grad_b.isnan().all()
    stacked_a, stacked_b = torch.stack((a, a)), torch.stack((a, b))
    stacked = nt_xent(stacked_a, stacked_b, temperature=0.5)
    assert stacked[0].isfinite() and stacked[1].isnan()
    lse, loss_parts = nt_xent_lse(torch.stack((a, b)), torch.stack((a, b)), 0, temperature=0.5)
    assert lse.isnan().all() and loss_parts.isnan().all()


TEMPERATURES = [
    0.0,
    float("nan"),
    -1.0,
    float("inf"),
]


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_bad_temperature_tensor_gives_nan(temperature: float) -> None:
    """It is not read, so it cannot be refused."""
    assert nt_xent(*views(4, 8), temperature=torch.tensor(temperature)).isnan()


@pytest.mark.parametrize(
    "scale",
    [
        1e-30,
        1e-12,
        1e-3,
        1e10,
        1e18,
        1e20,
    ],
)
def test_huge_and_tiny_embeddings(scale: float) -> None:
    """Their squares overflow or underflow in float32; compared with float64, where they do not."""
    a, b = views(8, 32, dtype=torch.float32)
    a = a / a.abs().max() * scale
    b = b / b.abs().max() * scale
    loss, *grads = gradients(a, b, 0.5)
    exact, *exact_grads = gradients(a.double(), b.double(), 0.5)
    assert math.isclose(exact.item(), np.mean(losses_by_hand(a, b, 0.5)), rel_tol=1e-9)
    torch.testing.assert_close(loss.double(), exact, **close(torch.float32))
    for grad, exact_grad in zip(grads, exact_grads, strict=True):
        # Relative to the largest entry, since the gradient's own size is about 1 / scale.
        size = exact_grad.abs().max()
        assert size > 0
        torch.testing.assert_close(grad.double() / size, exact_grad / size, atol=1e-5, rtol=0)


def test_norms_beyond_float32() -> None:
    """Every entry is finite in float32, the norm is not: the direction still counts."""
    a, b = views(8, 32, dtype=torch.float32)
    loss, grad_a, grad_b = gradients(a / a.abs().max() * 3e38, b / b.abs().max() * 3e38, 0.5)
    torch.testing.assert_close(loss, nt_xent(a, b, temperature=0.5), **close(torch.float32))
    assert grad_a.isfinite().all() and grad_b.isfinite().all()


def test_gradient_does_not_lengthen_an_embedding() -> None:
    """The loss depends only on directions: each row's gradient is orthogonal to it and shrinks with its length."""
    a, b = views(10, 6)
    _, grad_a, grad_b = gradients(a, b, 0.5)
    assert (grad_a * a).sum(-1).abs().max() < 1e-12 and (grad_b * b).sum(-1).abs().max() < 1e-12
    _, longer, _ = gradients(10 * a, b, 0.5)
    torch.testing.assert_close(longer, grad_a / 10, **close(torch.float64))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2, 1), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_gradcheck(shape: tuple[int, ...], temperature: float) -> None:
    a, b = (view.requires_grad_() for view in views(*shape))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, temperature=temperature), (a, b))


@pytest.mark.parametrize("sizes", [(13,), (2, 7, 4), (1, 1, 11)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("temperature", [0.1, 1.0, torch.tensor(0.3)])
def test_parts_of_many_ranks_make_the_whole(
    sizes: tuple[int, ...], dtype: torch.dtype, temperature: float | Tensor
) -> None:
    """Ranks with unequal shares: log-sum-exps first, all gathered, then each rank's own gradient."""
    a, b = views(13, 9, dtype=dtype)
    a[4], b[6] = 0.0, 1e-12  # an embedding without direction, and one whose norm lies below the floor
    gathered = torch.stack((a, b))
    shares = list(zip(np.cumsum((0, *sizes[:-1])).tolist(), gathered.split(sizes, dim=1), strict=True))
    parts = [nt_xent_lse(local, gathered, start, temperature=temperature) for start, local in shares]
    lse, losses = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    grads = [nt_xent_grad(local, gathered, lse, start, temperature=temperature) for start, local in shares]
    grad = torch.cat(grads, dim=1)

    by_hand = torch.tensor(losses_by_hand(a, b, float(temperature)), dtype=torch.float64).unflatten(0, (2, -1))
    loss, grad_a, grad_b = gradients(a, b, temperature)
    assert lse.shape == losses.shape == (2, 13) and grad.shape == gathered.shape and grad.dtype == dtype
    factor = 1.0 / float(temperature)
    torch.testing.assert_close(losses.double(), by_hand, **close(dtype, factor))
    torch.testing.assert_close(losses.mean(), loss, **close(dtype, factor))
    size = torch.stack((grad_a, grad_b)).abs().amax(-1, keepdim=True).clamp_min(1e-30)
    torch.testing.assert_close(grad / size, torch.stack((grad_a, grad_b)) / size, **close(dtype, 10 * factor))


def test_parts_give_no_gradient() -> None:
    gathered = torch.stack(views(4, 3)).requires_grad_()
    lse, loss = nt_xent_lse(gathered, gathered, 0, temperature=0.5)
    grad = nt_xent_grad(gathered, gathered, lse, 0, temperature=0.5)
    assert not (lse.requires_grad or loss.requires_grad or grad.requires_grad)


def test_a_temperature_of_one_number_in_a_list() -> None:
    a, b = views(5, 8, dtype=torch.float32)
    assert torch.equal(nt_xent(a, b, temperature=torch.tensor([0.5])), nt_xent(a, b, temperature=torch.tensor(0.5)))


def test_the_hottest_temperature_weighs_all_alike() -> None:
    a, b = (view.requires_grad_() for view in views(5, 8, dtype=torch.float32))
    loss = nt_xent(a, b, temperature=1e39)
    loss.backward()
    assert a.grad is not None and a.grad.abs().max() < 1e-20
    torch.testing.assert_close(loss.detach(), torch.tensor(9.0).log(), **close(torch.float32))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"view_b": torch.zeros(4, 4)}, "view_a, view_b: must agree"),
        ({"view_b": torch.zeros(3, 4, dtype=torch.float64)}, "view_a, view_b: must agree"),
        ({"view_b": torch.zeros(3, 4, device="meta")}, "view_a, view_b: must agree"),
        ({"view_a": torch.zeros(3, 4, dtype=torch.int64)}, "view_a: must be float32"),
        ({"view_a": torch.zeros(0, 4), "view_b": torch.zeros(0, 4)}, "view_a, view_b [0, 4]"),
        ({"view_a": torch.zeros(3, 0), "view_b": torch.zeros(3, 0)}, "view_a, view_b [3, 0]"),
        ({"view_a": torch.zeros(4), "view_b": torch.zeros(4)}, "view_a, view_b [4]"),
        ({"view_a": torch.zeros(1, 1, 3, 4), "view_b": torch.zeros(1, 1, 3, 4)}, "view_a, view_b [1, 1, 3, 4]"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": -0.5}, "temperature -0.5"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": torch.tensor([0.5, 0.4, 0.3])}, "temperature [3]: must be one number"),
        ({"temperature": torch.tensor(0.5 + 0j)}, "temperature: must be a real number"),
        ({"temperature": torch.tensor(0.5, device="meta")}, "temperature: must be on the device of the rest"),
        ({"precision": "fp8"}, "precision 'fp8': must be one of bf16, tf32, ieee"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"view_a": torch.zeros(3, 4), "view_b": torch.zeros(3, 4), "temperature": 0.5}
    with pytest.raises(ValueError, match=re.escape(message)):
        nt_xent(**good | change)


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"local": torch.zeros(3, 2, 4)}, "local [3, 2, 4]"),
    ({"local": torch.zeros(2, 4)}, "local [2, 4]"),
    ({"local": torch.zeros(2, 0, 4)}, "local [2, 0, 4]"),
    ({"gathered": torch.zeros(1, 5, 4)}, "gathered [1, 5, 4]"),
    ({"local": torch.zeros(2, 2, 3)}, "local, gathered: must agree"),
    ({"local": torch.zeros(2, 2, 4, dtype=torch.float64)}, "local, gathered: must agree"),
    ({"local": torch.zeros(2, 2, 4, dtype=torch.int64)}, "local: must be float32"),
    ({"local": torch.zeros(2, 2, 4, device="meta")}, "local, gathered: must agree"),
    ({"row_start": -1}, "row_start -1"),
    ({"row_start": 4}, "row_start 4: 2 rows from there do not fit into 5"),
    ({"temperature": 0.0}, "temperature 0.0"),
    ({"temperature": torch.tensor([0.5, 0.4])}, "temperature [2]: must be one number"),
]
GOOD_PARTS: dict[str, Any] = {
    "local": torch.zeros(2, 2, 4),
    "gathered": torch.zeros(2, 5, 4),
    "row_start": 3,
    "temperature": 0.5,
}


@pytest.mark.parametrize("change, message", PARTS, ids=str)
def test_bad_arguments_of_the_parts_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        nt_xent_lse(**GOOD_PARTS | change)
    with pytest.raises(ValueError, match=re.escape(message)):
        nt_xent_grad(**GOOD_PARTS | {"gathered_lse": torch.zeros(2, 5)} | change)


@pytest.mark.parametrize("shape", [(2, 4), (5,), (10,)], ids=str)
def test_gathered_lse_must_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="gathered_lse .*: must be .2, 5."):
        nt_xent_grad(**GOOD_PARTS, gathered_lse=torch.zeros(shape))
