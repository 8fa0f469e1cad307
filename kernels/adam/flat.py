"""A parameter group in flat buffers, and its update by the chosen backend."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from kernels.adam import reference
from kernels.adam.layout import lay_out
from kernels.backend import runs_triton


class Flat:
    """One group's buffers, all of one layout, and the views of them that parameters and averages are."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        lr: Tensor,
        shadow_dtype: torch.dtype | None,
        averages: Mapping[nn.Parameter, Tensor],
    ) -> None:
        device = parameters[0].device
        self.parameters, self.lr, self.layout = parameters, lr, lay_out(parameters, averages)
        n = self.layout.length
        # Zeros, also between the parameters: what nobody reads there stays 0 in every step.
        # One storage each: torch.save writes whole storages.
        self.master, self.exp_avg, self.exp_avg_sq = (torch.zeros(n, device=device) for _ in range(3))
        self.step = torch.zeros((), device=device)
        self.arrived = torch.zeros((), dtype=torch.int32, device=device)
        self.numbers = torch.zeros(5, dtype=torch.float64, device=device)
        self.holds: tuple[float, ...] = ()  # what `numbers` was made from
        for parameter, view in zip(parameters, self.views(self.master), strict=True):
            _move(parameter, view)
        self.average: Tensor | None = None
        self.averages = [averages[parameter] for parameter in parameters if parameter in averages]
        if self.averages:
            first = self.layout.first_averaged
            self.average = torch.zeros(n - first, device=device)
            for parameter, start in zip(parameters, self.layout.starts, strict=True):
                if parameter in averages:
                    view = self.average.as_strided(parameter.shape, parameter.stride(), start - first)
                    _move(averages[parameter], view)
        self.places = [tensor.data_ptr() for tensor in (*parameters, *self.averages)]

        self.grad = torch.zeros(n, dtype=shadow_dtype, device=device)
        self.grads = self.views(self.grad)
        self.shadow: Tensor | None = None
        self.wide: Tensor | None = None  # float32 gradients that the CPU's update reads, where `grad` is not it
        self.leaves = parameters  # what backward reaches
        if shadow_dtype is not None:
            self.shadow = torch.zeros_like(self.grad)
            self.leaves = [nn.Parameter(view) for view in self.views(self.shadow)]
            self.shadow.copy_(self.master)
            for parameter in parameters:
                parameter.grad = None

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The parameters' parts of a buffer, in their shapes and memory formats."""
        return [
            buffer.as_strided(parameter.shape, parameter.stride(), start)
            for parameter, start in zip(self.parameters, self.layout.starts, strict=True)
        ]

    def hold(self, betas: tuple[float, float], eps: float) -> None:
        """Bring changed numbers to the device; never during a capture, unless they were changed in it."""
        if self.holds != (*betas, eps):
            self.holds = (*betas, eps)
            logs = [math.log(beta) if beta > 0 else -math.inf for beta in betas]
            self.numbers.copy_(torch.tensor([*betas, eps, *logs], dtype=torch.float64))

    def check(self) -> None:
        """ValueError if a parameter, or its gradient, is not where it belongs."""
        for tensor, place in zip((*self.parameters, *self.averages), self.places, strict=True):
            if tensor.data_ptr() != place:
                raise ValueError(
                    "params: a parameter, or its average, has left its flat buffer (moved, cast or held by a second "
                    "FusedAdam); build the optimizer after the last `.to()`"
                )
        if self.shadow is not None and any(parameter.grad is not None for parameter in self.parameters):
            raise ValueError("params: a gradient of float32 in a group that takes those of shadow_parameters()")

    @torch.no_grad()
    def gather(self) -> Tensor:
        """Bring all gradients into the buffer, of which they are views from here on until `zero_grad`."""
        self.check()
        self._copy(None)
        for leaf, view in zip(self.leaves, self.grads, strict=True):
            leaf.grad = view
        return self.grad

    def _copy(self, kept: int | None) -> None:
        """Copy the gradients into the buffer, by one launch; a missing one counts as zero.

        kept: index of one that stays where it is.
        """
        views, arrived, missing = [], [], []
        for i, (leaf, view) in enumerate(zip(self.leaves, self.grads, strict=True)):
            if leaf.grad is None:
                missing.append(view)
            elif leaf.grad is not view and i != kept:
                views.append(view)
                arrived.append(leaf.grad)
        if missing:
            torch._foreach_zero_(missing)
        if views:
            torch._foreach_copy_(views, arrived)

    def _large_grad(self) -> Tensor | None:
        """The large parameter's gradient [its elements], where backward has left it; None if it has to be copied."""
        if self.layout.large is None:
            return None
        grad, view = self.leaves[self.layout.large].grad, self.grads[self.layout.large]
        if grad is None or grad is view or grad.layout != torch.strided or grad.dtype != view.dtype:
            return None
        # The kernel was compiled for vectors of 16 bytes.
        if grad.device != view.device or grad.stride() != view.stride() or grad.data_ptr() % 16:
            return None
        return grad.as_strided((grad.numel(),), (1,))

    @torch.no_grad()
    def zero_grad(self, set_to_none: bool) -> None:
        tensors = self.leaves if self.shadow is None else [*self.leaves, *self.parameters]
        if set_to_none:
            for tensor in tensors:
                tensor.grad = None
        elif grads := [tensor.grad for tensor in tensors if tensor.grad is not None]:
            torch._foreach_zero_(grads)

    @torch.no_grad()
    def update(
        self,
        betas: tuple[float, float],
        eps: float,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
        share: Tensor | None,
    ) -> None:
        """One step, with the gradients that the leaves have."""
        large = self._large_grad()
        self._copy(None if large is None else self.layout.large)
        buffers = self.master, self.exp_avg, self.exp_avg_sq, self.step
        if runs_triton(self.master):
            from kernels.adam import launch

            self.hold(betas, eps)
            launch.adam_step(
                *buffers, self.arrived, self.shadow, self.grad, self.lr, self.numbers, grad_scale, found_inf,
                large, self.average, share,
            )  # fmt: skip
        elif self.master.device.type == "cpu":
            if found_inf is None or not found_inf.item() > 0:  # a CPU's flag may be read, there is nothing to wait for
                self._update_on_cpu(betas, eps, grad_scale, large)
                if self.average is not None and share is not None:
                    self.average.lerp_(self.master[self.layout.first_averaged :], share.reshape(()))
        else:
            reference.adam_step(
                *buffers, self.shadow, self.grad, self.lr,
                betas=betas, eps=eps, grad_scale=grad_scale, found_inf=found_inf,
                large=large, average=self.average, share=share,
            )  # fmt: skip
        # Autograd's check that nobody changed what a graph still needs: the buffers' views have their own versions.
        increment_version([*self.parameters, *self.averages])
        if self.shadow is not None:
            increment_version(self.leaves)

    def _update_on_cpu(
        self, betas: tuple[float, float], eps: float, grad_scale: Tensor | None, large: Tensor | None
    ) -> None:
        """torch's fused update of the whole buffer, in two parts where the large gradient lies elsewhere."""
        grads = [self.grad]
        if large is not None:
            grads = [part for part in (self.grad[: len(self.grad) - len(large)], large) if len(part)]
        sizes = [len(part) for part in grads]
        if self.shadow is not None or grad_scale is not None:
            if self.wide is None:
                self.wide = torch.empty_like(self.master)
            wide = list(self.wide.split(sizes))  # torch's own scaling would write the scaled gradients back
            torch._foreach_copy_(wide, grads)
            if grad_scale is not None:
                self.wide.div_(grad_scale)
            grads = wide
        self.step += 1
        master, exp_avg, exp_avg_sq = (x.split(sizes) for x in (self.master, self.exp_avg, self.exp_avg_sq))
        torch._fused_adam_(
            master, grads, exp_avg, exp_avg_sq, [], [self.step] * len(grads),
            lr=self.lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        if self.shadow is not None:
            self.shadow.copy_(self.master)


@torch.no_grad()
def _move(tensor: Tensor, view: Tensor) -> None:
    """Make a tensor a view, with its values."""
    view.copy_(tensor.detach())
    tensor.data = view
