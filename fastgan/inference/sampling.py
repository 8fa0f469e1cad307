"""Ways from one code to another and from one noise to another, in even steps.

Legend: N rows, S steps, K codes, Z noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEARLY_PARALLEL = 1e-4  # radians; below it, and as near to a half turn, the sines of a spherical blend vanish


def linear(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """[..., K] and [..., K] to [..., S, K], both ends included; `steps` is at least 2."""
    t_S1 = torch.linspace(0.0, 1.0, steps, dtype=start.dtype, device=start.device)[:, None]
    return (1 - t_S1) * start.unsqueeze(-2) + t_S1 * end.unsqueeze(-2)


def spherical(start_NZ: Tensor, end_NZ: Tensor, steps: int) -> Tensor:
    """[N, S, Z] along the great circle from `start` to `end`, both ends included; `steps` is at least 2.

    Half way along a straight line normal noise is shorter than any that a generator has met in training; on the
    circle it keeps its length. Rows that point the same way, or opposite ways, are blended along the line.
    """
    cosine_N = torch.nn.functional.cosine_similarity(start_NZ.double(), end_NZ.double(), dim=1)
    angle_N11 = torch.acos(cosine_N.clamp(-1, 1))[:, None, None]
    t_S1 = torch.linspace(0.0, 1.0, steps, dtype=torch.float64, device=start_NZ.device)[:, None]
    sine = torch.sin(angle_N11)
    straight = sine < NEARLY_PARALLEL
    of_start, of_end = (torch.sin(part * angle_N11) / sine.clamp_min(NEARLY_PARALLEL) for part in (1 - t_S1, t_S1))
    round_NSZ = of_start * start_NZ.double()[:, None] + of_end * end_NZ.double()[:, None]
    return torch.where(straight, linear(start_NZ.double(), end_NZ.double(), steps), round_NSZ).to(start_NZ.dtype)
