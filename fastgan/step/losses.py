"""The losses of Elastic-InfoGAN and of the default recipe, in float32 (or float64) whatever the networks' precision.

Over several ranks a loss is either the mean over a rank's own images, to be averaged over ranks, or already that of the
global batch (distributed.py). Either way, averaging the gradients over ranks gives the gradient of the global loss.

Legend: B images of a rank, W ranks, K classes, D embedding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator


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


def contrastive_loss(
    embed_BD: Tensor, augmented_BD: Tensor, temperature: float, comm: Communicator = SINGLE_PROCESS
) -> Tensor:
    """NT-Xent between the embeddings of real images and of their transforms (1910.01112, section 3.3).

    Over ranks: the mean over all 2 W B anchors, each contrasted with the views of all W B images.
    """
    embed_BD, augmented_BD = _at_least_float32(embed_BD), _at_least_float32(augmented_BD)
    if comm.world_size == 1:
        return kernels.nt_xent(embed_BD, augmented_BD, temperature=temperature)
    result: Tensor = _NtXentOverRanks.apply(torch.stack((embed_BD, augmented_BD)), temperature, comm)
    return result


class _NtXentOverRanks(torch.autograd.Function):
    """Maps a rank's views [2, B, D] to the loss over all ranks' views: two gathers forward, none backward."""

    @staticmethod
    def forward(ctx: Any, local_2BD: Tensor, temperature: float, comm: Communicator) -> Tensor:
        count = local_2BD.shape[1]
        ctx.row_start, ctx.temperature, ctx.ranks = comm.rank * count, temperature, comm.world_size
        everyone = comm.gather(local_2BD).transpose(0, 1).flatten(1, 2)  # [2, W B, D], in the order of ranks
        parts = kernels.nt_xent_lse(local_2BD, everyone, ctx.row_start, temperature=temperature)
        lse, loss = comm.gather(torch.stack(parts)).unbind(1)  # [W, 2, B] each
        ctx.save_for_backward(local_2BD, everyone, lse.transpose(0, 1).flatten(1).contiguous())
        return loss.mean()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        local, everyone, lse = ctx.saved_tensors
        own = kernels.nt_xent_grad(local, everyone, lse, ctx.row_start, temperature=ctx.temperature)
        return own * (grad * ctx.ranks), None, None  # averaging over ranks divides again


def iic_loss(logits_BK: Tensor, augmented_BK: Tensor, comm: Communicator = SINGLE_PROCESS) -> Tensor:
    """IIC: minus the mutual information of the codes of images and of their transforms, in nats (1807.06653, eq. 3).

    The joint distribution of the two codes is the batch mean, made symmetric. The minimum is -log K, where both codes
    always agree and all are equally frequent; confident codes of unequal classes reach minus the classes' entropy.
    metrics.jsonl calls this loss `agreement_loss`.
    """
    code_BK, augmented_code_BK = _at_least_float32(logits_BK).softmax(1), _at_least_float32(augmented_BK).softmax(1)
    joint_KK = comm.mean(code_BK.T @ augmented_code_BK / len(code_BK))
    joint_KK = ((joint_KK + joint_KK.T) / 2).clamp_min(1e-8)
    marginal_K = joint_KK.sum(0).log()
    return -(joint_KK * (joint_KK.log() - marginal_K[:, None] - marginal_K)).sum()


def grouping_loss(logits_BK: Tensor, augmented_BK: Tensor, group_B: Tensor, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy of Q's code logits, for images and for their transforms, with the images' groups [B], int64.

    Images of group -1 have none and are left out; 0 if no image has one.

    Args:
        counted: the number of images to divide by. Left out: those of this batch that have a group. Over ranks: the
            mean of that number over ranks.
    """
    if counted is None:
        counted = (group_B >= 0).sum()
    logits_2BK = torch.cat((_at_least_float32(logits_BK), _at_least_float32(augmented_BK)))
    total = F.cross_entropy(logits_2BK, group_B.repeat(2), ignore_index=-1, reduction="sum")
    return total / torch.where(counted > 0, 2 * counted, 1)


def mean_code(logits_BK: Tensor) -> Tensor:
    """Q's mean code probabilities [K], without gradient."""
    return _at_least_float32(logits_BK).detach().softmax(1).mean(0)


def prior_loss(prior_logits_K: Tensor, mean_K: Tensor) -> Tensor:
    """Cross-entropy of the prior with Q's mean code probabilities: smallest where both agree."""
    return -(mean_K * prior_logits_K.log_softmax(0)).sum()


LOSSES = ("d_loss", "g_loss", "information_loss", "contrastive_loss", "agreement_loss", "grouping_loss")
GENERATION_LOSSES = LOSSES[:3]  # those that pretraining does not have
