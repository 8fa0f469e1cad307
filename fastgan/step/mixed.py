"""Low-precision copies of the networks' weights, for mixed precision without a cast at every use.

Autocast casts each weight again in every autocast context, twice a step for the front end, and each gradient back into
new memory. Here the step runs on copies that are written once after each update. Weights are rounded, and gradients
widened, at the same places as under autocast; only channels-last convolutions may sum in another order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fastgan.models.networks import Networks

ROUNDED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)  # what autocast computes in low precision


def rounded_parameters(module: nn.Module) -> set[nn.Parameter]:
    """The weights and biases that autocast rounds."""
    return {p for part in module.modules() if isinstance(part, ROUNDED) for p in part.parameters(recurse=False)}


class LowPrecision:
    """Networks that share everything with `masters` but the weights of their products, which are copies in `dtype`.

    A step runs `networks` and gradients accumulate there; an optimiser updates `masters`. An optimiser that reads those
    gradients and writes the copies itself passes them as `leaves`, master -> copy; then `take_gradients` and
    `copy_from_masters` do nothing.
    """

    def __init__(
        self, masters: Networks, dtype: torch.dtype, leaves: Mapping[nn.Parameter, nn.Parameter] | None = None
    ) -> None:
        self.networks = copy.deepcopy(masters)
        self._pairs: dict[nn.Parameter, nn.Parameter] = {}  # master -> copy
        self._grads: dict[nn.Parameter, Tensor] = {}  # kept, since allocating this much costs as much as the copy
        for ours, theirs in zip(self.networks.modules(), masters.modules(), strict=True):
            if not isinstance(theirs, ROUNDED):
                # The same dictionaries: normalisation reads and updates the masters' own parameters and statistics.
                ours._parameters, ours._buffers = theirs._parameters, theirs._buffers
                continue
            for name, master in theirs.named_parameters(recurse=False):
                if leaves is not None:
                    setattr(ours, name, leaves[master])
                    continue
                # Channels last, which low-precision convolutions prefer: a bfloat16 step was 3% faster on a CPU.
                last = isinstance(theirs, nn.Conv2d) and master.dim() == 4
                layout = torch.channels_last if last else torch.contiguous_format
                low = nn.Parameter(master.detach().to(dtype=dtype, memory_format=layout))
                setattr(ours, name, low)
                self._pairs[master] = low
                self._grads[master] = torch.empty_like(master)

    def take_gradients(self, masters: Iterable[nn.Parameter]) -> None:
        """Move the copies' gradients to `masters`, cast to their dtype."""
        wide, arrived = [], []
        for master in masters:
            low = self._pairs.get(master)
            if low is not None and low.grad is not None:
                wide.append(self._grads[master])
                arrived.append(low.grad)
                master.grad, low.grad = wide[-1], None
        if wide:
            torch._foreach_copy_(wide, arrived)

    def drop_gradients(self) -> None:
        """Drop the copies' gradients that were not moved to the masters."""
        for low in self._pairs.values():
            low.grad = None

    @torch.no_grad()
    def copy_from_masters(self, masters: Iterable[nn.Parameter]) -> None:
        """Round `masters` into their copies; called after each update."""
        held = [(self._pairs[m], m) for m in masters if m in self._pairs]
        if held:
            torch._foreach_copy_([low for low, _ in held], [master for _, master in held])
