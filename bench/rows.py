"""The rows of the step table: the naive loop and fastgan's own, on the same images, at the paper's size."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.naive import NaiveTrainer, loader
from bench.timing import DEVICE as DEVICE
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.config.validation import validate
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.runtime.process import tune_malloc
from fastgan.training.engine import build_feed, build_step

ROOT = Path(__file__).parents[1]
WORKERS = (0, 1, 2)  # what the naive loop's DataLoader is tried with
# The paper's recipe, which naive trains by as well, with the gentler transform and the averaged generator that all
# tables have had since the first.
PAPER = dataclasses.replace(preset("mnist", "paper"), transform=TransformConfig(), average_decay=0.999)
DEFAULT_RECIPE: dict[str, Any] = {  # what makes of it the default recipe
    part.name: getattr(preset("mnist"), part.name)
    for part in dataclasses.fields(TrainConfig)
    if getattr(preset("mnist"), part.name) != getattr(PAPER, part.name)
}


def load_images() -> tuple[TrainConfig, ImageSet, str]:
    """PAPER with MNIST's images, or with digits at MNIST's size where MNIST is not to be had; and which it was."""
    config = PAPER
    folder = Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    if any(folder.rglob("train-images-idx3-ubyte*")):
        config = dataclasses.replace(config, data_dir=folder)
        images = loading.load(config)
        return config, images, f"mnist split {config.split}, {len(images.images)} images"
    config = dataclasses.replace(config, dataset="digits", imbalance="none")
    images = loading.load(config)
    return config, images, f"digits resized to 28x28, {len(images.images)} images (MNIST is not in {folder})"


class Row:
    """One way to train. An iteration is `train(load())`; `begin` and `end` stand around each block of them."""

    workers: int | None = None

    def begin(self) -> None:
        """Start what must run only while this row is measured."""

    def end(self) -> None:
        """Stop it, so that it takes nothing from the other rows."""

    def load(self) -> Any:
        raise NotImplementedError

    def train(self, batch: Any) -> None:
        raise NotImplementedError


class Naive(Row):
    """The naive loop with its DataLoader."""

    def __init__(self, config: TrainConfig, images: ImageSet, workers: int) -> None:
        self.workers = workers
        self.trainer = NaiveTrainer(DEVICE)
        self.loader = loader(images.images, config.batch_size, workers, DEVICE)
        self.batches: Iterator[Any] | None = None

    def begin(self) -> None:
        self.batches = iter(self.loader)

    def end(self) -> None:
        self.batches = None  # its workers end with it

    def load(self) -> tuple[Tensor, Tensor]:
        assert self.batches is not None
        batch = next(self.batches, None)
        if batch is None:  # the epoch is over
            self.begin()
            batch = next(self.batches)
        real, other = batch
        return real.to(DEVICE), other.to(DEVICE)

    def train(self, batch: tuple[Tensor, Tensor]) -> None:
        self.trainer.step(*batch)


class NaiveStep(Row):
    """The naive loop on one batch that stays on the device: no loading, no transforms."""

    def __init__(self, config: TrainConfig, images: ImageSet) -> None:
        self.trainer = NaiveTrainer(DEVICE)
        real, other = next(iter(loader(images.images, config.batch_size, 0, DEVICE)))
        self.batch = real.to(DEVICE), other.to(DEVICE)

    def load(self) -> tuple[Tensor, Tensor]:
        return self.batch

    def train(self, batch: tuple[Tensor, Tensor]) -> None:
        self.trainer.step(*batch)


class Ours(Row):
    """fastgan's step on images and transforms from its feed, as its loop has it."""

    def __init__(self, config: TrainConfig, images: ImageSet, *, amp: bool, compile: bool) -> None:
        tune_malloc()  # as `python -m fastgan.train` does
        self.config = validate(
            dataclasses.replace(config, amp=amp, compile=compile, capture=False, augment="torchvision")
        )
        self.step = build_step(self.config, images, DEVICE)
        # Each step pays for its own batch: of a longer chunk one step in many would pay all, which no median shows.
        self.feed = build_feed(self.config, images, DEVICE, chunk=config.batch_size)
        self.images_seen = 0

    def load(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        size = self.config.batch_size
        self.feed.prefetch(self.images_seen, self.images_seen + size)
        self.images_seen += size
        return self.feed.batch_at(self.step.images_seen)

    def train(self, batch: tuple[Tensor, Tensor | None, Tensor | None]) -> None:
        self.step(*batch)


# By --amp: in bfloat16 where the processor has instructions for it, else in float32 like ours_fp32, for in an emulated
# bfloat16 a step takes seconds. The last is of the default recipe.
_COMPILED = ("ours_amp_compile",) if DEVICE.type == "cuda" else ()  # on a CPU nothing is compiled
NAMES = ("naive", "naive_step", "ours_fp32", "ours_amp", *_COMPILED, "ours_amp_default")


def make_row(name: str, config: TrainConfig, images: ImageSet, workers: int = 0) -> Row:
    """The row of that name; `workers` matters to "naive" alone."""
    if name == "naive":
        return Naive(config, images, workers)
    if name == "naive_step":
        return NaiveStep(config, images)
    if name == "ours_amp_default":
        config = dataclasses.replace(config, **DEFAULT_RECIPE)
    return Ours(config, images, amp="amp" in name, compile="compile" in name)
