"""The losses that the default recipe adds, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from fastgan.step.losses import grouping_loss, iic_loss, mean_code, prior_loss

SURE = 50.0  # a logit that makes a code certain


def codes(index: Tensor, classes: int) -> Tensor:
    return SURE * torch.nn.functional.one_hot(index, classes).double()


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_iic_of_certain_codes_is_their_mutual_information() -> None:
    """Symmetric pairs, so that the mean of the joint and its transpose is the joint itself."""
    first = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0, 1, 0])
    second = torch.tensor([0, 1, 1, 0, 2, 2, 2, 2, 1, 0])
    pairs = torch.cat((first, second)), torch.cat((second, first))
    found = iic_loss(codes(pairs[0], 3), codes(pairs[1], 3))
    assert float(found) == pytest.approx(-mutual_info_score(*(pair.numpy() for pair in pairs)), abs=1e-6)


def test_iic_is_best_for_codes_that_agree_and_are_equally_frequent() -> None:
    even = torch.arange(10).repeat(8)
    assert float(iic_loss(codes(even, 10), codes(even, 10))) == pytest.approx(-math.log(10), abs=1e-4)
    uneven = torch.tensor([0] * 60 + [1] * 20 + [2] * 20)
    entropy = -sum(p * math.log(p) for p in (0.6, 0.2, 0.2))
    assert float(iic_loss(codes(uneven, 3), codes(uneven, 3))) == pytest.approx(-entropy, abs=1e-4)
    assert float(iic_loss(codes(even * 0, 10), codes(even * 0, 10))) == pytest.approx(0.0, abs=1e-4)
    independent = iic_loss(codes(even, 10), codes(even.view(8, 10).T.flatten(), 10))
    assert float(independent) > -0.9


def test_iic_equals_its_definition() -> None:
    first, second = random_logits(12, 5), random_logits(12, 5, seed=1)
    p, q = first.softmax(1), second.softmax(1)
    joint = sum(torch.outer(p[i], q[i]) + torch.outer(q[i], p[i]) for i in range(12)) / 24
    expected = 0.0
    for i in range(5):
        for j in range(5):
            expected -= float(joint[i, j] * (joint[i, j] / (joint[i].sum() * joint[:, j].sum())).log())
    assert float(iic_loss(first, second)) == pytest.approx(expected, abs=1e-9)
    assert float(iic_loss(second, first)) == pytest.approx(expected, abs=1e-9)


def test_iic_has_a_gradient_for_both_and_stays_finite() -> None:
    for scale in (1.0, 1e3):
        first, second = (
            (scale * random_logits(16, 10)).requires_grad_(),
            (scale * random_logits(16, 10, seed=1)).requires_grad_(),
        )
        iic_loss(first, second).backward()
        for logits in (first, second):
            assert logits.grad is not None and logits.grad.isfinite().all()
            assert scale > 1 or logits.grad.abs().max() > 1e-4


def test_grouping_counts_only_grouped_images() -> None:
    first, second = random_logits(6, 4), random_logits(6, 4, seed=1)
    groups = torch.tensor([2, -1, 0, -1, 3, 2])
    known = groups >= 0
    expected = [torch.nn.functional.cross_entropy(logits[known], groups[known]) for logits in (first, second)]
    torch.testing.assert_close(grouping_loss(first, second, groups), (expected[0] + expected[1]) / 2)


def test_no_group_no_loss_and_no_gradient() -> None:
    logits = random_logits(6, 4).requires_grad_()
    loss = grouping_loss(logits, logits * 2, torch.full((6,), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and (logits.grad == 0).all()


def test_the_prior_is_pulled_to_the_mean_of_the_codes() -> None:
    """Gradient prior - mean, in float64; none reaches Q."""
    logits, prior = random_logits(32, 5).requires_grad_(), random_logits(5, seed=3).requires_grad_()
    prior_loss(prior, mean_code(logits)).backward()
    assert prior.grad is not None and logits.grad is None
    torch.testing.assert_close(prior.grad, (prior.softmax(0) - logits.softmax(1).mean(0)).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    first, second = random_logits(16, 10).to(dtype), random_logits(16, 10, seed=1).to(dtype)
    groups = torch.arange(16) % 10
    assert iic_loss(first, second).dtype == torch.float32
    assert torch.equal(iic_loss(first, second), iic_loss(first.float(), second.float()))
    assert torch.equal(grouping_loss(first, second, groups), grouping_loss(first.float(), second.float(), groups))
