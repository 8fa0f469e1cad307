"""The three losses of Elastic-InfoGAN, each in float32 (or float64) whatever the networks' precision.

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
