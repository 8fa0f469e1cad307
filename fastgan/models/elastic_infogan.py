"""The whole model of a run: networks, class prior and averaged generator. Its state_dict is saved in checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from fastgan.models.networks import Generator, Networks
from fastgan.models.prior import ClassPrior
from fastgan.models.sync_batchnorm import BATCH_NORMS, SyncBatchNorm
from fastgan.runtime.distributed import Communicator


class ElasticInfoGAN(nn.Module):
    """Everything that sampling and evaluation need.

    Args:
        average: an exponential moving average (EMA) of the generator: of its weights and of the running statistics of
            its batch normalisation; None for no average.
    """

    def __init__(self, networks: Networks, prior: ClassPrior, average: Generator | None = None) -> None:
        super().__init__()
        self.networks, self.prior, self.average = networks, prior, average

    @property
    def sampling_generator(self) -> Generator:
        """The generator to sample from: the averaged one if there is one."""
        return self.average if self.average is not None else self.networks.generator

    @torch.no_grad()
    def update_ema(self, share: Tensor, *, weights: bool) -> None:
        """average += share * (generator - average): of the running statistics, and with `weights` of the weights too.

        Args:
            share: scalar tensor in [0, 1], see `ema_share`.
        """
        assert self.average is not None
        ours, theirs = (
            [*(owner.parameters() if weights else ()), *_float_buffers(owner.modules())]
            for owner in (self.average, self.networks.generator)
        )
        share = share.to(ours[0].dtype)
        if not ours[0].is_cuda:  # one pass over the memory instead of three
            torch._foreach_lerp_(ours, theirs, [share] * len(ours))
            return
        way = torch._foreach_sub(theirs, ours)
        torch._foreach_mul_(way, share)
        torch._foreach_add_(ours, way)

    def restart(self, seed: int, prior: ClassPrior) -> None:
        """Reset in place: weights drawn from `seed`, the given prior, the average equal to the generator."""
        self.networks.load_state_dict(Networks(self.networks.shape).initialise(seed).state_dict())
        self.prior.load_state_dict(prior.state_dict())
        if self.average is not None:
            self.average.load_state_dict(self.networks.generator.state_dict())

    def sync_running_stats(self, comm: Communicator) -> None:
        """Average the running statistics of batch normalisation over ranks, before they are read. Call on all ranks."""
        own = (m for m in self.modules() if isinstance(m, BATCH_NORMS) and not isinstance(m, SyncBatchNorm))
        comm.all_reduce_mean_(_float_buffers(own))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """As nn.Module's, child by child: keys of no child are ignored, and an error names the child's class."""
        missing, unexpected = [], []
        for owner, module in self.named_children():
            prefix = f"{owner}."
            own = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
            found = module.load_state_dict(own, strict, assign)
            missing += [prefix + key for key in found.missing_keys]
            unexpected += [prefix + key for key in found.unexpected_keys]
        return _IncompatibleKeys(missing, unexpected)


def ema_share(steps: Tensor, decay: float) -> Tensor:
    """1 - decay of the average after `steps` steps, a tensor like `steps`.

    After t steps the decay is at most (1 + t) / (10 + t), so the initial weights are soon forgotten.
    """
    return (9.0 / (10.0 + steps)).clamp_min(1.0 - decay)


def _float_buffers(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The running means and variances of batch normalisation layers."""
    return [buffer for module in modules for buffer in module.buffers(recurse=False) if buffer.is_floating_point()]
