"""The losses of Elastic-InfoGAN and of the default recipe, in float32 (or float64) whatever the networks' precision.

Legend: B images, K classes, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def discriminator_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """BCE(D(x), 1) + BCE(D(G(z, c)), 0), on logits; -log sigmoid(s) = softplus(-s)."""
    return F.softplus(-_at_least_float32(real_B)).mean() + F.softplus(_at_least_float32(fake_B)).mean()


def generator_loss(fake_B: Tensor) -> Tensor:
    """BCE(D(G(z, c)), 1), on logits: the non-saturating loss."""
    return F.softplus(-_at_least_float32(fake_B)).mean()


def information_loss(logits_BK: Tensor, code_B: Tensor) -> Tensor:
    """Cross-entropy of Q's code logits and the code that drew the image: InfoGAN's bound (1606.03657, eq. 5)."""
    return F.cross_entropy(_at_least_float32(logits_BK), code_B)


def contrastive_loss(embed_BD: Tensor, other_BD: Tensor, temperature: float) -> Tensor:
    """NT-Xent between the embeddings of real images and of their transforms (1910.01112, section 3.3)."""
    return kernels.nt_xent(_at_least_float32(embed_BD), _at_least_float32(other_BD), temperature=temperature)


def agreement_loss(logits_BK: Tensor, other_BK: Tensor) -> Tensor:
    """Minus the mutual information of Q's codes for images and for their transforms, in nats (arXiv 1807.06653, eq. 3).

    The joint distribution of the two codes is the batch's mean, made symmetric. At best -log K: both codes always
    agree, and all are equally frequent; confident codes of unequal classes come at the entropy of those classes.
    """
    code_BK, same_BK = _at_least_float32(logits_BK).softmax(1), _at_least_float32(other_BK).softmax(1)
    joint_KK = code_BK.T @ same_BK / len(code_BK)
    joint_KK = ((joint_KK + joint_KK.T) / 2).clamp_min(1e-8)
    marginal_K = joint_KK.sum(0).log()
    return -(joint_KK * (joint_KK.log() - marginal_K[:, None] - marginal_K)).sum()


def grouping_loss(logits_BK: Tensor, other_BK: Tensor, group_B: Tensor) -> Tensor:
    """Cross-entropy of Q's code logits, for images and for their transforms, to the images' groups [B], int64.

    A group of -1 is none: the image does not count. 0 where no image counts.
    """
    logits_2BK = torch.cat((_at_least_float32(logits_BK), _at_least_float32(other_BK)))
    total = F.cross_entropy(logits_2BK, group_B.repeat(2), ignore_index=-1, reduction="sum")
    return total / (2 * (group_B >= 0).sum()).clamp_min(1)


def prior_loss(prior_logits_K: Tensor, logits_BK: Tensor) -> Tensor:
    """Cross-entropy of the prior to Q's mean code probabilities, which get no gradient: smallest where both agree."""
    mean_K = _at_least_float32(logits_BK).detach().softmax(1).mean(0)
    return -(mean_K * prior_logits_K.log_softmax(0)).sum()
