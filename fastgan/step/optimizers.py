"""Adam for a step: by our kernel where it runs, by torch elsewhere; one way to make, step, save and load both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import kernels
from fastgan.config.schema import TrainConfig
from fastgan.models.networks import Generator, Networks
from fastgan.step.mixed import rounded_parameters

BETAS = (0.5, 0.999)
Adam = torch.optim.Optimizer


def make_adam(
    config: TrainConfig,
    precision: torch.dtype,
    networks: Networks,
    parameters: list[nn.Parameter],
    prior: list[nn.Parameter],
    average: Generator | None = None,
) -> Adam:
    """Adam for some of the networks' parameters, and for the prior's logits at their own step size.

    By our kernel where it runs, and there under bfloat16 with the copies that the networks read; elsewhere by torch,
    which on a CPU takes the gradients where backward leaves them.

    precision: of the step's products.
    average: the averaged generator, whose weights our kernel moves with those that it follows.
    """
    settings: dict[str, Any] = {"lr": config.learning_rate, "betas": BETAS}
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if config.prior_learning_rate is None:
        groups[0]["params"] = [*parameters, *prior]
    elif prior:
        groups.append({"params": prior, "lr": config.prior_learning_rate})
    if not kernels.runs_triton(parameters[0]):
        on_gpu = parameters[0].is_cuda
        optimizer = torch.optim.Adam(groups, fused=True, capturable=on_gpu, **settings)
        for group in optimizer.param_groups:
            # A tensor, which a captured step reads anew (on a GPU in float32, which its kernel wants).
            dtype = torch.float32 if on_gpu else torch.float64
            group["lr"] = torch.tensor(group["lr"], dtype=dtype, device=parameters[0].device)
        return optimizer
    if average is not None:
        settings["averages"] = dict(zip(networks.generator.parameters(), average.parameters(), strict=True))
    if precision != torch.bfloat16:  # float16's gradients are a GradScaler's to see
        return kernels.FusedAdam(groups, **settings)
    for parameter in parameters:
        _lay_channels_last(parameter)
    rounded = rounded_parameters(networks)
    split: list[dict[str, Any]] = []
    for group in groups:
        low = [p for p in group["params"] if p in rounded]
        split.append(group | {"params": low, "shadow_dtype": precision})
        split.append(group | {"params": [p for p in group["params"] if p not in rounded], "shadow_dtype": None})
    return kernels.FusedAdam([group for group in split if group["params"]], **settings)


@torch.no_grad()
def _lay_channels_last(parameter: nn.Parameter) -> None:
    """Lay a convolution's weight out as cuDNN's 16-bit convolutions want it, and so its copy and all that it makes.

    Else cuDNN brings images, weights and results of each convolution into this layout and back. The strides say so
    also where one channel leaves both layouts the same to torch, and its compiler would take the other one.
    """
    if parameter.dim() == 4:
        _, channels, height, width = parameter.shape
        strides = (channels * height * width, 1, width * channels, channels)
        parameter.data = torch.empty_strided(parameter.shape, strides, device=parameter.device).copy_(parameter)


def averages_of(optimizer: Adam) -> list[Tensor]:
    """The averaged weights that its update moves; if there are any, it has to be told how far (average_share)."""
    return optimizer.averages if isinstance(optimizer, kernels.FusedAdam) else []


def step_unless(optimizer: Adam, bad: Tensor, *, average_share: Tensor | None = None) -> None:
    """Update, unless the one-element float32 tensor `bad` is above 0; nothing waits for the device."""
    if isinstance(optimizer, kernels.FusedAdam):
        optimizer.step(found_inf=bad, average_share=average_share)
        return
    optimizer.found_inf = bad  # type: ignore[attr-defined]  # as a GradScaler hands it to torch's fused update
    optimizer.step()


def parameters_of(optimizer: Adam) -> list[nn.Parameter]:
    """All parameters, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def gradients_of(optimizer: Adam) -> list[Tensor]:
    """All gradients, to be changed in place before the next update.

    Of our kernel a flat buffer a group, into which they are copied; else those of the parameters.
    """
    if isinstance(optimizer, kernels.FusedAdam):
        return optimizer.flat_grad
    return [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]


def shadows_of(*optimizers: Adam) -> dict[nn.Parameter, nn.Parameter]:
    """Parameter -> its copy in low precision, of those for which our kernel writes one."""
    found: dict[nn.Parameter, nn.Parameter] = {}
    for optimizer in optimizers:
        if isinstance(optimizer, kernels.FusedAdam):
            found |= optimizer.shadow_parameters()
    return found


def refresh_shadows(optimizer: Adam) -> None:
    """Round the parameters into such copies, after anything but an update has written them."""
    if isinstance(optimizer, kernels.FusedAdam):
        optimizer.refresh_shadows()


def load_state(optimizer: Adam, state: dict[nn.Parameter, dict[str, Tensor]]) -> None:
    """Take over each parameter's moments and step count, in place once the optimiser has any."""
    if isinstance(optimizer, kernels.FusedAdam) or not optimizer.state:
        numbered = {index: state[parameter] for index, parameter in enumerate(parameters_of(optimizer))}
        optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    for parameter, values in state.items():
        for key, value in values.items():
            optimizer.state[parameter][key].copy_(value)
