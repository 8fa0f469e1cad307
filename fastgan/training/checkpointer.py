"""A run's checkpoints: what is saved, what is checked first, how often, and how a run resumes from one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fastgan.config.schema import TrainConfig
from fastgan.errors import ConfigError, DivergenceError
from fastgan.runs import checkpoint, run_folder
from fastgan.runs.metrics_log import RunLog
from fastgan.runs.run_folder import RunFolder
from fastgan.step import nonfinite
from fastgan.step.losses import LOSSES
from fastgan.training.engine import Engine
from fastgan.training.progress import Progress


class SaveBudget:
    """Limits the share of time spent on checkpoints: each must be followed by enough training.

    Args:
        share: the largest share of the time; 1 for no limit.
        clock: returns seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock = share, clock
        self._took, self._since = 0.0, clock()

    def allows(self) -> bool:
        """Whether another may be saved now, assuming it takes as long as the last."""
        return self._share >= 1 or self._took <= self._share * (self._took + self._clock() - self._since)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measures the saving of one checkpoint, done inside."""
        begin = self._clock()
        yield
        self._since = self._clock()
        self._took = self._since - begin


class Checkpointer:
    """Saves one run and loads it again. All ranks must call its methods, except `check_finite`.

    Args:
        trainer, progress: their tensors make up a checkpoint.
        writes: False only checks and saves nothing, for a run that takes seconds.
    """

    def __init__(
        self, config: TrainConfig, run: RunFolder, trainer: Engine, progress: Progress, *, writes: bool = True
    ) -> None:
        self.config, self.run, self.trainer, self.progress = config, run, trainer, progress
        self.step, self.comm = trainer.step, trainer.comm
        self.saved_at = 0  # images seen by the newest checkpoint of this run
        self._writes, self._budget = writes, SaveBudget(config.save_share)

    def resume(self, log: RunLog) -> Path | None:
        """Continue from the newest checkpoint that passes its hashes; returns its path.

        If the number of ranks has changed, continue with the next whole batch. A run that was stopped before its first
        checkpoint stays at its beginning, and None is returned.

        Args:
            log: rows that the run will write again are dropped from it.

        Raises:
            CheckpointCorruptError: none is intact, or those that the log tells of are gone.
        """
        if self.comm.run_on_main(lambda: self._never_saved(log)):
            self.comm.run_on_main(lambda: self._keep_rows(log, -1))
            return None
        path, _ = self.comm.run_on_main(lambda: checkpoint.newest(self.run.checkpoints))
        self.comm.run_on_all(lambda: self._load(path))
        self.saved_at = int(self.step.images_seen)
        self.comm.run_on_main(lambda: self._keep_rows(log, self.saved_at))
        return path

    def _never_saved(self, log: RunLog) -> bool:
        """Whether the run has no checkpoint, and its log ends where its first was due: none was ever there.

        The first is saved as soon as it is due. A sweep removes the checkpoints of its finished runs with their folder.
        """
        if checkpoint.any_in(self.run.checkpoints):
            return False
        first = self.config.save_every * self.trainer.epoch_images
        last = max((row["images_seen"] for row in log.rows()), default=0)
        return last <= first and (last == 0 or self.run.checkpoints.is_dir())

    def _keep_rows(self, log: RunLog, images_seen: int) -> None:
        with run_folder.continued(self.run.path):
            log.keep_until(images_seen)

    def _load(self, path: Path) -> None:
        training = checkpoint.load(path, "training")
        training["images_seen"] += -training["images_seen"] % self.trainer.batch
        # Groups are stored by the image's index in the data, and a folder of images may have changed.
        feed = self.trainer.feed
        before, now = len(training.get("feed.groups", feed.groups)), len(feed.images)
        if before != now:
            raise ConfigError(f"{path}: was saved with {before:,} images, but there are {now:,} now; start a new run")
        try:
            self.step.load_state(checkpoint.load(path, "model"), training)
            self.progress.load(training)
            if self.config.grouping.at:
                feed.regroup(training["feed.groups"])
        except (KeyError, RuntimeError, ValueError) as error:
            message = " ".join(str(error).split())  # torch prints one name a line
            raise ConfigError(f"{path}: does not fit this run's networks ({message}); start a new run") from error

    def has_time(self) -> bool:
        """Whether saving now keeps to its share of the time: rank 0's clock decides for all."""
        return self.comm.run_on_main(self._budget.allows)

    def save(self, images_seen: int) -> None:
        """Write a checkpoint; raises DivergenceError if a loss, a gradient or a weight is not finite."""
        with self._budget.saving():
            self.progress.sync_losses()
            self.step.model.sync_running_stats(self.comm)
            self.comm.run_on_main(lambda: self._save(images_seen))
        self.saved_at = images_seen

    def _save(self, images_seen: int) -> None:
        self.check_finite(dict(zip(LOSSES, self.progress.loss_sum.tolist(), strict=True)))
        if not self._writes:
            return
        training = self.step.training_state() | self.progress.state()
        if self.config.grouping.at:
            training["feed.groups"] = self.trainer.feed.groups
        parts = {"model": self.step.model.state_dict(), "training": training}
        if wrong := nonfinite.not_finite(parts["model"]):
            raise DivergenceError(
                f"{wrong[0]} is not finite before image {images_seen:,} and is not saved; the newest checkpoint "
                "is from before: --resume, or lower --learning-rate in a new run"
            )
        checkpoint.save(self.run.checkpoints, images_seen, parts)

    def check_finite(self, losses: Mapping[str, float]) -> None:
        """Raise DivergenceError if a step was not finite; the remedy it names is the newest checkpoint."""
        rate = self.config.learning_rate
        remedy = f"the newest checkpoint is from before: --resume, or lower --learning-rate (now {rate}) in a new run"
        nonfinite.check(self.step.guard, losses, batch_size=self.trainer.batch, remedy=remedy)
