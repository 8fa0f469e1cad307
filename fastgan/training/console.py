"""What a run says on stderr while it trains: a bar in a terminal, lines elsewhere (see runtime/stages.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch

from fastgan.runtime import stages
from fastgan.runtime.stages import Stage, stage
from fastgan.runtime.threads import Starvation
from fastgan.step.losses import LOSSES


class Console:
    """How far one run is, its pace and the time left, and lines of its own.

    Args:
        epoch_images: images an epoch, of all ranks.
        device: a CPU is watched for others that use it.
        silent: of many ranks only the main one speaks.
    """

    def __init__(self, epochs: int, epoch_images: int, device: torch.device, *, silent: bool) -> None:
        self.epochs, self.epoch_images, self.silent = epochs, epoch_images, silent
        self._training: Stage | None = None
        self._cpu = device.type == "cpu"
        self._starvation: Starvation | None = None

    def say(self, line: str) -> None:
        """Write a line, above any bar."""
        if not self.silent:
            stages.say(line)

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """Within, the run does something that may take long, and says so."""
        return stage(name, silent=self.silent)

    @contextmanager
    def training(self, images_seen: int) -> Iterator[None]:
        """Within, the run trains, from `images_seen` on."""
        total = self.epochs * self.epoch_images
        with stage("training", total, done=images_seen, silent=self.silent, place=self._place) as self._training:
            self._starvation = Starvation(torch.get_num_threads()) if self._cpu else None
            yield

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Within, it does something else: the bar stands still, and the time is no part of the pace."""
        assert self._training is not None
        with self._training.paused(), self.stage(name):
            yield

    def advance(self, images: int) -> None:
        """So many more images are trained on; a line where the run waits for processors."""
        assert self._training is not None
        self._training.update(images)
        if self._starvation is not None and (news := self._starvation.news()):
            self.say(news)

    def show_losses(self, row: Mapping[str, float]) -> None:
        """The losses beside the bar, or in the next lines."""
        assert self._training is not None
        self._training.tell(", ".join(f"{name.removesuffix('_loss')} {row[name]:.3f}" for name in LOSSES))

    def _place(self, images_seen: int) -> str:
        return f"epoch {images_seen / self.epoch_images:.1f} of {self.epochs}"
