"""One training iteration: a discriminator step, then a generator step (RECIPE: the authors' order of updates).

What the literal loop computes and never uses is left out, and every update stays what it was:
- F is updated by D's loss alone, so the transform's pass through F needs no graph, Q reads detached features,
  and the G step asks for no gradient of F's or D's weights.
- G runs forward once; the D step sees its image detached, the G step with its graph.

Legend: B batch, K classes, Z noise, H features, D embedding, CHW image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import kernels
from fastgan.config.schema import TrainConfig
from fastgan.models.average import approach, float_buffers, way_to_go
from fastgan.models.networks import Generator, Networks, frozen
from fastgan.models.prior import ClassPrior
from fastgan.models.sync_batchnorm import keep_from_compiler, synchronise
from fastgan.runtime import precision
from fastgan.runtime.distributed import ALONE, Gang
from fastgan.seeding import stream_seed
from fastgan.step.compile import Compiled
from fastgan.step.mixed import LowPrecision
from fastgan.step.nonfinite import Guard, first_bias
from fastgan.step.objectives import Objectives
from fastgan.step.optimizers import (
    averages_of,
    gradients_of,
    make_adam,
    parameters_of,
    refresh_shadows,
    shadows_of,
    step_unless,
)
from fastgan.step.optimizers import load_state as load_adam

FIRST_SCALE = 2.0**10  # of float16's losses; it overflows at 65,504, and torch's 2^16 would lose a run's first steps


class Step:
    """The D and G update of one batch, with its optimisers, counters and the averaged generator.

    Args:
        networks, prior: on `device`, in training mode; updated in place.
        config: batch size, temperatures, loss weights, precision, seed.
        gang: the ranks that train together, each on its share of a batch: one all-reduce an update.

    `images_seen` is the clock (int64 tensor): every draw of a step follows from (seed, images_seen). All that a step
    reads stays where it is, and it waits for nothing, so that it can be captured (cuda_graphs.py).
    """

    def __init__(
        self, networks: Networks, prior: ClassPrior, config: TrainConfig, device: torch.device, gang: Gang = ALONE
    ) -> None:
        self.networks, self.prior, self.config, self.device, self.gang = networks, prior, config, device, gang
        self.images_seen = torch.zeros((), dtype=torch.int64, device=device)
        self._one = torch.ones((), device=device)  # the gradient of a loss; backward would make one anew
        self.noise_seed = torch.tensor(stream_seed(config.seed, "noise"), device=device)
        learned = {"prior": prior.logits} if isinstance(prior.logits, nn.Parameter) else {}
        if gang.count > 1 and config.sync_batchnorm:
            synchronise(networks, gang)
        self.guard = Guard(networks, device)
        self.precision = precision.for_training(config, device)
        self._names = {p: name for name, p in [*networks.named_parameters(), *learned.items()]}
        self.average = copy.deepcopy(networks.generator) if config.average_decay > 0 else None
        adam = partial(make_adam, config, self.precision.dtype, networks)
        self.d_optimizer = adam(list(networks.discriminator_side()), [])
        self.g_optimizer = adam(list(networks.generator_side()), list(learned.values()), self.average)
        shadows = shadows_of(self.d_optimizer, self.g_optimizer)
        self.low = LowPrecision(networks, self.precision.dtype, shadows or None) if self.precision.low else None
        self._running = self.low.networks if self.low is not None else networks  # what a step's products read
        half = self.precision.dtype == torch.float16
        self.scaler = torch.amp.grad_scaler.GradScaler(device.type, init_scale=FIRST_SCALE, enabled=half)
        # What each update's gradients reach last, with all that is not finite; float16's are the scaler's to look at.
        last_d = [first_bias(networks.front_end)]
        last_g = [first_bias(networks.generator), first_bias(networks.code_head), *learned.values()]
        self._last_reached = {
            optimizer: [] if half else [shadows.get(p, p) for p in last]
            for optimizer, last in ((self.d_optimizer, last_d), (self.g_optimizer, last_g))
        }
        # What may be compiled is called through these names.
        self._noise: Callable[..., Tensor] = self.noise
        self._generator: Callable[..., Any] = self._running.generator
        self._objectives = Objectives(self._running, prior, config, gang)
        self._of_d: Callable[..., Any] = self._objectives.of_discriminator
        self._of_g: Callable[..., Any] = self._objectives.of_generator
        self._share: Callable[..., Any] = self.share
        self._finish: Callable[..., Tensor] = self.finish
        self.compiled: list[Compiled] = []
        if config.compile and device.type == "cuda":
            self.compile()

    def compile(self) -> None:
        """Compile the networks and the counter-based random numbers, some 300 tiny integer operations: on a GPU.

        On a CPU nothing gains by it. Networks are oneDNN's products and convolutions already (compiled 0.82 to 0.94 of
        eager's speed, after 50 s), and the numbers NumPy's: 0.16 ms of a step of 100 ms, after 23 s.
        """
        keep_from_compiler()
        # Each side's losses with the networks below them, but what ranks say to each other is no part of a compiled
        # function: of many ranks these are not compiled as a whole.
        if self.gang.count > 1:
            self.compiled += self._objectives.compile_networks()
        for name in (
            "_noise",
            "_generator",
            *(("_of_d", "_of_g") if self.gang.count == 1 else ()),
            "_share",
            "_finish",
        ):
            self.compiled.append(Compiled(getattr(self, name)))
            setattr(self, name, self.compiled[-1])

    def leave_compiler(self, error: Exception) -> bool:
        """Go on eagerly after a step that raised, with traces in `live_state` alone; False if nothing was compiled."""
        gave_up = [part.give_up(error) for part in self.compiled]
        if not any(gave_up):
            return False
        for optimizer in self._optimizers().values():
            optimizer.zero_grad(set_to_none=True)
        if self.low is not None:
            self.low.drop_gradients()
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()  # how far each update was
        return True

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor, share: Tensor | None = None) -> None:
        masters, scaled = parameters_of(optimizer), self.scaler.is_enabled()
        if scaled:  # after a bad loss every gradient is made infinite, and the scaler leaves the update out
            self.guard.look(self._of_all(loss), [])
            loss = loss / (1.0 - self.guard.bad)
        self.scaler.scale(loss).backward(self._one.to(loss.dtype))
        if self.low is not None:
            self.low.take_gradients(masters)
        # What is not finite on one rank is so in the mean, on all of them: they freeze together.
        whole = self._of_all(loss, optimizer)
        more = {} if share is None or not averages_of(optimizer) else {"average_share": share}
        if scaled:
            self.scaler.step(optimizer, **more)
        else:
            self.guard.look(whole, [p.grad for p in self._last_reached[optimizer] if p.grad is not None])
            step_unless(optimizer, self.guard.bad, **more)
        optimizer.zero_grad(set_to_none=True)
        if self.low is not None:
            self.low.follow(masters)

    def _of_all(self, loss: Tensor, optimizer: torch.optim.Optimizer | None = None) -> Tensor:
        """The mean of a loss over ranks; an optimiser's gradients become theirs, by the same all-reduce."""
        if self.gang.count == 1:
            return loss
        mean = loss.detach().clone()
        self.gang.mean_([*(gradients_of(optimizer) if optimizer is not None else ()), mean])
        return mean

    def noise(self, count: int, images_seen: Tensor) -> Tensor:
        """The generator's noise [B, Z], float32, from the clock alone: this rank's rows of the job's."""
        shape = (count, self.config.network.noise)
        return kernels.normal(shape, seed=self.noise_seed, offset=images_seen, row_start=self.gang.rank * count)

    def set_learning_rate(self, value: float) -> None:
        """Adam's step size from here on, the prior's own in proportion, in captured steps as well."""
        own = self.config.prior_learning_rate
        for optimizer in self._optimizers().values():
            for group in optimizer.param_groups:
                is_prior = own is not None and group["params"][0] is self.prior.logits
                group["lr"].fill_(value * own / self.config.learning_rate if is_prior and own else value)

    def __call__(self, images_BCHW: Tensor, other_BCHW: Tensor | None, group_B: Tensor | None = None) -> Tensor:
        """One D and one G step: everything is updated, the clock moves on.

        Args:
            images_BCHW: uint8 [B, C, H, W].
            other_BCHW: their transforms, [B, C, H, W] in [-1, 1]; without them no loss is on real images.
            group_B: the codes that a grouping gave the images, int64, -1 for none.

        Returns:
            The losses [6] in the order of LOSSES, whose mean over ranks is the job's.
        """
        self.guard.begin()
        count = len(images_BCHW)
        noise_BZ = self._noise(count, self.images_seen).to(self.networks.discriminator.real.weight.dtype)
        code_BK, code_B = self.prior.sample(
            count,
            temperature=self.config.temperature,
            seed=self.noise_seed,
            offset=self.images_seen,
            row_start=self.gang.rank * count,
        )

        # 1. D step: update F and D. Where F learns from real images too, their losses are part of it, and the
        # gradients that they give Q wait for the G step's.
        with self.precision.autocast(self.device):
            fake = self._generator(noise_BZ, code_BK)
            d_total, d_loss, features, parts = self._of_d(images_BCHW, other_BCHW, fake.detach(), group_B)
        self._update(self.d_optimizer, d_total)

        # 2. G step: update G, Q and the prior, through the new F and D.
        share = self._share(self.images_seen)
        with self.precision.autocast(self.device), frozen(self._running.front_end, self._running.discriminator):
            total, g_loss, information, parts = self._of_g(fake, code_B, features, parts, group_B)
        self._update(self.g_optimizer, total, share)

        # 3. Counters and averages.
        if self.scaler.is_enabled():
            before = self._scale().clone()
            self.scaler.update()
            self.guard.count_skip(self._scale() < before)
        return self._finish((d_loss, g_loss, information, *parts.losses), count * self.gang.count, share)

    def share(self, images_seen: Tensor) -> Tensor | None:
        """How much of the way to the generator its average goes in this step; None without an average."""
        if self.average is None:
            return None
        return way_to_go(images_seen / (self.config.batch_size * self.gang.count), self.config.average_decay)

    @torch.no_grad()
    def finish(self, losses: Sequence[Tensor], images: int, share: Tensor | None) -> Tensor:
        """After a step on so many images of all ranks: the clock moves on. Returns the losses, stacked.

        What G's update has not moved of the average follows now, once what a bad step did is undone.
        """
        self.guard.end(images)
        if self.average is not None and share is not None:
            weights = not averages_of(self.g_optimizer)
            approach(self.average, self.networks.generator, share * (1.0 - self.guard.bad), weights=weights)
        self.images_seen.add_(images)
        return torch.stack(list(losses))

    def settle(self) -> None:
        """Give all ranks the same running averages, the mean of theirs, before they are read: a call of all ranks."""
        if not self.config.sync_batchnorm:
            owners = (self.networks,) if self.average is None else (self.networks, self.average)
            self.gang.mean_([buffer for owner in owners for buffer in float_buffers(owner)])

    @property
    def sampling_generator(self) -> Generator:
        """The generator that draws samples: the averaged one, where there is one."""
        return self.average if self.average is not None else self.networks.generator

    def model_state(self) -> dict[str, Tensor]:
        """What sampling and evaluation need: networks, prior and averaged generator, by name."""
        state = {f"networks.{name}": value for name, value in self.networks.state_dict().items()}
        state |= {f"prior.{name}": value for name, value in self.prior.state_dict().items()}
        if self.average is not None:
            state |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        return state

    def training_state(self) -> dict[str, Tensor]:
        """What continuing needs besides: both optimisers, the clock and the loss scale."""
        state = {"images_seen": self.images_seen} | self._optimizer_state()
        state |= {f"scaler.{k}": torch.tensor(v, dtype=torch.float64) for k, v in self.scaler.state_dict().items()}
        if self.scaler.is_enabled():
            state["guard.skipped"] = self.guard.skipped
        return state

    def _optimizer_state(self) -> dict[str, Tensor]:
        """The optimisers' tensors, by the names of their parameters."""
        return {
            f"{name}.{self._names[parameter]}.{key}": value
            for name, optimizer in self._optimizers().items()
            for parameter in parameters_of(optimizer)
            for key, value in optimizer.state[parameter].items()
        }

    def live_state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, itself and no copy, by name."""
        state = {"images_seen": self.images_seen} | self.model_state() | self._optimizer_state() | self.guard.state()
        if self.low is not None:
            state |= {f"low.{name}": value for name, value in self.low.networks.state_dict().items()}
        if self.scaler.is_enabled():
            state["scaler.scale"] = self._scale()
            assert self.scaler._growth_tracker is not None
            state["scaler.growth_tracker"] = self.scaler._growth_tracker
        return state

    def _scale(self) -> Tensor:
        """float16's loss scale, itself."""
        if self.scaler._scale is None:
            self.scaler.scale(torch.zeros((), device=self.device))  # makes it
        assert self.scaler._scale is not None
        return self.scaler._scale

    def load_state(self, model: dict[str, Tensor], training: dict[str, Tensor]) -> None:
        """Continue from `model_state` and `training_state`, exactly; in place, for what has been captured."""
        load_model(model, self.networks, self.prior, self.average)
        self.images_seen.copy_(training["images_seen"])
        for name, optimizer in self._optimizers().items():
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
        self.guard.reset(int(self.images_seen), int(training.get("guard.skipped", torch.zeros(2))[0]))
        self._refresh_copies()

    @torch.no_grad()
    def restart(self, config: TrainConfig, prior: ClassPrior) -> None:
        """Begin another run of the same shape, in place: only the seed and the prior's fixed numbers may differ."""
        self.config = config
        self.networks.load_state_dict(Networks(self.networks.shape).initialise(config.seed).state_dict())
        self.prior.load_state_dict(prior.state_dict())
        if self.average is not None:
            self.average.load_state_dict(self.networks.generator.state_dict())
        for value in self._optimizer_state().values():
            value.zero_()
        self.images_seen.zero_()
        self.guard.reset(0)
        self.noise_seed.fill_(stream_seed(config.seed, "noise"))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": FIRST_SCALE, "_growth_tracker": 0})
        self._refresh_copies()

    def _refresh_copies(self) -> None:
        """Round the weights into their copies, after anything but an update has written them."""
        for optimizer in self._optimizers().values():
            refresh_shadows(optimizer)
        if self.low is not None:
            self.low.follow(self.networks.parameters())

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"d_optimizer": self.d_optimizer, "g_optimizer": self.g_optimizer}


def load_model(
    state: dict[str, Tensor], networks: Networks, prior: ClassPrior, average: Generator | None = None
) -> None:
    """Copy the tensors of `Step.model_state` into the networks, the prior and the averaged generator."""
    modules: dict[str, nn.Module | None] = {"networks": networks, "prior": prior, "average": average}
    for owner, module in modules.items():
        if module is not None:
            own = {key.removeprefix(f"{owner}."): value for key, value in state.items() if key.startswith(f"{owner}.")}
            module.load_state_dict(own)
