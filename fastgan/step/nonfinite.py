"""Checks for non-finite losses and gradients, on the device: from the first such step on, nothing is updated.

A step checks each loss that it differentiates, and the gradients of the layers that backward reaches last: a non-finite
value anywhere in a backward pass spreads to all layers after it. One flag stops both optimisers, the averaged generator
and the running statistics, in captured steps too; the host reads it only when it reports. So training freezes in the
state before the first bad step, and no checkpoint ever holds a bad one.

If the discriminator was updated before the generator's loss went wrong in that step, it keeps this good update.
An overflow inside the product that computes a single weight's gradient is not seen at once: it shows in the next step's
loss, and in the weights, which are checked before each checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fastgan.errors import DivergenceError
from fastgan.models.sync_batchnorm import BATCH_NORMS

MOST_SKIPPED = 20  # float16 steps in a row that overflow, each of which halves the loss scale


class NonFiniteGuard:
    """The flag, and the state that it protects.

    Args:
        networks: whose running statistics are restored; they become views of one buffer, so that this takes two
            launches.
        device: of the networks.

    `found_nonfinite` is the flag: float32 scalar, 0 or 1, as Adam's found_inf.
    """

    def __init__(self, networks: nn.Module, device: torch.device) -> None:
        self.found_nonfinite = torch.zeros((), device=device)
        self._one = torch.ones((), device=device)
        self.good_images = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped = torch.zeros(2, dtype=torch.int64, device=device)  # float16: in total, in a row until now
        self._averages = _in_one_buffer(networks)
        self._before = torch.empty_like(self._averages)

    def begin(self) -> None:
        """Remember the running statistics; called before a step's first forward pass."""
        self._before.copy_(self._averages)

    @torch.no_grad()
    def check(self, loss: Tensor, gradients: Iterable[Tensor]) -> None:
        """Raise the flag if a loss or a gradient is not finite; called after backward and before the update."""
        seen = [g if g.dtype == torch.float64 else g.float() for g in (loss.detach(), *gradients)]
        # GradScaler's own check, one launch; scaling by 1 changes nothing. On a GPU it does not take bfloat16.
        torch._amp_foreach_non_finite_check_and_unscale_(seen, self.found_nonfinite, self._one)

    @torch.no_grad()
    def end(self, images: int) -> None:
        """Finish a step on `images` images: a bad one leaves the running statistics as they were."""
        self._averages.copy_(torch.where(self.found_nonfinite > 0, self._before, self._averages))
        self.good_images += images * (self.found_nonfinite == 0)

    @torch.no_grad()
    def count_skip(self, skipped: Tensor) -> None:
        """Count a float16 step that overflowed; `skipped` is a bool tensor."""
        self.skipped += skipped
        self.skipped[1] *= skipped

    def first_bad(self) -> int | None:
        """Images seen before the first bad step, None without one; waits for the device."""
        return int(self.good_images) if float(self.found_nonfinite) > 0 else None

    def skips(self) -> tuple[int, int]:
        """float16 steps skipped for an overflow, in total and in a row until now; waits for the device."""
        total, in_row = self.skipped.tolist()
        return total, in_row

    def reset(self, images_seen: int, skipped: int = 0) -> None:
        """Clear the flag, to go on from a good state."""
        self.found_nonfinite.zero_()
        self.good_images.fill_(images_seen)
        self.skipped.copy_(torch.tensor([skipped, 0]))

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, not copied."""
        return {
            "guard.found_nonfinite": self.found_nonfinite,
            "guard.good_images": self.good_images,
            "guard.skipped": self.skipped,
        }


def _in_one_buffer(networks: nn.Module) -> Tensor:
    """The running statistics of all normalisations, in one buffer of which they become views."""
    owners = [
        (module, name)
        for module in networks.modules()
        if isinstance(module, BATCH_NORMS)
        for name in ("running_mean", "running_var")
    ]
    buffer = torch.cat([getattr(module, name).flatten() for module, name in owners])
    parts = buffer.split([getattr(module, name).numel() for module, name in owners])
    for (module, name), part in zip(owners, parts, strict=True):
        setattr(module, name, part)
    return buffer


def first_bias(network: nn.Module) -> nn.Parameter:
    """The bias of the first layer, which gradients reach last."""
    return next(parameter for name, parameter in network.named_parameters() if name.endswith("bias"))


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """Names of the tensors with a non-finite value; waits for the device."""
    return [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def check(guard: NonFiniteGuard, losses: Mapping[str, float], *, batch_size: int, remedy: str) -> None:
    """Raise DivergenceError if training has frozen before a bad step, or float16 overflows again and again.

    Args:
        losses: sums or means since the last check, to name those that are not finite.
    """
    images = guard.first_bad()
    wrong = ", ".join(f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value))
    if images is not None or wrong:
        first = int(guard.good_images) if images is None else images
        what = wrong or "a gradient is not finite"
        raise DivergenceError(f"step {first // batch_size + 1} (after image {first:,}): {what}; {remedy}")
    _, in_row = guard.skips()
    if in_row >= MOST_SKIPPED:
        raise DivergenceError(
            f"the last {in_row} steps overflowed in float16; leave --amp-dtype out in a new run, or: {remedy}"
        )
