"""The whole model of a run: its networks, the class prior and the averaged generator; its state is a checkpoint's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from fastgan.models.networks import Generator, Networks
from fastgan.models.prior import ClassPrior
from fastgan.models.sync_batchnorm import NORMALISING, SyncBatchNorm
from fastgan.runtime.distributed import Communicator


class ElasticInfoGAN(nn.Module):
    """All that sampling and evaluation need.

    Args:
        average: the averaged generator, an exponential moving average (EMA) of the generator's weights and of its
            normalisation's running averages; None without one.
    """

    def __init__(self, networks: Networks, prior: ClassPrior, average: Generator | None = None) -> None:
        super().__init__()
        self.networks, self.prior, self.average = networks, prior, average

    @property
    def sampling_generator(self) -> Generator:
        """The generator that draws samples: the averaged one, where there is one."""
        return self.average if self.average is not None else self.networks.generator

    @torch.no_grad()
    def update_ema(self, share: Tensor, *, weights: bool) -> None:
        """Move the average by a share of the way to the generator: running averages, and with `weights` the weights."""
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
        """Begin anew, in place: weights drawn from `seed`, the prior as given, the average where the generator is."""
        self.networks.load_state_dict(Networks(self.networks.shape).initialise(seed).state_dict())
        self.prior.load_state_dict(prior.state_dict())
        if self.average is not None:
            self.average.load_state_dict(self.networks.generator.state_dict())

    def sync_running_stats(self, comm: Communicator) -> None:
        """Give all ranks the same running averages, the mean of theirs, before they are read: a call of all ranks."""
        own = (m for m in self.modules() if isinstance(m, NORMALISING) and not isinstance(m, SyncBatchNorm))
        comm.all_reduce_mean_(_float_buffers(own))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """As nn.Module's, a child at a time: what belongs to none is left out, and an error names the child's class."""
        missing, unexpected = [], []
        for owner, module in self.named_children():
            prefix = f"{owner}."
            own = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
            found = module.load_state_dict(own, strict, assign)
            missing += [prefix + key for key in found.missing_keys]
            unexpected += [prefix + key for key in found.unexpected_keys]
        return _IncompatibleKeys(missing, unexpected)


def ema_share(steps: Tensor, decay: float) -> Tensor:
    """How much of the way to the generator its average goes, after so many steps.

    The decay is at most (1 + t) / (10 + t) after t steps: the weights that training began with are soon forgotten.
    """
    return (9.0 / (10.0 + steps)).clamp_min(1.0 - decay)


def _float_buffers(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The running averages of normalisation layers."""
    return [buffer for module in modules for buffer in module.buffers(recurse=False) if buffer.is_floating_point()]
