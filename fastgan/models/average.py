"""The averaged generator: an exponential moving average of the weights and of normalisation's running averages."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def way_to_go(steps: Tensor, decay: float) -> Tensor:
    """How much of the way to the generator its average goes, after so many steps.

    The decay is at most (1 + t) / (10 + t) after t steps: the weights that training began with are soon forgotten.
    """
    return (9.0 / (10.0 + steps)).clamp_min(1.0 - decay)


@torch.no_grad()
def approach(average: nn.Module, generator: nn.Module, share: Tensor, *, weights: bool) -> None:
    """Move the average's running averages, and with `weights` its weights, by a share of the way to the generator's."""
    ours, theirs = ([*(o.parameters() if weights else ()), *float_buffers(o)] for o in (average, generator))
    share = share.to(ours[0].dtype)
    if not ours[0].is_cuda:  # one pass over the memory instead of three
        torch._foreach_lerp_(ours, theirs, [share] * len(ours))
        return
    way = torch._foreach_sub(theirs, ours)
    torch._foreach_mul_(way, share)
    torch._foreach_add_(ours, way)


def float_buffers(module: nn.Module) -> list[Tensor]:
    """The running averages of a module's normalisations."""
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]
