"""The recipe's iteration, written out with nothing left out: the oracle that the fast step is held against.

Nothing of fastgan is used. The networks are InfoGAN's for 28x28x1 images, layer by layer; every pass of the authors'
loop is made in the authors' order, with graphs that no loss reads and gradients that are thrown away. Random numbers
are handed in, so that two loops can be fed the same ones.

Two things differ from the authors' own code. F(x) and F(x~) are detached before Q reads them: the graph that they were
computed with ends in weights that the D step has since changed, which today's autograd refuses, and the authors zero
that gradient before it is used. And without a contrastive loss there is no second view: F(x~), Q(x) and Q(x~) are then
not computed, and BatchNorm's running averages do not see them.

Legend: B batch, V = 2B views, K classes, Z noise, H features, D embedding, CHW image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 7  # pixels a side after two halvings of 28


def generator(*, noise: int, classes: int, width: int, hidden: int) -> nn.Sequential:
    """[z, c] of Z + K numbers to an image of 28x28 in (-1, 1)."""
    return nn.Sequential(
        nn.Linear(noise + classes, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, 2 * width * SIDE * SIDE),
        nn.BatchNorm1d(2 * width * SIDE * SIDE),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, SIDE, SIDE)),
        nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, kernel_size=4, stride=2, padding=1),
        nn.Tanh(),
    )


def front_end(*, width: int, hidden: int) -> nn.Sequential:
    """F, shared by D and Q: an image to H features."""
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * width * SIDE * SIDE, hidden),
        nn.BatchNorm1d(hidden),
        nn.LeakyReLU(0.2),
    )


def discriminator(*, hidden: int) -> nn.Sequential:
    """D: features to the probability of being real."""
    return nn.Sequential(nn.Linear(hidden, 1), nn.Sigmoid())


def embedding_head(*, hidden: int, embedding: int) -> nn.Sequential:
    """The first part of Q: features to the embedding."""
    return nn.Sequential(nn.Linear(hidden, embedding), nn.BatchNorm1d(embedding), nn.LeakyReLU(0.2))


def nt_xent(view_BD: Tensor, other_BD: Tensor, temperature: float) -> Tensor:
    """NT-Xent from its definition (arXiv 2002.05709, eq. 1), one anchor after the other.

    loss(i, j) = -log(exp(s_ij / t) / sum over k != i of exp(s_ik / t)), s the cosine similarity and j the other view
    of anchor i; the mean over all 2B anchors.
    """
    count = len(view_BD)
    embed_VD = torch.cat((view_BD, other_BD))
    total = embed_VD.new_zeros(())
    for i in range(2 * count):
        similarity_V = F.cosine_similarity(embed_VD[i : i + 1], embed_VD, dim=1, eps=1e-8)
        weight_V = torch.exp(similarity_V / temperature)
        denominator = sum(weight_V[k] for k in range(2 * count) if k != i)
        total = total - torch.log(weight_V[(i + count) % (2 * count)] / denominator)
    return total / (2 * count)


class LiteralLoop:
    """The networks, the prior and both optimisers, and one `iteration` at a time.

    Args:
        prior_logits: [K] at the start; with `learn_prior` they are updated, otherwise they stay.
        contrastive_weight: the recipe's lambda; 0 leaves the second view out.
    """

    def __init__(
        self,
        prior_logits: Tensor,
        *,
        learn_prior: bool,
        contrastive_weight: float,
        noise: int = 62,
        width: int = 64,
        hidden: int = 1024,
        embedding: int = 128,
    ) -> None:
        classes = len(prior_logits)
        self.generator = generator(noise=noise, classes=classes, width=width, hidden=hidden)
        self.front_end = front_end(width=width, hidden=hidden)
        self.discriminator = discriminator(hidden=hidden)
        self.embed = embedding_head(hidden=hidden, embedding=embedding)
        self.code = nn.Linear(embedding, classes)
        self.networks = nn.ModuleList((self.generator, self.front_end, self.discriminator, self.embed, self.code))
        self.networks.to(prior_logits)
        self.prior_logits = prior_logits.detach().clone().requires_grad_(learn_prior)
        self.contrastive_weight = contrastive_weight

        d_side = [*self.front_end.parameters(), *self.discriminator.parameters()]
        g_side = [*self.generator.parameters(), *self.embed.parameters(), *self.code.parameters()]
        if learn_prior:
            g_side.append(self.prior_logits)
        self.d_optimizer = torch.optim.Adam(d_side, lr=2e-4, betas=(0.5, 0.999))
        self.g_optimizer = torch.optim.Adam(g_side, lr=2e-4, betas=(0.5, 0.999))
        self.bce = nn.BCELoss()
        self.cross_entropy = nn.CrossEntropyLoss()

    def sample_code(self, gumbel_BK: Tensor, temperature: float = 0.1) -> Tensor:
        """c = softmax((log probability + Gumbel noise) / temperature), [B, K]."""
        probability_K = torch.softmax(self.prior_logits, dim=0)
        return torch.softmax((torch.log(probability_K) + gumbel_BK) / temperature, dim=1)

    def iteration(self, real: Tensor, other: Tensor | None, noise_BZ: Tensor, gumbel_BK: Tensor) -> Tensor:
        """One D step and one G step; returns the losses [4]: D, G, information, contrastive.

        `other` is read only with a contrastive loss.
        """
        one, zero = real.new_ones(len(real), 1), real.new_zeros(len(real), 1)
        contrastive = self.contrastive_weight > 0

        code_BK = self.sample_code(gumbel_BK)
        code_B = code_BK.detach().argmax(dim=1)
        fake = self.generator(torch.cat((noise_BZ, code_BK), dim=1))

        # D step. F(x~) is in no loss here, but its pass moves the running averages.
        real_BH = self.front_end(real)
        other_BH = self.front_end(other) if contrastive else None
        fake_BH = self.front_end(fake.detach())
        d_loss = self.bce(self.discriminator(real_BH), one) + self.bce(self.discriminator(fake_BH), zero)
        self.d_optimizer.zero_grad()  # throws away what the last G step left in F and D
        d_loss.backward()
        self.d_optimizer.step()

        # G step, through the new F and D. Its gradients reach F and D and stay there, unused.
        fake_BH = self.front_end(fake)
        g_loss = self.bce(self.discriminator(fake_BH), one)
        information = self.cross_entropy(self.code(self.embed(fake_BH)), code_B)
        total = g_loss + information
        pull = torch.zeros_like(g_loss)
        if other_BH is not None:
            view_BD = self.embed(real_BH.detach())
            other_BD = self.embed(other_BH.detach())
            pull = nt_xent(view_BD, other_BD, temperature=1.0)
            total = total + self.contrastive_weight * pull
        self.g_optimizer.zero_grad()
        total.backward()
        self.g_optimizer.step()
        return torch.stack((d_loss, g_loss, information, pull)).detach()
