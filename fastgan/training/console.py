"""What a run prints to stderr while it trains: a progress bar in a terminal, lines elsewhere (runtime/stages.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch

from fastgan.runtime import stages
from fastgan.runtime.stages import Stage, stage
from fastgan.runtime.threads import Starvation
from fastgan.step.losses import LOSSES


class Console:
    """Shows how far one run is, its rate and the time left, and prints lines of its own.

    Args:
        epoch_images: images an epoch, of all ranks.
        device: on a CPU, the console also reports when other processes slow the run down.
        silent: print nothing; only the main rank prints.
    """

    def __init__(self, epochs: int, epoch_images: int, device: torch.device, *, silent: bool) -> None:
        self.epochs, self.epoch_images, self.silent = epochs, epoch_images, silent
        self._training: Stage | None = None
        self._cpu = device.type == "cpu"
        self._starvation: Starvation | None = None

    def say(self, line: str) -> None:
        """Print a line, above any progress bar."""
        if not self.silent:
            stages.say(line)

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """Within, the run does something that may take long; shows its name."""
        return stage(name, silent=self.silent)

    @contextmanager
    def training(self, images_seen: int) -> Iterator[None]:
        """Within, the run trains, starting at `images_seen`."""
        total = self.epochs * self.epoch_images
        with stage("training", total, done=images_seen, silent=self.silent, place=self._place) as self._training:
            self._starvation = Starvation(torch.get_num_threads()) if self._cpu else None
            yield

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Within, the run does something else: the bar stops, and the time does not count towards the rate."""
        assert self._training is not None
        with self._training.paused(), self.stage(name):
            yield

    def advance(self, images: int) -> None:
        """Advance the bar by `images`; prints a line if the run has to wait for processors."""
        assert self._training is not None
        self._training.update(images)
        if self._starvation is not None and (note := self._starvation.check()):
            self.say(note)

    def show_losses(self, row: Mapping[str, float]) -> None:
        """Show the losses beside the bar, or in the next lines."""
        assert self._training is not None
        self._training.set_note(
            ", ".join(f"{name.removesuffix('_loss')} {row[name]:.3f}" for name in LOSSES if name in row)
        )

    def _place(self, images_seen: int) -> str:
        return f"epoch {images_seen / self.epoch_images:.1f} of {self.epochs}"
