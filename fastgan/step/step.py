"""One training iteration: a discriminator step, then a generator step (RECIPE: the authors' order of updates).

What the authors' loop computes but never uses is left out, with the same updates:
- F is updated only by D's loss, so the transform's pass through F needs no graph, Q reads detached features,
  and the G step computes no gradient of F's or D's weights.
- G runs forward once; the D step sees its image detached, the G step with its graph.

Legend: B batch, K classes, Z noise, H features, D embedding, CHW image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

import kernels
from fastgan.config.schema import TrainConfig
from fastgan.models.elastic_infogan import ElasticInfoGAN, ema_share
from fastgan.models.networks import Networks, frozen
from fastgan.models.prior import ClassPrior
from fastgan.models.sync_batchnorm import convert_sync_batchnorm, exclude_from_compile
from fastgan.runtime import precision
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.seeding import stream_seed
from fastgan.step.compile import Compiled, compile_in_place, leave_compiler
from fastgan.step.nonfinite import NonFiniteGuard
from fastgan.step.objectives import Objectives
from fastgan.step.optimizers import Optimizers


class Step:
    """The D and G update of one batch, with its model, optimisers and counters.

    Args:
        networks, prior: on `device`, in training mode; updated in place.
        config: batch size, temperatures, loss weights, precision, seed.
        comm: the ranks that train together, each on its share of a batch; one all-reduce an update.

    `images_seen` is the clock (int64 tensor): all random numbers of a step depend only on (seed, images_seen). A step
    reads from fixed addresses and never waits for the device, so that it can be captured (cuda_graphs.py).
    """

    def __init__(
        self,
        networks: Networks,
        prior: ClassPrior,
        config: TrainConfig,
        device: torch.device,
        comm: Communicator = SINGLE_PROCESS,
    ) -> None:
        self.networks, self.prior, self.config, self.device, self.comm = networks, prior, config, device, comm
        self.images_seen = torch.zeros((), dtype=torch.int64, device=device)
        self.pretrained_images = torch.zeros_like(self.images_seen)  # shown before the generator began
        self.noise_seed = torch.tensor(stream_seed(config.seed, "noise"), device=device)
        if comm.world_size > 1 and config.sync_batchnorm:
            convert_sync_batchnorm(networks, comm)
        self.guard = NonFiniteGuard(networks, device)
        self.precision = precision.for_training(config, device)
        self.average = copy.deepcopy(networks.generator) if config.average_decay > 0 else None
        self.model = ElasticInfoGAN(networks, prior, self.average)
        self.optimizers = Optimizers(self.model, config, self.precision, self.guard, comm)
        self.low = self.optimizers.low
        self._running = self.low.networks if self.low is not None else networks  # what a step runs
        self.objectives = Objectives(self._running, prior, config, comm)
        # `compile` replaces these names.
        self._noise, self._share, self._finish = self.noise, self.share, self.finish
        self._generator = self._running.generator
        self._of_d, self._of_g = self.objectives.of_discriminator, self.objectives.of_generator
        self.compiled: list[Compiled] = []
        if config.compile and device.type == "cuda":
            self.compile()

    def compile(self) -> None:
        """Compile the networks and the counter-based random numbers (some 300 tiny integer operations), on a GPU."""
        exclude_from_compile()
        # Each side's losses together with the networks below them. Collectives cannot be part of a compiled function,
        # so with several ranks only the networks are compiled.
        if self.comm.world_size > 1:
            self.compiled += self.objectives.compile_networks()
        losses = ("_of_d", "_of_g") if self.comm.world_size == 1 else ()
        self.compiled += compile_in_place(self, ("_noise", "_generator", *losses, "_share", "_finish"))

    def leave_compiler(self, error: Exception) -> bool:
        """Go on eagerly after a step that raised; False if nothing was compiled. The caller restores `live_state`."""
        if left := leave_compiler(self.compiled, error):
            self.optimizers.drop_gradients()
        return left

    def noise(self, count: int, images_seen: Tensor) -> Tensor:
        """The generator's noise [B, Z], float32, from seed and clock: this rank's rows of the global batch's."""
        shape = (count, self.config.network.noise)
        return kernels.normal(shape, seed=self.noise_seed, offset=images_seen, row_start=self.comm.rank * count)

    def __call__(self, images_BCHW: Tensor, augmented_BCHW: Tensor | None, group_B: Tensor | None = None) -> Tensor:
        """One D and one G step: everything is updated, and the clock advances.

        Args:
            images_BCHW: uint8 [B, C, H, W].
            augmented_BCHW: their transforms, [B, C, H, W] in [-1, 1]; without them there are no losses on real images.
            group_B: the images' groups (pseudo-labels), int64, -1 for none.

        Returns:
            The losses [6] in the order of LOSSES; their mean over ranks is that of the global batch.
        """
        self.guard.begin()
        count = len(images_BCHW)
        noise_BZ, code_BK, code_B = self._draw(count)

        # 1. D step: update F and D. If F also learns from real images, Q's losses on them are part of this backward
        # pass; Q's gradients are kept and added to those of the G step.
        with self.precision.autocast(self.device):
            fake = self._generator(noise_BZ, code_BK)
            d_total, d_loss, features, parts = self._of_d(images_BCHW, augmented_BCHW, fake.detach(), group_B)
        self.optimizers.update(self.optimizers.d_optimizer, d_total)

        # 2. G step: update G, Q and the prior, through the updated F and D.
        share = self._share(self.images_seen)
        with self.precision.autocast(self.device), frozen(self._running.front_end, self._running.discriminator):
            total, g_loss, information, parts = self._of_g(fake, code_B, features, parts, group_B)
        self.optimizers.update(self.optimizers.g_optimizer, total, share)

        # 3. Loss scale, clock and averages, last: only now does the guard know whether the whole step was finite.
        self.optimizers.update_scale()
        return self._finish((d_loss, g_loss, information, *parts.losses), count * self.comm.world_size, share)

    def _draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The generator's inputs, noise [B, Z] and codes [B, K], and the codes' indices [B], int64."""
        noise_BZ = self._noise(count, self.images_seen).to(self.networks.discriminator.real.weight.dtype)
        first, temperature = self.comm.rank * count, self.config.temperature
        code_BK, code_B = self.prior.sample(
            count, temperature=temperature, seed=self.noise_seed, offset=self.images_seen, row_start=first
        )
        return noise_BZ, code_BK, code_B

    def share(self, images_seen: Tensor) -> Tensor | None:
        """The weight of the generator in its moving average at this step; None without an average."""
        if self.average is None:
            return None
        images = images_seen - self.pretrained_images
        return ema_share(images / (self.config.batch_size * self.comm.world_size), self.config.average_decay)

    @torch.no_grad()
    def finish(self, losses: Sequence[Tensor], images: int, share: Tensor | None) -> Tensor:
        """Finish a step on `images` images of all ranks: advance the clock. Returns the losses, stacked."""
        self.guard.end(images)
        # The part of the average that G's update did not handle; after guard.end, which undoes a bad step.
        if share is not None:
            self.model.update_ema(share * (1.0 - self.guard.found_nonfinite), weights=not self.optimizers.moves_average)
        self.images_seen.add_(images)
        return torch.stack(list(losses))

    def training_state(self) -> dict[str, Tensor]:
        """What resuming needs besides the model: both optimisers, the clock and the loss scale."""
        return {"images_seen": self.images_seen} | self.optimizers.training_state()

    def live_state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, by name; not copied."""
        return {"images_seen": self.images_seen} | self.model.state_dict() | self.optimizers.live_state()

    def load_state(self, model: dict[str, Tensor], training: dict[str, Tensor]) -> None:
        """Continue exactly from the model's state and `training_state`; in place, for captured graphs."""
        self.model.load_state_dict(model)
        self.images_seen.copy_(training["images_seen"])
        self.optimizers.load_state(training)
        self.guard.reset(int(self.images_seen), int(training.get("guard.skipped", torch.zeros(2))[0]))

    def restart(self, config: TrainConfig, prior: ClassPrior) -> None:
        """Start another run of the same shape, in place: only the seed and a fixed prior's values may differ."""
        self.config = config
        self.model.restart(config.seed, prior)
        self.optimizers.restart()
        self.images_seen.zero_()
        self.guard.reset(0)
        self.noise_seed.fill_(stream_seed(config.seed, "noise"))
