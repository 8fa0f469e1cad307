"""The losses that Q has on real images and their transforms: the contrastive one, and those of the default recipe.

Legend: B images, K classes, H features, D embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.models.networks import CodeHead
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.step import losses


class Parts(NamedTuple):
    """The losses on real images, unweighted, and what the prior is pulled towards; all detached."""

    contrast: Tensor
    agreement: Tensor
    grouping: Tensor
    mean_K: Tensor | None
    """Q's mean code probabilities; None if nothing pulls the prior."""
    pulled: Tensor
    """1 if they pull the prior, 0 until images have groups."""

    @property
    def losses(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the order of LOSSES."""
        return self.contrast, self.agreement, self.grouping


def none(like: Tensor) -> Parts:
    """All losses on real images zero."""
    zero = torch.zeros_like(like)
    return Parts(zero, zero, zero, None, zero)


class OnRealImages:
    """Q's losses on a batch of real images.

    Args:
        code_head: Q, as the step runs it.
        config: the weights of the losses.
        comm: the ranks whose images the losses cover.
    """

    def __init__(self, code_head: CodeHead, config: TrainConfig, comm: Communicator = SINGLE_PROCESS) -> None:
        self.code_head, self.config, self.comm = code_head, config, comm
        self._reads_codes = config.agreement_weight > 0 or bool(config.grouping.at) or config.prior_pull > 0

    def __call__(self, real_BH: Tensor, augmented_BH: Tensor, group_B: Tensor | None) -> tuple[Tensor, Parts]:
        """The weighted sum of Q's losses, and its parts.

        Args:
            real_BH, augmented_BH: features of the images and of their transforms.
            group_B: the images' groups (pseudo-labels), int64, -1 for none.
        """
        config, head, comm = self.config, self.code_head, self.comm
        embed, embed_augmented = head.embed(real_BH), head.embed(augmented_BH, not config.real_averages)
        zero = torch.zeros((), device=real_BH.device)
        contrast, agreement, grouping, mean_K, grouped = zero, zero, zero, None, zero
        if config.contrastive_weight > 0:
            contrast = losses.contrastive_loss(embed, embed_augmented, config.contrastive_temperature, comm)
        if self._reads_codes:
            logits_BK, augmented_BK = head.code(embed), head.code(embed_augmented)
            # Codes that agree before images have groups settle in a wrong grouping, which the embedding and the prior
            # then learn. So until there are groups, the main head's IIC loss and the prior's pull are zero.
            counted = None if group_B is None else _mean_count(group_B, comm, real_BH)
            grouped = torch.ones_like(zero) if counted is None else (counted > 0).float()
            if config.agreement_weight > 0:
                agreement = losses.iic_loss(logits_BK, augmented_BK, comm) * grouped
            if head.finer is not None:  # the overclustering head, which does not wait
                agreement = agreement + losses.iic_loss(head.finer(embed), head.finer(embed_augmented), comm)
            if group_B is not None:
                grouping = losses.grouping_loss(logits_BK, augmented_BK, group_B, counted)
            if config.prior_pull > 0:
                mean_K = losses.mean_code(logits_BK)
        total = (
            config.contrastive_weight * contrast
            + config.agreement_weight * agreement
            + config.grouping.weight * grouping
        )
        return total, Parts(contrast.detach(), agreement.detach(), grouping.detach(), mean_K, grouped)


def _mean_count(group_B: Tensor, comm: Communicator, like: Tensor) -> Tensor:
    """How many images have a group, on average over ranks."""
    count = (group_B >= 0).sum()
    return count if comm.world_size == 1 else comm.mean(count.to(torch.promote_types(like.dtype, torch.float32)))
