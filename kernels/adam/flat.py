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
    """One group's buffers, all of one layout; its parameters and averages are views into them."""

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
        # Zeros: the padding between parameters then stays 0 in every step.
        # One storage for each buffer, since torch.save writes whole storages.
        self.master, self.exp_avg, self.exp_avg_sq = (torch.zeros(n, device=device) for _ in range(3))
        self.step = torch.zeros((), device=device)
        self.semaphore = torch.zeros((), dtype=torch.int32, device=device)
        self.hyperparameters = torch.zeros(5, dtype=torch.float64, device=device)
        self.uploaded: tuple[float, ...] = ()  # the betas and eps that `hyperparameters` holds
        for parameter, view in zip(parameters, self.views(self.master), strict=True):
            _rebind(parameter, view)
        self.average: Tensor | None = None
        self.averages = [averages[parameter] for parameter in parameters if parameter in averages]
        if self.averages:
            first = self.layout.first_averaged
            self.average = torch.zeros(n - first, device=device)
            for parameter, start in zip(parameters, self.layout.starts, strict=True):
                if parameter in averages:
                    view = self.average.as_strided(parameter.shape, parameter.stride(), start - first)
                    _rebind(averages[parameter], view)
        self.data_ptrs = [tensor.data_ptr() for tensor in (*parameters, *self.averages)]

        self.grad = torch.zeros(n, dtype=shadow_dtype, device=device)
        self.grads = self.views(self.grad)
        self.shadow: Tensor | None = None
        self.grad_fp32: Tensor | None = None  # gradients for the CPU's update, where `grad` is scaled or 16-bit
        self.leaves = parameters  # the tensors to which backward gives gradients
        if shadow_dtype is not None:
            self.shadow = torch.zeros_like(self.grad)
            self.leaves = [nn.Parameter(view) for view in self.views(self.shadow)]
            self.shadow.copy_(self.master)
            for parameter in parameters:
                parameter.grad = None

    def views(self, buffer: Tensor) -> list[Tensor]:
        """Views of a buffer in the parameters' shapes and memory formats."""
        return [
            buffer.as_strided(parameter.shape, parameter.stride(), start)
            for parameter, start in zip(self.parameters, self.layout.starts, strict=True)
        ]

    def upload_hyperparameters(self, betas: tuple[float, float], eps: float) -> None:
        """Copy betas and eps to the device if they have changed; without a change, nothing is captured."""
        if self.uploaded != (*betas, eps):
            self.uploaded = (*betas, eps)
            logs = [math.log(beta) if beta > 0 else -math.inf for beta in betas]
            self.hyperparameters.copy_(torch.tensor([*betas, eps, *logs], dtype=torch.float64))

    def check(self) -> None:
        """Raise ValueError if a parameter or average has left its buffer, or a gradient is sparse or misplaced."""
        for tensor, data_ptr in zip((*self.parameters, *self.averages), self.data_ptrs, strict=True):
            if tensor.data_ptr() != data_ptr:
                raise ValueError(
                    "params: a parameter, or its average, has left its flat buffer (moved, cast or held by a second "
                    "FusedAdam); build the optimizer after the last `.to()`"
                )
        for i, leaf in enumerate(self.leaves):
            if leaf.grad is not None and leaf.grad.layout != torch.strided:
                raise ValueError(
                    f"params: the gradient of parameter {i} of its group, {list(leaf.shape)}, is {leaf.grad.layout}; "
                    "it must be dense"
                )
        if self.shadow is not None and any(parameter.grad is not None for parameter in self.parameters):
            raise ValueError(
                "params: a float32 gradient in a group with a shadow_dtype; compute gradients of shadow_parameters()"
            )

    @torch.no_grad()
    def gather_grads(self) -> Tensor:
        """Copy all gradients into the buffer; until `zero_grad` each `.grad` is then a view of it."""
        self.check()
        self._copy_grads(None)
        for leaf, view in zip(self.leaves, self.grads, strict=True):
            leaf.grad = view
        return self.grad

    def _copy_grads(self, skip: int | None) -> None:
        """Copy the gradients into the buffer by one launch; a missing one is zero.

        skip: index of the one that is not copied.
        """
        views, grads, missing = [], [], []
        for i, (leaf, view) in enumerate(zip(self.leaves, self.grads, strict=True)):
            if leaf.grad is None:
                missing.append(view)
            elif leaf.grad is not view and i != skip:
                views.append(view)
                grads.append(leaf.grad)
        if missing:
            torch._foreach_zero_(missing)
        if views:
            torch._foreach_copy_(views, grads)

    def _large_grad(self) -> Tensor | None:
        """The large parameter's gradient, flat, if it can be read where backward left it; None if it must be copied."""
        if self.layout.large is None:
            return None
        grad, view = self.leaves[self.layout.large].grad, self.grads[self.layout.large]
        if grad is None or grad is view or grad.layout != torch.strided or grad.dtype != view.dtype:
            return None
        # The kernel is compiled for accesses of 16 bytes.
        if grad.device != view.device or grad.stride() != view.stride() or grad.data_ptr() % 16:
            return None
        return grad.as_strided((grad.numel(),), (1,))

    @torch.no_grad()
    def zero_grad(self, set_to_none: bool) -> None:
        """Set the gradients of leaves and parameters to None, or to zero in place."""
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
        """One step with the leaves' gradients. Arguments as in `FusedAdam.step`; share is its average_share."""
        large = self._large_grad()
        self._copy_grads(None if large is None else self.layout.large)
        buffers = self.master, self.exp_avg, self.exp_avg_sq, self.step
        if runs_triton(self.master):
            from kernels.adam import launch

            self.upload_hyperparameters(betas, eps)
            launch.adam_step(
                *buffers, self.semaphore, self.shadow, self.grad, self.lr, self.hyperparameters, grad_scale, found_inf,
                large, self.average, share,
            )  # fmt: skip
        elif self.master.device.type == "cpu":
            if found_inf is None or not found_inf.item() > 0:  # on a CPU reading it waits for nothing
                self._update_on_cpu(betas, eps, grad_scale, large)
                if self.average is not None and share is not None:
                    self.average.lerp_(self.master[self.layout.first_averaged :], share.reshape(()))
        else:
            reference.adam_step(
                *buffers, self.shadow, self.grad, self.lr,
                betas=betas, eps=eps, grad_scale=grad_scale, found_inf=found_inf,
                large=large, average=self.average, share=share,
            )  # fmt: skip
        # Views of the buffers have versions of their own, by which autograd sees that saved tensors have changed.
        increment_version([*self.parameters, *self.averages])
        if self.shadow is not None:
            increment_version(self.leaves)

    def _update_on_cpu(
        self, betas: tuple[float, float], eps: float, grad_scale: Tensor | None, large: Tensor | None
    ) -> None:
        """torch's fused update of the whole buffer; in two parts if the large gradient is elsewhere."""
        grads = [self.grad]
        if large is not None:
            grads = [part for part in (self.grad[: len(self.grad) - len(large)], large) if len(part)]
        sizes = [len(part) for part in grads]
        if self.shadow is not None or grad_scale is not None:
            if self.grad_fp32 is None:
                self.grad_fp32 = torch.empty_like(self.master)
            grad_fp32 = list(self.grad_fp32.split(sizes))  # torch's scaling would overwrite the gradients
            torch._foreach_copy_(grad_fp32, grads)
            if grad_scale is not None:
                self.grad_fp32.div_(grad_scale)
            grads = grad_fp32
        self.step += 1
        master, exp_avg, exp_avg_sq = (x.split(sizes) for x in (self.master, self.exp_avg, self.exp_avg_sq))
        torch._fused_adam_(
            master, grads, exp_avg, exp_avg_sq, [], [self.step] * len(grads),
            lr=self.lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        if self.shadow is not None:
            self.shadow.copy_(self.master)


@torch.no_grad()
def _rebind(tensor: Tensor, view: Tensor) -> None:
    """Make a tensor a view, keeping its values."""
    view.copy_(tensor.detach())
    tensor.data = view
