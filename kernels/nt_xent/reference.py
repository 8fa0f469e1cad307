"""NT-Xent, the specification: normalised embeddings, cosine similarities, cross-entropy against the other view.

Source: Chen et al., arXiv 2002.05709, eq. 1; used on Q's embedding by Elastic-InfoGAN, section 3.3.
Legend: N images, V = 2N anchors, D embedding length, E leading dimensions.
Products are in float32, or float64 for float64 embeddings, which every `precision` allows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.checks import positive_or_nan

EPS = 1e-8


def _normalize(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x / max(|x|, EPS), 1 / max(|x|, EPS)) along the last dimension; a zero row gives zeros and no gradient."""
    x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    largest = x.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    scale = torch.where(zero, 1.0, largest)  # keeps the squares from overflow and underflow
    scaled = torch.where(zero, 1.0, x / scale)
    length = scaled.square().sum(-1, keepdim=True).sqrt()  # |x| / scale, from 1 to sqrt(D)
    small = length * scale < EPS
    unit = torch.where(small, x / EPS, scaled / length)
    rnorm = torch.where(small, 1.0 / EPS, 1.0 / length / scale)
    return torch.where(zero, 0.0, unit), torch.where(zero, 0.0, rnorm.detach())


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x @ y in their dtype; autocast would round them."""
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):  # the former has none to ask for
        return x @ y
    with torch.autocast(device, enabled=False):
        return x @ y


def nt_xent(view_a: Tensor, view_b: Tensor, *, temperature: float | Tensor, precision: str = "tf32") -> Tensor:
    """See kernels.nt_xent."""
    count = view_a.shape[-2]
    temperature = positive_or_nan(temperature)
    embed_VD, _ = _normalize(torch.cat((view_a, view_b), dim=-2))
    logits_VV = _product(embed_VD, embed_VD.mT) / temperature
    self_mask = torch.eye(2 * count, dtype=torch.bool, device=view_a.device)
    logits_VV = logits_VV.masked_fill(self_mask, float("-inf"))
    positive_V = torch.arange(2 * count, device=view_a.device).roll(count)
    loss_V = F.cross_entropy(
        logits_VV.flatten(0, -2), positive_V.repeat(logits_VV.shape[:-2].numel()), reduction="none"
    )
    return loss_V.unflatten(0, logits_VV.shape[:-1]).mean(-1)


def _logits(
    local: Tensor, gathered: Tensor, row_start: int, temperature: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits [2n, 2N] with each anchor itself masked, positives' columns [2n], unit embeddings, 1 / norms."""
    n, count = local.shape[1], gathered.shape[1]
    temperature = positive_or_nan(temperature)
    embed, rnorm = _normalize(local.flatten(0, 1))
    logits = _product(embed, _normalize(gathered.flatten(0, 1))[0].mT) / temperature
    i = torch.arange(n, device=local.device) + row_start
    anchor = torch.cat((i, i + count))
    logits = logits.scatter(1, anchor[:, None], float("-inf"))
    return logits, (anchor + count) % (2 * count), embed, rnorm


def nt_xent_lse(
    local: Tensor, gathered: Tensor, row_start: int, *, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    """See kernels.nt_xent_lse."""
    logits, positive, _, _ = _logits(local, gathered, row_start, temperature)
    lse = logits.logsumexp(-1)
    loss = lse - logits.gather(1, positive[:, None]).squeeze(1)
    return lse.unflatten(0, (2, -1)), loss.unflatten(0, (2, -1))


def nt_xent_grad(
    local: Tensor, gathered: Tensor, gathered_lse: Tensor, row_start: int, *, temperature: float | Tensor
) -> Tensor:
    """See kernels.nt_xent_grad."""
    logits, positive, embed, rnorm = _logits(local, gathered, row_start, temperature)
    lse = gathered_lse.to(logits.dtype)
    lse_local = lse[:, row_start : row_start + local.shape[1]].flatten()
    # Similarities are symmetric: anchor j gives i the weight exp(s_ij - lse_j), and i gives j exp(s_ij - lse_i).
    weight = torch.exp(logits - lse_local[:, None]) + torch.exp(logits - lse.flatten())
    weight = weight.scatter_add(1, positive[:, None], torch.full_like(weight[:, :1], -2.0))
    grad = _product(weight, _normalize(gathered.flatten(0, 1))[0]) / positive_or_nan(temperature) / lse.numel()
    # Back through x / |x|: the component along the embedding is removed, unless |x| is below EPS, a constant.
    projection = (grad * embed).sum(-1, keepdim=True) * embed
    grad = (grad - torch.where(rnorm < 1 / EPS, projection, 0.0)) * rnorm
    return grad.unflatten(0, (2, -1)).to(local.dtype)
