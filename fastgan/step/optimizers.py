"""The updates of a step: both Adam optimisers, run by our kernel where possible and by torch elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import kernels
from fastgan.config.schema import TrainConfig
from fastgan.models.elastic_infogan import ElasticInfoGAN
from fastgan.models.networks import Generator, Networks
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.runtime.precision import Precision
from fastgan.step.mixed import LowPrecision, rounded_parameters
from fastgan.step.nonfinite import NonFiniteGuard, first_bias

BETAS = (0.5, 0.999)
FIRST_SCALE = 2.0**10  # float16's first loss scale; with torch's 2^16 the first steps would overflow and be skipped
Adam = torch.optim.Optimizer


class Optimizers:
    """The Adam of each side, and what surrounds an update: loss scale, ranks, the guard, low-precision copies.

    Args:
        model: updated in place; it is on its device already.
        precision: of the step's products.
        guard: checks each loss, and the gradients that arrive last.
        comm: the ranks whose gradients are averaged.

    `low` holds the copies that a step's products read; None in full precision.
    """

    def __init__(
        self,
        model: ElasticInfoGAN,
        config: TrainConfig,
        precision: Precision,
        guard: NonFiniteGuard,
        comm: Communicator = SINGLE_PROCESS,
    ) -> None:
        self.config, self.guard, self.comm = config, guard, comm
        networks, half = model.networks, precision.dtype == torch.float16
        self._prior = [model.prior.logits] if isinstance(model.prior.logits, nn.Parameter) else []
        self._names = {p: name for name, p in networks.named_parameters()} | dict.fromkeys(self._prior, "prior")
        adam = partial(make_adam, config, precision.dtype, networks)
        self.d_optimizer = adam(list(networks.discriminator_parameters()), [], rate=config.discriminator_learning_rate)
        self.g_optimizer = adam(list(networks.generator_parameters()), self._prior, model.average)
        self.by_name = {"d_optimizer": self.d_optimizer, "g_optimizer": self.g_optimizer}
        copies = low_precision_copies(self.d_optimizer, self.g_optimizer)
        self.low = LowPrecision(networks, precision.dtype, copies or None) if precision.low else None
        self._one = torch.ones_like(guard.found_nonfinite)  # the gradient of a loss; backward would allocate one
        self.scaler = torch.amp.grad_scaler.GradScaler(self._one.device.type, init_scale=FIRST_SCALE, enabled=half)
        # The parameters that gradients reach last: a non-finite value shows there. float16's are checked by the scaler.
        last_d = [first_bias(networks.front_end)]
        last_g = [first_bias(networks.generator), first_bias(networks.code_head), *self._prior]
        self._last_reached = {
            optimizer: [] if half else [copies.get(p, p) for p in last]
            for optimizer, last in ((self.d_optimizer, last_d), (self.g_optimizer, last_g))
        }

    @property
    def moves_average(self) -> bool:
        """Whether G's update also updates the averaged weights; it then needs `average_share`."""
        return len(averages_of(self.g_optimizer)) > 0  # bool of a list would break the compiled step

    def update(self, optimizer: Adam, loss: Tensor, average_share: Tensor | None = None) -> None:
        """Differentiate this rank's loss and update the parameters of `optimizer` by the mean gradient of all ranks."""
        self._apply(optimizer, self._differentiate(loss), average_share)

    def update_all(self, loss: Tensor, average_share: Tensor | None = None) -> None:
        """As `update`, for both sides by one loss. Parameters that it does not reach stay as they are."""
        loss = self._differentiate(loss)
        self._apply(self.d_optimizer, loss)
        self._apply(self.g_optimizer, loss, average_share)
        self.update_scale()

    def _differentiate(self, loss: Tensor) -> Tensor:
        """Compute the gradients; returns the loss whose finiteness an update depends on."""
        if self.scaler.is_enabled():  # after a non-finite loss all gradients become infinite, so the update is skipped
            self.guard.check(self._mean_over_ranks(loss), [])
            loss = loss / (1.0 - self.guard.found_nonfinite)
        self.scaler.scale(loss).backward(self._one.to(loss.dtype))
        return loss

    def _apply(self, optimizer: Adam, loss: Tensor, average_share: Tensor | None = None) -> None:
        """Update the parameters of `optimizer` by the gradients that are there."""
        masters = parameters_of(optimizer)
        if self.low is not None:
            self.low.take_gradients(masters)
        # A non-finite value on one rank makes the mean non-finite on all: they freeze together.
        mean = self._mean_over_ranks(loss, optimizer)
        more = {} if average_share is None or not averages_of(optimizer) else {"average_share": average_share}
        if self.scaler.is_enabled():
            self.scaler.step(optimizer, **more)
        else:
            self.guard.check(mean, [p.grad for p in self._last_reached[optimizer] if p.grad is not None])
            step_unless(optimizer, self.guard.found_nonfinite, **more)
        optimizer.zero_grad(set_to_none=True)
        if self.low is not None:
            self.low.copy_from_masters(masters)

    def _mean_over_ranks(self, loss: Tensor, optimizer: Adam | None = None) -> Tensor:
        """The mean of a loss over ranks; the same all-reduce averages the gradients of `optimizer` in place."""
        if self.comm.world_size == 1:
            return loss
        mean = loss.detach().clone()
        self.comm.all_reduce_mean_([*(gradients_of(optimizer) if optimizer is not None else ()), mean])
        return mean

    def update_scale(self) -> None:
        """After both updates: adjust float16's loss scale, and count the step if it overflowed."""
        if self.scaler.is_enabled():
            before = self._scale().clone()
            self.scaler.update()
            self.guard.count_skip(self._scale() < before)

    def set_learning_rate(self, value: float, *, same: bool = False) -> None:
        """Set Adam's learning rate, and those that have their own in proportion, in captured steps as well.

        Args:
            same: set `value` for all.
        """
        for optimizer in self.by_name.values():
            for group in optimizer.param_groups:
                own = self._learning_rate(optimizer, group["params"])
                group["lr"].fill_(value if same else own * (value / self.config.learning_rate))

    def _learning_rate(self, optimizer: Adam, parameters: list[nn.Parameter]) -> float:
        """The learning rate that the settings give to one group of parameters."""
        config, is_prior = self.config, any(parameters[0] is logits for logits in self._prior)
        own = config.prior_learning_rate if is_prior else None
        if optimizer is self.d_optimizer:
            own = config.discriminator_learning_rate
        return own or config.learning_rate

    def drop_gradients(self) -> None:
        """Drop the gradients of an update that was interrupted half way."""
        for optimizer in self.by_name.values():
            optimizer.zero_grad(set_to_none=True)
        if self.low is not None:
            self.low.drop_gradients()
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()  # how far each update was

    def refresh_copies(self) -> None:
        """Round the weights into their copies, after something other than an update has written them."""
        for optimizer in self.by_name.values():
            refresh_copies(optimizer)
        if self.low is not None:
            self.low.copy_from_masters(self._names)

    def live_state(self) -> dict[str, Tensor]:
        """Every tensor that an update changes besides the model's (the guard's included), by name; not copied."""
        state = self._adam_state() | self.guard.state()
        if self.low is not None:
            state |= {f"low.{name}": value for name, value in self.low.networks.state_dict().items()}
        if self.scaler.is_enabled():
            state["scaler.scale"] = self._scale()
            assert self.scaler._growth_tracker is not None
            state["scaler.growth_tracker"] = self.scaler._growth_tracker
        return state

    def training_state(self) -> dict[str, Tensor]:
        """What resuming needs: moments, step counts, and for float16 the loss scale and the number of overflows."""
        state = self._adam_state()
        state |= {f"scaler.{k}": torch.tensor(v, dtype=torch.float64) for k, v in self.scaler.state_dict().items()}
        if self.scaler.is_enabled():
            state["guard.skipped"] = self.guard.skipped
        return state

    def _adam_state(self) -> dict[str, Tensor]:
        """The optimisers' tensors, by the names of their parameters."""
        return {
            f"{name}.{self._names[parameter]}.{key}": value
            for name, optimizer in self.by_name.items()
            for parameter in parameters_of(optimizer)
            for key, value in optimizer.state[parameter].items()
        }

    def load_state(self, training: dict[str, Tensor]) -> None:
        """Continue from `training_state`, after the model was loaded; in place, for captured graphs."""
        for name, optimizer in self.by_name.items():
            state: dict[nn.Parameter, dict[str, Tensor]] = {}
            for parameter in parameters_of(optimizer):
                prefix = f"{name}.{self._names[parameter]}."
                state[parameter] = {
                    key.removeprefix(prefix): value
                    for key, value in training.items()
                    if key.rpartition(".")[0] + "." == prefix
                }
            load_adam(optimizer, state)
        scaler = {k.removeprefix("scaler."): v.item() for k, v in training.items() if k.startswith("scaler.")}
        if scaler:
            whole = {"growth_interval", "_growth_tracker"}
            self.scaler.load_state_dict({k: int(v) if k in whole else v for k, v in scaler.items()})
        self.refresh_copies()

    @torch.no_grad()
    def forget(self) -> None:
        """Zero all moments and step counts, in place."""
        for value in self._adam_state().values():
            value.zero_()

    @torch.no_grad()
    def restart(self) -> None:
        """Start again with a newly initialised model, in place."""
        self.forget()
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": FIRST_SCALE, "_growth_tracker": 0})
        self.refresh_copies()

    def _scale(self) -> Tensor:
        """float16's loss scale, not copied."""
        if self.scaler._scale is None:
            self.scaler.scale(torch.zeros_like(self._one))  # makes it
        assert self.scaler._scale is not None
        return self.scaler._scale


def make_adam(
    config: TrainConfig,
    precision: torch.dtype,
    networks: Networks,
    parameters: list[nn.Parameter],
    prior: list[nn.Parameter],
    average: Generator | None = None,
    rate: float | None = None,
) -> Adam:
    """Adam for some of the networks' parameters, and for the prior's logits at their own learning rate.

    Our kernel where it runs, under bfloat16 with the low-precision copies; elsewhere torch's, which on a CPU reads the
    gradients where backward leaves them.

    Args:
        precision: of the step's products.
        average: the averaged generator, whose weights our kernel updates together with the generator's.
        rate: the learning rate; left out, that of the run.
    """
    settings: dict[str, Any] = {"lr": rate or config.learning_rate, "betas": BETAS}
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if config.prior_learning_rate is None:
        groups[0]["params"] = [*parameters, *prior]
    elif prior:
        groups.append({"params": prior, "lr": config.prior_learning_rate})
    if not kernels.runs_triton(parameters[0]):
        on_gpu = parameters[0].is_cuda
        optimizer = torch.optim.Adam(groups, fused=True, capturable=on_gpu, **settings)
        for group in optimizer.param_groups:
            # A tensor, which each replay of a captured step reads (on a GPU in float32, as torch's kernel requires).
            dtype = torch.float32 if on_gpu else torch.float64
            group["lr"] = torch.tensor(group["lr"], dtype=dtype, device=parameters[0].device)
        return optimizer
    if average is not None:
        settings["averages"] = dict(zip(networks.generator.parameters(), average.parameters(), strict=True))
    if precision != torch.bfloat16:  # float16's gradients are left to GradScaler
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
    """Put a convolution's weight into channels-last, as cuDNN's 16-bit convolutions want it; copies and results follow.

    Otherwise cuDNN converts the images, weights and results of each convolution to this layout and back. The strides
    are set explicitly, since with one channel both layouts look the same to torch, and its compiler picks the other.
    """
    if parameter.dim() == 4:
        _, channels, height, width = parameter.shape
        strides = (channels * height * width, 1, width * channels, channels)
        parameter.data = torch.empty_strided(parameter.shape, strides, device=parameter.device).copy_(parameter)


def averages_of(optimizer: Adam) -> list[Tensor]:
    """The averaged weights that its update also updates; if there are any, `step` needs `average_share`."""
    return optimizer.averages if isinstance(optimizer, kernels.FusedAdam) else []


def step_unless(optimizer: Adam, found_inf: Tensor, *, average_share: Tensor | None = None) -> None:
    """Update unless the one-element float32 tensor `found_inf` is above 0, without waiting for the device."""
    if isinstance(optimizer, kernels.FusedAdam):
        optimizer.step(found_inf=found_inf, average_share=average_share)
        return
    optimizer.found_inf = found_inf  # type: ignore[attr-defined]  # as GradScaler passes it to torch's fused update
    optimizer.step()


def parameters_of(optimizer: Adam) -> list[nn.Parameter]:
    """All parameters, in order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def gradients_of(optimizer: Adam) -> list[Tensor]:
    """All gradients, which may be changed in place before the next update.

    For our kernel one flat buffer per group, into which they are copied; otherwise those of the parameters.
    """
    if isinstance(optimizer, kernels.FusedAdam):
        return optimizer.flat_grad
    return [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]


def low_precision_copies(*optimizers: Adam) -> dict[nn.Parameter, nn.Parameter]:
    """Parameter -> its low-precision copy, for the parameters whose copies our kernel writes."""
    found: dict[nn.Parameter, nn.Parameter] = {}
    for optimizer in optimizers:
        if isinstance(optimizer, kernels.FusedAdam):
            found |= optimizer.shadow_parameters()
    return found


def refresh_copies(optimizer: Adam) -> None:
    """Round the parameters into the copies that our kernel writes, after something else has changed them."""
    if isinstance(optimizer, kernels.FusedAdam):
        optimizer.refresh_shadows()


def load_adam(optimizer: Adam, state: dict[nn.Parameter, dict[str, Tensor]]) -> None:
    """Load each parameter's moments and step count, in place if the optimiser already has some."""
    if isinstance(optimizer, kernels.FusedAdam) or not optimizer.state:
        numbered = {index: state[parameter] for index, parameter in enumerate(parameters_of(optimizer))}
        optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    for parameter, values in state.items():
        for key, value in values.items():
            optimizer.state[parameter][key].copy_(value)
