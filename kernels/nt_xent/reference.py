"""NT-Xent, the specification: normalised embeddings, cosine similarities, cross-entropy against the other view.

Source: Chen et al., arXiv 2002.05709, eq. 1; used on Q's embedding by Elastic-InfoGAN, section 3.3.
Legend: N images, V = 2N anchors, D embedding length, E leading dimensions.
Products are taken in the embeddings' precision or float32, whichever is finer: every `precision` allows that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.checks import positive_or_nan

EPS = 1e-8


def _normalise(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x / max(|x|, EPS), 1 / max(|x|, EPS)) along the last dimension; a zero row gives zeros, without gradient."""
    x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    largest = x.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    scale = torch.where(zero, 1.0, largest)  # keeps the squares from overflowing or vanishing
    scaled = torch.where(zero, 1.0, x / scale)
    length = scaled.square().sum(-1, keepdim=True).sqrt()  # |x| / scale, from 1 to sqrt(D)
    small = length * scale < EPS
    unit = torch.where(small, x / EPS, scaled / length)
    inverse = torch.where(small, 1.0 / EPS, 1.0 / length / scale)
    return torch.where(zero, 0.0, unit), torch.where(zero, 0.0, inverse.detach())


def nt_xent(view_a: Tensor, view_b: Tensor, *, temperature: float | Tensor, precision: str = "tf32") -> Tensor:
    """See kernels.nt_xent."""
    count = view_a.shape[-2]
    temperature = positive_or_nan(temperature)
    embed_VD, _ = _normalise(torch.cat((view_a, view_b), dim=-2))
    logits_VV = embed_VD @ embed_VD.mT / temperature
    itself = torch.eye(2 * count, dtype=torch.bool, device=view_a.device)
    logits_VV = logits_VV.masked_fill(itself, float("-inf"))
    positive_V = torch.arange(2 * count, device=view_a.device).roll(count)
    loss_V = F.cross_entropy(
        logits_VV.flatten(0, -2), positive_V.repeat(logits_VV.shape[:-2].numel()), reduction="none"
    )
    return loss_V.unflatten(0, logits_VV.shape[:-1]).mean(-1)


def _logits(
    local: Tensor, everyone: Tensor, row_start: int, temperature: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(logits [2n, 2N] with the anchors themselves masked, index of each positive, embeddings, 1 / norms)."""
    n, count = local.shape[1], everyone.shape[1]
    temperature = positive_or_nan(temperature)
    embed, inverse = _normalise(local.flatten(0, 1))
    logits = embed @ _normalise(everyone.flatten(0, 1))[0].mT / temperature
    i = torch.arange(n, device=local.device) + row_start
    anchor = torch.cat((i, i + count))
    logits = logits.scatter(1, anchor[:, None], float("-inf"))
    return logits, (anchor + count) % (2 * count), embed, inverse


def nt_xent_lse(
    local: Tensor, everyone: Tensor, row_start: int, *, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    """See kernels.nt_xent_lse."""
    logits, positive, _, _ = _logits(local, everyone, row_start, temperature)
    lse = logits.logsumexp(-1)
    loss = lse - logits.gather(1, positive[:, None]).squeeze(1)
    return lse.unflatten(0, (2, -1)), loss.unflatten(0, (2, -1))


def nt_xent_grad(
    local: Tensor, everyone: Tensor, lse_everyone: Tensor, row_start: int, *, temperature: float | Tensor
) -> Tensor:
    """See kernels.nt_xent_grad."""
    logits, positive, embed, inverse = _logits(local, everyone, row_start, temperature)
    lse_local = lse_everyone[:, row_start : row_start + local.shape[1]].flatten()
    # Similarities are symmetric: anchor j gives i the weight exp(s_ij - lse_j), and i gives j exp(s_ij - lse_i).
    weight = torch.exp(logits - lse_local[:, None]) + torch.exp(logits - lse_everyone.flatten())
    weight = weight.scatter_add(1, positive[:, None], torch.full_like(weight[:, :1], -2.0))
    grad = weight @ _normalise(everyone.flatten(0, 1))[0] / positive_or_nan(temperature) / lse_everyone.numel()
    # Back through x / |x|: what points along the embedding is lost, unless |x| is below EPS and acts as a constant.
    along = (grad * embed).sum(-1, keepdim=True) * embed
    grad = (grad - torch.where(inverse < 1 / EPS, along, 0.0)) * inverse
    return grad.unflatten(0, (2, -1)).to(local.dtype)
