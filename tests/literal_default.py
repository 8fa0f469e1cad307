"""The default recipe's iteration, written out on the networks of literal.py: the oracle for what it adds.

Running averages are kept from a pass by a momentum of 0. Legend as in literal.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from literal import LiteralLoop, nt_xent
from torch import Tensor, nn


def mutual_information(logits_BK: Tensor, other_BK: Tensor) -> Tensor:
    """Of the codes of a pair of views, each pair counted in both orders."""
    p, q = torch.softmax(logits_BK, dim=1), torch.softmax(other_BK, dim=1)
    joint = sum(torch.outer(a, b) + torch.outer(b, a) for a, b in zip(p, q, strict=True)) / (2 * len(p))
    joint = torch.clamp(joint, min=1e-8)  # as the code has it; terms of 1e-8 do not count
    rows, columns = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
    return (joint * torch.log(joint / (rows * columns))).sum()


class DefaultLoop(LiteralLoop):
    """One `learn` at a time.

    Args:
        finer: codes of the overclustering head.
        prior_learning_rate, pull: of the prior.
        temperature: of the contrastive loss.
    """

    def __init__(
        self,
        prior_logits: Tensor,
        *,
        finer: int,
        prior_learning_rate: float,
        pull: float,
        temperature: float,
        **sizes: int,
    ) -> None:
        super().__init__(prior_logits, learn_prior=True, contrastive_weight=1.0, **sizes)
        self.finer = nn.Linear(sizes["embedding"], finer).to(prior_logits)
        self.networks.append(self.finer)
        self.pull, self.temperature = pull, temperature
        g_side = [p for part in (self.generator, self.embed, self.code, self.finer) for p in part.parameters()]
        groups = [{"params": g_side, "lr": 2e-4}, {"params": [self.prior_logits], "lr": prior_learning_rate}]
        self.g_optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
        real_side = [p for part in (self.front_end, self.embed, self.code, self.finer) for p in part.parameters()]
        self.pretrainer = torch.optim.Adam(real_side, lr=6e-4, betas=(0.5, 0.999))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Running averages stay as they are."""
        norms = [m for m in (*self.front_end, *self.embed) if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 0.0
        yield
        for norm in norms:
            norm.momentum = 0.1

    def pretrain(self, real: Tensor, other: Tensor) -> Tensor:
        """One step of pretraining, without groups; returns the losses [6], three of them 0."""
        self.pretrainer.zero_grad()
        view_BD = self.embed(self.front_end(real))
        with self.quiet():
            other_BD = self.embed(self.front_end(other))
        contrast = nt_xent(view_BD, other_BD, temperature=self.temperature)
        agreement = -mutual_information(self.finer(view_BD), self.finer(other_BD))
        (contrast + agreement).backward()
        self.pretrainer.step()
        none = torch.zeros_like(contrast)
        return torch.stack((none, none, none, contrast, agreement, none)).detach()

    def learn(self, real: Tensor, other: Tensor, noise_BZ: Tensor, gumbel_BK: Tensor, group_B: Tensor) -> Tensor:
        """One D step and one G step; returns the losses [6]: D, G, information, contrastive, agreement, grouping."""
        one, zero = real.new_ones(len(real), 1), real.new_zeros(len(real), 1)
        self.d_optimizer.zero_grad()
        self.g_optimizer.zero_grad()
        code_BK = self.sample_code(gumbel_BK)
        code_B = code_BK.detach().argmax(dim=1)
        fake = self.generator(torch.cat((noise_BZ, code_BK), dim=1))

        # D step: F and D by their loss; F and Q by the losses on real images.
        real_BH = self.front_end(real)
        view_BD = self.embed(real_BH)
        with self.quiet():
            other_BH, fake_BH = self.front_end(other), self.front_end(fake.detach())
            other_BD = self.embed(other_BH)
        d_loss = self.bce(self.discriminator(real_BH), one) + self.bce(self.discriminator(fake_BH), zero)
        contrast = nt_xent(view_BD, other_BD, temperature=self.temperature)
        agreement = -mutual_information(self.finer(view_BD), self.finer(other_BD))
        grouping, pull = torch.zeros_like(contrast), torch.zeros_like(contrast)
        logits_BK, logits_other_BK = self.code(view_BD), self.code(other_BD)
        known = group_B >= 0
        if known.any():
            agreement = agreement - mutual_information(logits_BK, logits_other_BK)
            grouping = F.cross_entropy(logits_BK[known], group_B[known]) / 2
            grouping = grouping + F.cross_entropy(logits_other_BK[known], group_B[known]) / 2
            mean_K = torch.softmax(logits_BK, dim=1).mean(0).detach()
            pull = F.cross_entropy(self.prior_logits[None], mean_K[None])
        (d_loss + contrast + agreement + grouping).backward()
        self.d_optimizer.step()

        # G step, through the new F and D; Q's gradients add up.
        with self.quiet():
            fake_BH = self.front_end(fake)
            information = self.cross_entropy(self.code(self.embed(fake_BH)), code_B)
        g_loss = self.bce(self.discriminator(fake_BH), one)
        (g_loss + information + self.pull * pull).backward()
        self.g_optimizer.step()
        return torch.stack((d_loss, g_loss, information, contrast, agreement, grouping)).detach()
