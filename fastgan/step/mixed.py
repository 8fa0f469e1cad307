"""Low-precision copies of the networks' weights, for mixed precision without a cast at every use.

Autocast casts each weight anew in every autocast context, twice a step for the front end, and each gradient back into
fresh memory. Here the step runs on copies that are written once after each update. Weights are rounded, and gradients
widened, at the same places as under autocast; channels-last convolutions alone may sum in another order.
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
    """Networks that share all with `masters` but the weights of their products, which are copies in `dtype`.

    `networks` is what a step runs and what its gradients arrive in; `masters` is what an optimiser updates. An
    optimiser that takes those gradients and writes the copies itself hands the copies over as `leaves`, master ->
    copy; then `take_gradients` and `follow` have nothing to do.
    """

    def __init__(
        self, masters: Networks, dtype: torch.dtype, leaves: Mapping[nn.Parameter, nn.Parameter] | None = None
    ) -> None:
        self.networks = copy.deepcopy(masters)
        self._pairs: dict[nn.Parameter, nn.Parameter] = {}  # master -> copy
        self._grads: dict[nn.Parameter, Tensor] = {}  # kept, since fresh memory of this size costs as much as the copy
        for ours, theirs in zip(self.networks.modules(), masters.modules(), strict=True):
            if not isinstance(theirs, ROUNDED):
                # The same dictionaries: normalisation reads and moves the masters' own parameters and averages.
                ours._parameters, ours._buffers = theirs._parameters, theirs._buffers
                continue
            for name, master in theirs.named_parameters(recurse=False):
                if leaves is not None:
                    setattr(ours, name, leaves[master])
                    continue
                # Channels last, as low-precision convolutions want it: a bfloat16 step was 3% faster on a CPU.
                last = isinstance(theirs, nn.Conv2d) and master.dim() == 4
                layout = torch.channels_last if last else torch.contiguous_format
                low = nn.Parameter(master.detach().to(dtype=dtype, memory_format=layout))
                setattr(ours, name, low)
                self._pairs[master] = low
                self._grads[master] = torch.empty_like(master)

    def take_gradients(self, masters: Iterable[nn.Parameter]) -> None:
        """Move the copies' gradients to those of `masters`, widened."""
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
        """Forget those that have arrived and were not moved."""
        for low in self._pairs.values():
            low.grad = None

    @torch.no_grad()
    def follow(self, masters: Iterable[nn.Parameter]) -> None:
        """Round `masters` into their copies, after an update."""
        held = [(self._pairs[m], m) for m in masters if m in self._pairs]
        if held:
            torch._foreach_copy_([low for low, _ in held], [master for _, master in held])
