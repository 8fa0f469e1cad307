"""A run's checkpoints: what is saved, what is checked before, how often, and how a run goes on from one."""

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
    """Keeps checkpoints to their share of the time: each must be followed by enough training.

    Args:
        share: of the time, at most; 1 for any.
        clock: seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock = share, clock
        self._took, self._since = 0.0, clock()

    def allows(self) -> bool:
        """Whether another may be saved now, if it takes as long as the last."""
        return self._share >= 1 or self._took <= self._share * (self._took + self._clock() - self._since)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Inside, one is saved."""
        begin = self._clock()
        yield
        self._since = self._clock()
        self._took = self._since - begin


class Checkpointer:
    """Saves one run and loads it again. Its methods are calls of all ranks, but for `check_finite`.

    Args:
        trainer, progress: whose tensors make a checkpoint.
        writes: save any; a run that takes seconds is checked only.
    """

    def __init__(
        self, config: TrainConfig, run: RunFolder, trainer: Engine, progress: Progress, *, writes: bool = True
    ) -> None:
        self.config, self.run, self.trainer, self.progress = config, run, trainer, progress
        self.step, self.comm = trainer.step, trainer.comm
        self.saved_at = 0  # images seen by the newest checkpoint of this run
        self._writes, self._budget = writes, SaveBudget(config.save_share)

    def resume(self, log: RunLog) -> Path:
        """Continue from the newest checkpoint that passes its hashes; after other ranks, with the next whole batch.

        Args:
            log: from which the rows are dropped that the run will write again.
        """
        path, _ = self.comm.run_on_main(lambda: checkpoint.newest(self.run.checkpoints))
        self.comm.run_on_all(lambda: self._load(path))
        self.saved_at = int(self.step.images_seen)
        self.comm.run_on_main(lambda: self._keep_rows(log))
        return path

    def _keep_rows(self, log: RunLog) -> None:
        with run_folder.continued(self.run.path):
            log.keep_until(self.saved_at)

    def _load(self, path: Path) -> None:
        training = checkpoint.load(path, "training")
        training["images_seen"] += -training["images_seen"] % self.trainer.batch
        # Groups are kept by the image's place in the data, and a folder of one's own images may have changed.
        feed = self.trainer.feed
        before, now = len(training.get("feed.groups", feed.groups)), len(feed.images)
        if before != now:
            raise ConfigError(f"{path}: of a run on {before:,} images, and now there are {now:,}; start a new run")
        try:
            self.step.load_state(checkpoint.load(path, "model"), training)
            self.progress.load(training)
            if self.config.grouping.at:
                feed.regroup(training["feed.groups"])
        except (KeyError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())  # torch lists the names on lines of their own
            raise ConfigError(f"{path}: does not fit this run's networks ({said})") from error

    def has_time(self) -> bool:
        """Whether saving now keeps to its share of the time: rank 0's clock decides for all."""
        return self.comm.run_on_main(self._budget.allows)

    def save(self, images_seen: int) -> None:
        """Write a checkpoint, unless a step or a weight is not finite."""
        with self._budget.saving():
            self.progress.settle()
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
        """Raise DivergenceError when a step was not finite; the remedy that it names is the newest checkpoint."""
        rate = self.config.learning_rate
        remedy = f"the newest checkpoint is from before: --resume, or lower --learning-rate (now {rate}) in a new run"
        nonfinite.check(self.step.guard, losses, batch_size=self.trainer.batch, remedy=remedy)
