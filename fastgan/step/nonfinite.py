"""Watches for what is not finite, on the device: from the first such step on, nothing is updated any more.

A step looks at each loss that it differentiates and at the gradients that arrive furthest back in each network: what is
not finite anywhere in a backward pass spreads to all that comes before it. One flag stops both optimisers, the averaged
generator and the running averages, in captured steps too; the host reads it when it reports anyway. So training
freezes in the state before the first bad step, and no checkpoint ever holds a bad one.

Within that step a discriminator that was updated before the generator's loss went wrong keeps its update, a good one.
An overflow inside the product that makes one weight's own gradient is not seen at once: it shows in the next step's
loss, and in the weights, which are looked at before each checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from fastgan.errors import DivergenceError
from fastgan.models.sync_batchnorm import NORMALISING

MOST_SKIPPED = 20  # float16 steps in a row that overflow, each of which halves the loss scale


class NonFiniteGuard:
    """The flag, and what it protects.

    Args:
        networks: whose running averages are put back; they become views of one buffer, so that this takes two launches.
        device: where the networks lie.
    """

    def __init__(self, networks: nn.Module, device: torch.device) -> None:
        self.bad = torch.zeros((), device=device)  # 0 or 1, float32, as Adam's found_inf
        self._one = torch.ones((), device=device)
        self.good_images = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped = torch.zeros(2, dtype=torch.int64, device=device)  # float16 steps: in all, and in a row just now
        self._averages = _in_one_buffer(networks)
        self._before = torch.empty_like(self._averages)

    def begin(self) -> None:
        """Before a step's first forward pass."""
        self._before.copy_(self._averages)

    @torch.no_grad()
    def look(self, loss: Tensor, gradients: Iterable[Tensor]) -> None:
        """At a loss and at gradients, after its backward pass and before its update."""
        seen = [g if g.dtype == torch.float64 else g.float() for g in (loss.detach(), *gradients)]
        # A GradScaler's own look, one launch: it raises the flag, and scales by 1, which changes nothing. On a GPU it
        # knows no bfloat16.
        torch._amp_foreach_non_finite_check_and_unscale_(seen, self.bad, self._one)

    @torch.no_grad()
    def end(self, images: int) -> None:
        """After a step on so many images."""
        self._averages.copy_(torch.where(self.bad > 0, self._before, self._averages))
        self.good_images += images * (self.bad == 0)

    @torch.no_grad()
    def count_skip(self, skipped: Tensor) -> None:
        """Of float16: whether a step overflowed, bool."""
        self.skipped += skipped
        self.skipped[1] *= skipped

    def first_bad(self) -> int | None:
        """Images seen before the first bad step, None without one; waits for the device."""
        return int(self.good_images) if float(self.bad) > 0 else None

    def skips(self) -> tuple[int, int]:
        """float16 steps left out for an overflow: in all, and in a row just now; waits for the device."""
        total, in_row = self.skipped.tolist()
        return total, in_row

    def reset(self, images_seen: int, skipped: int = 0) -> None:
        """Go on from a good state."""
        self.bad.zero_()
        self.good_images.fill_(images_seen)
        self.skipped.copy_(torch.tensor([skipped, 0]))

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, itself."""
        return {"guard.bad": self.bad, "guard.good_images": self.good_images, "guard.skipped": self.skipped}


def _in_one_buffer(networks: nn.Module) -> Tensor:
    """The running averages of all normalisations, in one buffer of which they become views."""
    owners = [
        (module, name)
        for module in networks.modules()
        if isinstance(module, NORMALISING)
        for name in ("running_mean", "running_var")
    ]
    buffer = torch.cat([getattr(module, name).flatten() for module, name in owners])
    parts = buffer.split([getattr(module, name).numel() for module, name in owners])
    for (module, name), part in zip(owners, parts, strict=True):
        setattr(module, name, part)
    return buffer


def first_bias(network: nn.Module) -> nn.Parameter:
    """The bias of the layer that gradients reach last."""
    return next(parameter for name, parameter in network.named_parameters() if name.endswith("bias"))


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a number that is not finite; waits for the device."""
    return [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]


def check(guard: NonFiniteGuard, losses: Mapping[str, float], *, batch_size: int, remedy: str) -> None:
    """Raise DivergenceError when training has frozen before a bad step, or float16 overflows again and again.

    Args:
        losses: their sums or means since the last check, to name those that are not finite.
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
