"""A parameter group in flat buffers, and its update by the chosen backend."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from kernels.adam import reference
from kernels.backend import runs_triton

# Elements to which every parameter's start is aligned: 32 bytes of 16-bit values, as vector accesses and matrix
# libraries want it. A buffer's length is then a multiple of it, which the kernel's vector accesses need.
ALIGN = 16


class Flat:
    """One group's buffers, all of one layout, and the views of them that the parameters are."""

    def __init__(self, parameters: list[nn.Parameter], lr: Tensor, shadow_dtype: torch.dtype | None) -> None:
        device = parameters[0].device
        self.parameters, self.lr = parameters, lr
        self.starts = [0]
        for parameter in parameters:
            self.starts.append(self.starts[-1] + -(-parameter.numel() // ALIGN) * ALIGN)
        # Zeros, also between the parameters: what nobody reads there stays 0 in every step.
        # One storage each: torch.save writes whole storages.
        self.master, self.exp_avg, self.exp_avg_sq = (torch.zeros(self.starts[-1], device=device) for _ in range(3))
        self.step = torch.zeros((), device=device)
        self.arrived = torch.zeros((), dtype=torch.int32, device=device)
        self.numbers = torch.zeros(5, dtype=torch.float64, device=device)
        self.holds: tuple[float, ...] = ()  # what `numbers` was made from
        for parameter, view in zip(parameters, self.views(self.master), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view
            if shadow_dtype is not None:
                parameter.grad = None
        self.places = [parameter.data_ptr() for parameter in parameters]

        self.grad = torch.zeros(self.starts[-1], dtype=shadow_dtype, device=device)
        self.shadow: Tensor | None = None
        self.wide: Tensor | None = None  # float32 gradients that the CPU's update reads, where `grad` is not it
        self.leaves = parameters  # what backward reaches
        if shadow_dtype is not None:
            self.shadow = torch.zeros_like(self.grad)
            self.leaves = [nn.Parameter(view) for view in self.views(self.shadow)]
            self.shadow.copy_(self.master)
        self.grads = self.views(self.grad)
        self.gather()

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The parameters' parts of a buffer, in their shapes and memory formats."""
        return [
            buffer.as_strided(p.shape, p.stride(), buffer.storage_offset() + start)
            for p, start in zip(self.parameters, self.starts[:-1], strict=True)
        ]

    def hold(self, betas: tuple[float, float], eps: float) -> None:
        """Bring changed numbers to the device; never during a capture, unless they were changed in it."""
        if self.holds != (*betas, eps):
            self.holds = (*betas, eps)
            logs = [math.log(beta) if beta > 0 else -math.inf for beta in betas]
            self.numbers.copy_(torch.tensor([*betas, eps, *logs], dtype=torch.float64))

    @torch.no_grad()
    def gather(self) -> None:
        """Bring gradients that were replaced into the buffer; none at all counts as zero."""
        for parameter, place in zip(self.parameters, self.places, strict=True):
            if parameter.data_ptr() != place:
                raise ValueError(
                    "params: a parameter has left its flat buffer (moved, cast or held by a second FusedAdam); "
                    "build the optimizer after the last `.to()`"
                )
            if self.shadow is not None and parameter.grad is not None:
                raise ValueError("params: a gradient of float32 in a group that takes those of shadow_parameters()")
        for leaf, view in zip(self.leaves, self.grads, strict=True):
            if leaf.grad is view:
                continue
            if leaf.grad is None:
                view.zero_()
            else:
                view.copy_(leaf.grad)
            leaf.grad = view

    @torch.no_grad()
    def zero_grad(self) -> None:
        for leaf, view in zip(self.leaves, self.grads, strict=True):
            if leaf.grad is not view:
                leaf.grad = view
        self.grad.zero_()

    @torch.no_grad()
    def update(
        self, betas: tuple[float, float], eps: float, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> None:
        buffers = self.master, self.exp_avg, self.exp_avg_sq, self.step
        if runs_triton(self.master):
            from kernels.adam import launch

            self.hold(betas, eps)
            launch.adam_step(
                *buffers, self.arrived, self.shadow, self.grad, self.lr, self.numbers, grad_scale, found_inf
            )
        elif self.master.device.type == "cpu":
            self._update_on_cpu(betas, eps, grad_scale, found_inf)
        else:
            reference.adam_step(
                *buffers, self.shadow, self.grad, self.lr,
                betas=betas, eps=eps, grad_scale=grad_scale, found_inf=found_inf,
            )  # fmt: skip
        # Autograd's check that nobody changed what a graph still needs: the buffers' views have their own versions.
        increment_version(self.parameters if self.shadow is None else [*self.parameters, *self.leaves])

    def _update_on_cpu(
        self, betas: tuple[float, float], eps: float, grad_scale: Tensor | None, found_inf: Tensor | None
    ) -> None:
        """torch's fused update of the whole buffer; a CPU's flag may be read, there is nothing to wait for."""
        if found_inf is not None and found_inf.item() > 0:
            return
        grad = self.grad
        if self.shadow is not None or grad_scale is not None:
            if self.wide is None:
                self.wide = torch.empty_like(self.master)
            grad = self.wide.copy_(grad)  # torch's own scaling would write the scaled gradients back
            if grad_scale is not None:
                grad.div_(grad_scale)
        self.step += 1
        torch._fused_adam_(
            [self.master], [grad], [self.exp_avg], [self.exp_avg_sq], [], [self.step],
            lr=self.lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        if self.shadow is not None:
            self.shadow.copy_(self.master)
