"""When the events of a run are due: reports, evaluations, checkpoints, groupings. Images seen are the clock."""

from __future__ import annotations

from fastgan.config.schedule import Phases
from fastgan.config.schema import TrainConfig


class Events:
    """The schedule of one run, a pure function of the images seen, so that a resumed run keeps to it.

    Args:
        batch: images a step, of all ranks.
        epoch_images: images an epoch, of all ranks.
        epochs: whether the end of each epoch is an event.
    """

    def __init__(self, config: TrainConfig, *, batch: int, epoch_images: int, epochs: bool = False) -> None:
        self.batch, self.epoch_images = batch, epoch_images
        self.phases = Phases.of(config, epoch_images)
        self.total = self.phases.total
        self._log_every = config.log_every
        self._eval_every = config.eval_every * epoch_images
        self._save_every = config.save_every * epoch_images
        self._grouping_at = config.grouping.at
        self._stops_at_epochs = epochs or bool(self._grouping_at)

    def done(self, images_seen: int) -> bool:
        """Whether the last epoch is trained."""
        return images_seen >= self.total

    def pretrains(self, images_seen: int) -> bool:
        """Whether the steps that lead to `images_seen` are of pretraining."""
        return images_seen <= self.phases.pretrained

    def report_due(self, images_seen: int) -> bool:
        """Also at the end of pretraining: a report is of steps of one kind."""
        ends = images_seen == self.phases.pretrained
        return self.done(images_seen) or ends or self._passed(self._log_every, images_seen)

    def evaluation_due(self, images_seen: int) -> bool:
        """Not in pretraining: nothing is generated yet."""
        due = not self.pretrains(images_seen) and self._passed(self._eval_every, images_seen)
        return self.done(images_seen) or due

    def checkpoint_due(self, images_seen: int) -> bool:
        """Whether one may be saved if there is time for it; the last one is saved in any case."""
        return self._passed(self._save_every, images_seen)

    def epoch_ends(self, images_seen: int) -> bool:
        """Whether the last step was the last of an epoch."""
        return images_seen > 0 and images_seen % self.epoch_images == 0

    def grouping_due(self, images_seen: int) -> bool:
        """Whether to group the images now, before an epoch of `grouping.at`."""
        epoch, into = divmod(images_seen, self.epoch_images)
        return into == 0 and epoch in self._grouping_at

    def steps_ahead(self, images_seen: int, most: int) -> int:
        """Steps to run at once, at most `most`, up to the next event."""
        periods = [self._log_every, self._eval_every, self._save_every]
        if self._stops_at_epochs:
            periods.append(self.epoch_images)
        images = min(
            self.total - images_seen,
            self.phases.constant_for(images_seen),
            *(every - images_seen % every for every in periods),
        )
        return min(most, -(-images // self.batch))

    def _passed(self, every: int, images_seen: int) -> bool:
        """Whether the last batch crossed a multiple of `every` images."""
        return images_seen // every > (images_seen - self.batch) // every
