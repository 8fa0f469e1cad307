"""What trains a run: a step, the loader that it reads, and the runner of iterations, which may be captured.

Captured graphs and compiled parts are tied to fixed tensors. So runs of one shape, as in a sweep over splits and seeds,
reuse the same tensors one after the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastgan.augment import factory
from fastgan.config.schedule import Phases
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.seeding import stream_seed
from fastgan.step.compile import Compiled
from fastgan.step.losses import LOSSES
from fastgan.step.pretraining import PretrainingStep
from fastgan.step.step import Step
from fastgan.training.cuda_graphs import CudaGraphRunner
from fastgan.training.loader import DeviceLoader, chunk_images, placed
from fastgan.training.pixel_graphs import pixel_graphs
from fastgan.training.pseudo_labels import find_groups


def build_step(
    config: TrainConfig, images: ImageSet, device: torch.device, comm: Communicator = SINGLE_PROCESS
) -> Step:
    """The step of a run, its weights initialised from the seed."""
    channels = images.images.shape[1]
    networks = Networks(Shape(config.image_size, channels, config.classes, config.network, config.finer_codes))
    networks.initialise(config.seed)
    return Step(networks.to(device), _prior(config, images).to(device), config, device, comm)


def build_feed(
    config: TrainConfig,
    images: ImageSet,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    comm: Communicator = SINGLE_PROCESS,
) -> DeviceLoader:
    """A rank's images of a run in their order, on `device` or streamed to it, with the transforms that the losses need.

    Args:
        chunk: images prepared at a time; left out, as many as suit the device.

    Raises:
        ConfigError: --augment dali where DALI cannot be used.
    """
    _, channels, height, width = images.images.shape
    chunk = chunk or chunk_images(config.batch_size, channels * height * width, device)
    transform = None
    if config.learns_from_real:
        transform = factory.make_transform(
            config, channels=channels, most=chunk, device=device, dtype=dtype, rank=comm.rank
        )
    return DeviceLoader(
        placed(images.images, device),
        _order(config, images, comm),
        batch_size=config.batch_size,
        transform=transform,
        chunk=chunk,
        dtype=dtype,
        grouped=bool(config.grouping.at),
        device=device,
        ranks=comm.world_size,
    )


def _prior(config: TrainConfig, images: ImageSet) -> ClassPrior:
    return ClassPrior(config.prior, config.classes, images.class_frequencies())


def _order(config: TrainConfig, images: ImageSet, comm: Communicator = SINGLE_PROCESS) -> Callable[[int], Tensor]:
    """The images of this rank in epoch 0, 1, ...: its share of each global batch."""
    count, job = len(images.images), config.batch_size * comm.world_size

    def share(epoch: int) -> Tensor:
        order = loading.epoch_order(config, count, epoch)
        if comm.world_size == 1:
            return order
        return order[: count // job * job].view(-1, comm.world_size, config.batch_size)[:, comm.rank].flatten()

    return share


class Engine:
    """The parts of a run that hold tensors, on `device`.

    `run` makes steps, whose images must have been prefetched; each adds its losses to `loss_sum`, float64 [6], in the
    order of LOSSES.

    The clock counts the images of all ranks, `batch` a step and `epoch_images` an epoch; the feed counts its rank's.

    Raises:
        ConfigError: for a prior or an --augment that is not available.
    """

    def __init__(
        self, config: TrainConfig, images: ImageSet, device: torch.device, comm: Communicator = SINGLE_PROCESS
    ) -> None:
        self.config, self.device, self.comm = config, device, comm
        self.step = build_step(config, images, device, comm)
        self.feed = build_feed(config, images, device, comm=comm)
        self._batch_at: Callable[..., tuple[Tensor, Tensor | None, Tensor | None]] = self.feed.batch_at
        if self.step.compiled:
            self._batch_at = Compiled(self.feed.batch_at)
            self.step.compiled.append(self._batch_at)
        self.batch = config.batch_size * comm.world_size
        self.loss_sum = torch.zeros(len(LOSSES), dtype=torch.float64, device=device)
        self.iterations = self._runner(self.step)
        self._pretraining = self._runner(PretrainingStep(self.step)) if config.pretrain_epochs > 0 else None
        self._rate = config.learning_rate, False  # as the optimisers have it, and whether it is that of pretraining
        self.step.pretrained_images.fill_(self.phases.pretrained)
        self.prepared = False
        self._pixel_graphs = pixel_graphs(config)

    @property
    def transforms(self) -> str | None:
        """The backend that --augment chose; None if nothing is transformed."""
        return None if self.feed.transform is None else self.feed.transform.name

    @property
    def how(self) -> dict[str, Any]:
        """How it trains, beyond the settings; for run.json."""
        precision = self.step.precision.name
        return {"transforms": self.transforms, "precision": precision, "ranks": self.comm.world_size}

    @property
    def epoch_images(self) -> int:
        """Images of all ranks in an epoch."""
        return self.feed.epoch_images * self.comm.world_size

    @property
    def phases(self) -> Phases:
        """When pretraining ends, and which learning rate holds."""
        return Phases.of(self.config, self.epoch_images)

    def prefetch(self, first: int, last: int) -> None:
        """Load this rank's share of the run's images first ... last - 1 into the ring."""
        self.feed.prefetch(first // self.comm.world_size, last // self.comm.world_size)

    def prepare(self, images_seen: int) -> None:
        """Compile and capture, on the first batch and without changing any state; only the first call does anything.

        Raises:
            ConfigError: when the step cannot be captured.
        """
        if self.prepared:
            return
        self.prefetch(images_seen, images_seen + self.batch)
        for iterations in (self.iterations, self._pretraining):
            if iterations is not None and not iterations.prepare() and self.step.compiled:
                iterations.warm_up()
        self.prepared = True

    def run(self, images_seen: int, count: int) -> None:
        """Make `count` steps after `images_seen` images, all with the same learning rate (`phases.constant_for`)."""
        phases = self.phases
        pretrains = images_seen < phases.pretrained
        rate = phases.learning_rate(images_seen), pretrains
        if rate != self._rate:
            self.step.optimizers.set_learning_rate(rate[0], same=pretrains)
            self._rate = rate
        if pretrains:
            assert self._pretraining is not None
            self._pretraining.run(count)
            return
        if self._pretraining is not None and images_seen == phases.pretrained:
            # Moments are of other losses, and step counts of parameters that had no gradient.
            self.step.optimizers.forget()
        self.iterations.run(count)

    def regroup(self) -> tuple[float, float]:
        """Group the real images again, on rank 0 for all, and pass the groups to the feed.

        Returns:
            The share of the images with a group whose code is another, and the share without a group.
        """
        self.step.model.sync_running_stats(self.comm)
        groups, moved, left = self.comm.run_on_main(self._grouped)
        self.feed.regroup(groups)
        return moved, left

    def _grouped(self) -> tuple[Tensor, float, float]:
        embeddings, logits = labelling.read(self.step.networks, self.feed.images, self.config, self.device)
        codes, config = logits.argmax(1).cpu(), self.config
        groups = find_groups(
            embeddings, codes, config.classes, config.grouping, config.seed, self.feed.images, self._pixel_graphs
        )
        known = groups >= 0
        return groups, float((groups != codes)[known].double().mean()), float((~known).double().mean())

    def _runner(self, step: Callable[..., Tensor]) -> CudaGraphRunner:
        return CudaGraphRunner(
            lambda: self._iterate(step),
            self._state,
            device=self.device,
            capture=self.config.capture,
            recover=self.step.leave_compiler,
        )

    def _iterate(self, step: Callable[..., Tensor]) -> None:
        """One iteration of `step`, on fixed tensors only, so that it can be captured."""
        clock, ranks = self.step.images_seen, self.comm.world_size
        self.loss_sum += step(*self._batch_at(clock if ranks == 1 else clock // ranks))

    def _state(self) -> dict[str, Tensor]:
        return {**self.step.live_state(), "loss_sum": self.loss_sum}

    def fits(self, config: TrainConfig) -> bool:
        """Whether a run of `config` can reuse the same tensors and operations."""
        return _shape(config) == _shape(self.config)

    def restart(self, config: TrainConfig, images: ImageSet) -> None:
        """Start another run, which `fits`; bit for bit the same as with a new Engine."""
        assert self.fits(config)
        self.config, self._pixel_graphs = config, pixel_graphs(config)
        self.step.restart(config, _prior(config, images))
        self.feed.restart(placed(images.images, self.device), _order(config, images))
        if self.feed.transform is not None:
            self.feed.transform.reseed(stream_seed(config.seed, "transform"))
        self.step.optimizers.set_learning_rate(config.learning_rate)
        self._rate = config.learning_rate, False
        self.step.pretrained_images.fill_(self.phases.pretrained)
        self.loss_sum.zero_()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the feed's stream must see the new seed


def _shape(config: TrainConfig) -> TrainConfig:
    """`config` with all settings reset that do not change the operations of a step."""
    same: dict[str, Any] = {"split": 1, "imbalance": "none", "seed": 0, "epochs": 1, "data_dir": None, "run_dir": None}
    same |= {"eval_every": 1, "save_every": 1, "save_share": 1.0, "log_every": 1, "resume": False, "dry_run": False}
    same["prior"] = "learned" if config.prior == "learned" else "uniform"  # fixed priors differ only in values
    return dataclasses.replace(config, **same)
