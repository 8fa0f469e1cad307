"""The public optimizer: Adam with one flat buffer, and one launch a step, for each parameter group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from kernels.adam.flat import Flat

SHADOW_DTYPES = (torch.bfloat16, torch.float16)
# What else torch.optim.Adam expects in a loaded group; `fused` keeps its step counts in float32 on the device.
TORCH_DEFAULTS = {
    "weight_decay": 0,
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": True,
    "decoupled_weight_decay": False,
}
UNSUPPORTED = ("weight_decay", "amsgrad", "maximize", "differentiable")  # torch.optim.Adam's; must be off


class FusedAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980, algorithm 1; no weight decay, no amsgrad): one launch over one flat buffer a group.

    Parameters become views of a flat float32 buffer, keeping values, shapes and memory formats; their averages become
    views of another. So move and cast modules before building the optimizer, never after. (torch.save of one parameter
    writes its group's whole buffer; safetensors does not.) `step` takes gradients from `.grad`. It reads a group's
    largest in place if it has 2^18 elements or more (a multiple of 16, and with an average if any other has one), and
    copies the rest into a flat buffer by one launch.

    Args:
        params: float32 parameters on one device, or group dictionaries, which may override every argument below. Their
            gradients must be dense. A group that sets weight_decay, amsgrad, maximize or differentiable is refused.
        lr: 0 or more. Stored as a float32 device tensor in `group["lr"]`, which a captured graph reads: `set_lr`, a
            scheduler of torch.optim.lr_scheduler and `load_state_dict` write it in place. A number assigned to
            `group["lr"]` takes effect in the next call of `step`, not in a replayed graph.
        betas: decay rates of the moments, in [0, 1).
        eps: 0 or more.
        shadow_dtype: torch.bfloat16 or torch.float16, for low-precision copies of the weights: run the forward pass on
            `shadow_parameters()`; `step` takes their gradients and rewrites them in the same launch. None: no copies.
        averages: parameter -> float32 tensor of its shape and device, a moving average that `step` updates in the same
            launch: `average += average_share * (parameter - average)`. Not part of `state_dict`.

    Differences from torch.optim.Adam:
        - All parameters of a group are updated and counted together: a missing gradient is zero (the moments decay and
          still move the parameter), where torch skips the parameter.
        - A captured graph keeps its `betas` and `eps` until `step` is called outside it.

    The step count is float32, as in torch, and stops at 2^24, where bias corrections have long been 1.

    Raises:
        ValueError: naming the argument that cannot be used.
    """

    _step_supports_amp_scaling = True  # GradScaler.step sets these two as attributes
    grad_scale: Tensor | None
    found_inf: Tensor | None

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float | Tensor,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        shadow_dtype: torch.dtype | None = None,
        averages: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        self._flats: list[Flat] = []
        params = list(params)
        if not params:
            raise ValueError("params: empty")
        averages = averages or {}
        defaults = {"lr": lr, "betas": betas, "eps": eps, "shadow_dtype": shadow_dtype, "averages": averages}
        super().__init__(params, defaults)
        if any(parameter not in self.state for parameter in averages):
            raise ValueError("averages: for a parameter that is in no group")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group and move its parameters into flat buffers of their own."""
        super().add_param_group(dict(param_group))
        group = self.param_groups[-1]
        given = group.pop("averages") or {}  # groups are printed and saved, averages are not
        averages = {parameter: given[parameter] for parameter in group["params"] if parameter in given}
        try:
            self._check(group)
            _check_averages(averages, group["params"])
        except ValueError:
            self.param_groups.pop()
            raise
        parameters = group["params"]
        group["betas"] = tuple(float(beta) for beta in group["betas"])
        group["lr"] = torch.full((), float(group["lr"]), device=parameters[0].device)
        flat = Flat(parameters, group["lr"], group["shadow_dtype"], averages)
        flat.upload_hyperparameters(group["betas"], group["eps"])
        self._flats.append(flat)
        moments = zip(parameters, flat.views(flat.exp_avg), flat.views(flat.exp_avg_sq), strict=True)
        for parameter, m, v in moments:
            self.state[parameter] = {"step": flat.step, "exp_avg": m, "exp_avg_sq": v}

    def _check(self, group: dict[str, Any]) -> None:
        parameters, shadow_dtype = group["params"], group["shadow_dtype"]
        _check_options(group)
        _check_hyperparameters(float(group["lr"]), group["betas"], group["eps"])
        if shadow_dtype is not None and shadow_dtype not in SHADOW_DTYPES:
            raise ValueError(f"shadow_dtype {shadow_dtype}: must be torch.bfloat16, torch.float16 or None")
        if sum(p.numel() for p in parameters) == 0:
            raise ValueError("params: a group is empty")
        if len(set(parameters)) < len(parameters):
            raise ValueError("params: a parameter appears twice in a group")
        device = self.param_groups[0]["params"][0].device
        for p in parameters:
            if p.dtype != torch.float32 or p.layout != torch.strided:
                raise ValueError(f"params: must be dense float32, got {p.dtype}, {p.layout}")
            if p.device != device:
                raise ValueError(f"params: must be on one device, got {device} and {p.device}")
            # empty_like keeps the strides only if they neither overlap nor leave gaps.
            if torch.empty_like(p, device="meta").stride() != p.stride():
                raise ValueError(f"params: strides {p.stride()} of {list(p.shape)} overlap or leave gaps")

    @property
    def flat_grad(self) -> list[Tensor]:
        """Each group's gradients in one buffer, float32 or its shadow_dtype, which the next `step` uses.

        Reading this copies them there: until `zero_grad` each `.grad` is a view of the buffer; a missing one is zero.
        """
        return [flat.gather_grads() for flat in self._flats]

    @property
    def averages(self) -> list[Tensor]:
        """The averages that `step` updates."""
        return [average for flat in self._flats for average in flat.averages]

    def shadow_parameters(self) -> dict[nn.Parameter, nn.Parameter]:
        """Parameter -> its low-precision copy for the forward pass, in groups with a shadow_dtype."""
        return {
            parameter: leaf
            for flat in self._flats
            if flat.shadow is not None
            for parameter, leaf in zip(flat.parameters, flat.leaves, strict=True)
        }

    @torch.no_grad()
    def refresh_shadows(self) -> None:
        """Round the parameters into their low-precision copies, after anything but `step` has written parameters."""
        for flat in self._flats:
            if flat.shadow is not None:
                flat.shadow.copy_(flat.master)
                increment_version(flat.leaves)

    def set_lr(self, value: float) -> None:
        """Set every group's learning rate, in captured graphs too. ValueError below 0 or not finite."""
        _check_hyperparameters(value, (0.0, 0.0), 0.0)
        for group, flat in zip(self.param_groups, self._flats, strict=True):
            flat.lr.fill_(value)
            group["lr"] = flat.lr

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None, so that backward stores its own; or to zero, so that it adds to them."""
        for flat in self._flats:
            flat.zero_grad(set_to_none)

    @torch.no_grad()
    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        grad_scale: Tensor | None = None,
        found_inf: Tensor | None = None,
        average_share: Tensor | None = None,
    ) -> Any:
        """Update all parameters and averages, without waiting for the device. Gradients stay as they are.

        Args:
            closure: recomputes the loss and returns it.
            grad_scale: one-element tensor that divides the gradients.
            found_inf: one-element tensor; if above 0, the step changes nothing, step counts and averages included.
            average_share: one-element tensor, the weight of the new parameters in the averages; required if there are
                averages.

        Raises:
            ValueError: naming the argument that cannot be used.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if hasattr(self, "found_inf"):
            if any(flat.shadow is not None for flat in self._flats):
                raise ValueError(
                    "shadow_dtype: GradScaler.step does not see the copies' gradients; check flat_grad, pass found_inf"
                )
            grad_scale = self.grad_scale if grad_scale is None else grad_scale
            found_inf = self.found_inf if found_inf is None else found_inf
        device = self._flats[0].master.device
        scalars = {"grad_scale": grad_scale, "found_inf": found_inf, "average_share": average_share}
        for name, value in scalars.items():
            if value is not None and not (isinstance(value, Tensor) and value.numel() == 1 and value.device == device):
                raise ValueError(f"{name}: must be a tensor of one element on {device}")
        if average_share is None and any(flat.averages for flat in self._flats):
            raise ValueError("average_share: missing, but there are averages")
        for group, flat in zip(self.param_groups, self._flats, strict=True):
            _check_options(group)
            flat.check()
        for group, flat in zip(self.param_groups, self._flats, strict=True):
            if group["lr"] is not flat.lr:
                flat.lr.fill_(group["lr"])
                group["lr"] = flat.lr
            flat.update(group["betas"], group["eps"], grad_scale, found_inf, average_share)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """A state that torch.optim.Adam can load too. Tensors are copies: torch keeps what it loads."""
        packed = super().state_dict()
        packed["state"] = {
            index: {name: value.clone() for name, value in entry.items()} for index, entry in packed["state"].items()
        }
        for group in packed["param_groups"]:
            del group["shadow_dtype"]
            group |= TORCH_DEFAULTS | {"lr": _shortest_decimal(float(group["lr"]))}
        return packed

    @torch.no_grad()
    def __setstate__(self, loaded: dict[str, Any]) -> None:
        """Copy what `load_state_dict` has prepared in place: captured graphs and modules keep their tensors."""
        steps = [
            _loaded_step(flat, group, loaded["state"])
            for flat, group in zip(self._flats, loaded["param_groups"], strict=True)
        ]
        for flat, group, new, step in zip(self._flats, self.param_groups, loaded["param_groups"], steps, strict=True):
            keep = {"params", "lr", "shadow_dtype", *TORCH_DEFAULTS}
            group |= {name: value for name, value in new.items() if name not in keep}
            group["betas"] = tuple(float(beta) for beta in new["betas"])
            flat.lr.fill_(float(new["lr"]))
            group["lr"] = flat.lr
            flat.step.fill_(step)
            for parameter in flat.parameters:
                for name in ("exp_avg", "exp_avg_sq"):
                    value = loaded["state"].get(parameter, {}).get(name, 0.0)
                    self.state[parameter][name].copy_(torch.as_tensor(value))
        self.refresh_shadows()

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("FusedAdam cannot be copied or pickled, since its parameters are views; use its state_dict()")


def _check_hyperparameters(lr: float, betas: tuple[float, ...], eps: float) -> None:
    if not (math.isfinite(lr) and lr >= 0):
        raise ValueError(f"lr {lr}: must be 0 or more")
    if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
        raise ValueError(f"betas {betas}: must be two numbers in [0, 1)")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps {eps}: must be 0 or more")


def _check_options(group: dict[str, Any]) -> None:
    """ValueError if a group asks for what torch.optim.Adam has and this optimizer has not."""
    if wrong := [name for name in UNSUPPORTED if group.get(name)]:
        raise ValueError(f"{', '.join(wrong)}: not supported by FusedAdam; use torch.optim.Adam")


def _check_averages(averages: dict[nn.Parameter, Tensor], parameters: list[nn.Parameter]) -> None:
    if len({*averages.values(), *parameters}) < len(averages) + len(parameters):
        raise ValueError("averages: one appears twice, or is a parameter")
    for parameter, average in averages.items():
        if average.dtype != torch.float32 or average.layout != torch.strided:
            raise ValueError(f"averages: must be dense float32, got {average.dtype}, {average.layout}")
        if average.shape != parameter.shape or average.device != parameter.device:
            what = f"{list(average.shape)} on {average.device}"
            raise ValueError(f"averages: {what} for a parameter {list(parameter.shape)} on {parameter.device}")


def _shortest_decimal(lr: float) -> float:
    """The shortest number that rounds to this float32: 0.0002, not 0.00019999999494757503."""
    short = float(f"{lr:.7g}")
    return short if torch.tensor(short).item() == lr else lr


def _loaded_step(flat: Flat, group: dict[str, Any], state: dict[Any, dict[str, Any]]) -> float:
    """The step count of a loaded group. ValueError if its hyperparameters, step counts or shapes cannot be used."""
    _check_hyperparameters(float(group["lr"]), group["betas"], group["eps"])
    if wrong := [name for name in UNSUPPORTED if group.get(name)]:
        raise ValueError(f"state_dict: {', '.join(wrong)} is not supported")
    steps = {float(state.get(parameter, {}).get("step", 0.0)) for parameter in flat.parameters}
    if len(steps) > 1:
        raise ValueError(f"state_dict: parameters of one group have taken {sorted(steps)} steps, must be one number")
    for parameter in flat.parameters:
        for name in ("exp_avg", "exp_avg_sq"):
            value = state.get(parameter, {}).get(name)
            if value is not None and value.shape != parameter.shape:
                raise ValueError(f"state_dict: {name} {list(value.shape)} for a parameter {list(parameter.shape)}")
    return steps.pop()
