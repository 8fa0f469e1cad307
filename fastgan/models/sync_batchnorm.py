"""Batch normalisation over the batch of all ranks, on CPUs too: torch.nn.SyncBatchNorm needs GPUs and NCCL.

Legend: W ranks, n numbers of a channel on one rank, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.runtime.distributed import Communicator

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MAX_GATHER_RANKS = 32  # a gather is one message instead of two, but grows with the number of ranks (docs/scale.md)


class SyncBatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm1d or 2d, x [B, C] or [B, C, H, W], with the mean and variance of all ranks' images in training.

    Statistics are float32 (float64 for float64 input), the output has the dtype of x, and running statistics are equal
    on all ranks. Forward takes one all-gather (two all-reduces above 32 ranks), backward one all-reduce.
    """

    def __init__(self, like: nn.BatchNorm1d | nn.BatchNorm2d, comm: Communicator) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, device="meta")
        assert like.momentum is not None and like.affine and like.track_running_stats
        self._parameters, self._buffers, self.training = like._parameters, like._buffers, like.training
        self.comm = comm

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() in (2, 4)

    def forward(self, input: Tensor) -> Tensor:
        return self.over_ranks(input, update_stats=True) if self.training else super().forward(input)

    def over_ranks(self, x: Tensor, update_stats: bool) -> Tensor:
        """The forward pass of training; `update_stats`: update the running statistics."""
        y, mean_C, variance_C = _Normalise.apply(x, self.weight, self.bias, self.eps, self.comm)
        if update_stats:
            count = x.numel() // x.shape[1] * self.comm.world_size
            assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
            with torch.no_grad():
                self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
                unbiased = variance_C * (count / (count - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
                assert self.num_batches_tracked is not None
                self.num_batches_tracked += 1
        result: Tensor = y
        return result


class _Normalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, with mean [C] and biased variance [C] over all ranks.

    A rank's gradient of y is W times the job's (runtime/distributed.py), so sums over ranks become means.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, comm: Communicator
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x if x.dtype == torch.float64 else x.float()
        over = [dim for dim in range(x.dim()) if dim != 1]
        own_variance, own_mean = torch.var_mean(wide, over, correction=0)
        # Ranks have equal batches, so variance = mean of variances + variance of means; E[x^2] - E[x]^2 would cancel.
        if comm.world_size <= MAX_GATHER_RANKS:
            means_WC, variances_WC = comm.gather(torch.stack((own_mean, own_variance))).unbind(1)
            mean = means_WC.mean(0)
            variance = (variances_WC + (means_WC - mean).square()).mean(0)
        else:
            mean = own_mean.clone()
            comm.all_reduce_mean_([mean])
            variance = own_variance + (own_mean - mean).square()
            comm.all_reduce_mean_([variance])
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.comm = comm
        ctx.mark_non_differentiable(mean, variance)
        shape = (1, -1, *(1,) * (x.dim() - 2))
        factor = scale * weight
        y = wide * factor.view(shape) + (bias - mean * factor).view(shape)
        return y.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, scale = ctx.saved_tensors
        shape = (1, -1, *(1,) * (x.dim() - 2))
        wide = grad.to(mean.dtype)
        over = [dim for dim in range(x.dim()) if dim != 1]
        unit = (x.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        for_bias, for_weight = wide.sum(over), (wide * unit).sum(over)
        for_x = None
        if ctx.needs_input_grad[0]:
            means = torch.stack((for_bias, for_weight)) / (x.numel() // x.shape[1])
            ctx.comm.all_reduce_mean_([means])
            along, tilt = means[0].view(shape), means[1].view(shape)
            for_x = ((wide - along - unit * tilt) * (scale * weight).view(shape)).to(x.dtype)
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        return for_x, for_weight if needs_weight else None, for_bias if needs_bias else None, None, None


def exclude_from_compile() -> None:
    """Keep communication between ranks out of compiled networks. Called on demand, since it imports the compiler."""
    SyncBatchNorm.over_ranks = torch.compiler.disable(SyncBatchNorm.over_ranks)  # type: ignore[method-assign]


def convert_sync_batchnorm(network: nn.Module, comm: Communicator) -> None:
    """Replace every batch normalisation of a network by SyncBatchNorm, in place; parameter names stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, BATCH_NORMS) and not isinstance(child, SyncBatchNorm):
                setattr(module, name, SyncBatchNorm(child, comm))
