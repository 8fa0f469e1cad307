"""The order of a run: group, fetch, step, report, evaluate, save. Images seen are the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fastgan.config.schema import TrainConfig
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import RunLog
from fastgan.runs.run_folder import RunFolder
from fastgan.runtime.distributed import Communicator
from fastgan.runtime.signals import stop_signals
from fastgan.runtime.turns import NO_OTHERS, Turns
from fastgan.step.losses import GENERATION_LOSSES
from fastgan.training.checkpointer import Checkpointer
from fastgan.training.console import Console
from fastgan.training.engine import Engine
from fastgan.training.events import Events
from fastgan.training.observer import Observed, Observer
from fastgan.training.progress import Progress

AGREED_EVERY = 8  # iterations of the loop between two exchanges of signals among ranks


@dataclass
class Outcome:
    """How a run ended: the signal that stopped it, if any, the seconds trained, and whether its observer stopped it."""

    signal_number: int | None
    seconds: float
    stopped: bool = False


class Reporter(Protocol):
    """Evaluates a run and shows the results. The loop calls it on the main rank only."""

    @property
    def pictures(self) -> bool:
        """Whether it draws pictures, and so writes a report page."""

    def prepare(self) -> None:
        """Prepare what evaluations need, before training begins; it may take minutes."""

    def evaluate(self, log: RunLog, images_seen: int, epoch: int, seconds: float, *, final: bool) -> None:
        """Measure, log and draw; `final` at the end of the run."""

    def figures(self, images_seen: int) -> dict[str, Any]:
        """The row of the evaluation after so many images; empty if none was made then."""

    def write_page(self, log: RunLog, images_seen: int) -> None:
        """Write the report of the trained run."""


class StopSignals:
    """The signals that stop a run, checked once an iteration of the loop; all ranks stop after the same step.

    Args:
        received: signals are appended to it as they arrive.
        turns: a run waits here while another run must be alone on the device.
    """

    def __init__(self, received: list[int], comm: Communicator, turns: Turns) -> None:
        self.received, self._comm, self._turns, self._looked = received, comm, turns, 0

    def came(self) -> bool:
        """Whether any rank has received one; ranks exchange this every AGREED_EVERY calls."""
        self._turns.between()
        if self._comm.world_size == 1:
            return bool(self.received)
        self._looked += 1
        if self._looked % AGREED_EVERY:
            return False
        number = self._comm.all_reduce_max(max(self.received, default=0))
        self.received[:0] = [number] if number else []  # one that arrived meanwhile is kept
        return number > 0


class TrainingLoop:
    """One run, from its first or its resumed image to the last.

    Args:
        trainer: made, or restarted, for `config`; only the main rank evaluates and writes.
        reporter: made for this run.
        checkpoints: whether to save any.
        observer: sees each report and epoch, and may stop the run; asked on the main rank for all.
        turns: shared with the other runs of this process.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        trainer: Engine,
        reporter: Reporter,
        *,
        checkpoints: bool = True,
        observer: Observer | None = None,
        turns: Turns = NO_OTHERS,
    ) -> None:
        self.config, self.run, self.trainer, self.reporter, self.turns = config, run, trainer, reporter, turns
        self.comm, self.epoch_images = trainer.comm, trainer.epoch_images
        self.events = Events(config, batch=trainer.batch, epoch_images=self.epoch_images, epochs=observer is not None)
        self.log = RunLog(run, writes=self.comm.is_main)
        self.console = Console(config.epochs, self.epoch_images, trainer.device, silent=not self.comm.is_main)
        self.progress = Progress(trainer.loss_sum, self.comm)
        self.observed = Observed(observer, self.comm)
        self.checkpointer = Checkpointer(config, run, trainer, self.progress, writes=checkpoints)
        self.images_seen = 0

    @property
    def done(self) -> bool:
        """Whether the last epoch is trained."""
        return self.events.done(self.images_seen)

    @property
    def epoch(self) -> int:
        """Epochs that are trained."""
        return self.images_seen // self.epoch_images

    def resume(self) -> None:
        """Continue from the newest checkpoint that passes its hashes, or begin if none was saved yet."""
        path = self.checkpointer.resume(self.log)
        self.images_seen = self.checkpointer.saved_at
        if path is None:
            self.console.say(f"{self.run.path} has no checkpoint yet: it starts from the beginning, with its settings")
        else:
            self.console.say(f"resumed from {path} after {self.images_seen:,} images")

    def train(self) -> Outcome:
        """Train to the last epoch, or until a signal."""
        if not self.done:
            self._prepare()
        log, training = self.log.opened(self.images_seen), self.console.training(self.images_seen)
        with stop_signals() as received, training, run_folder.written(self.run.path), log:
            self.progress.start(self.images_seen, self.trainer.device)
            signals = StopSignals(received, self.comm, self.turns)
            while not (self.done or self.observed.stopped or signals.came()):
                # Group: before chosen epochs, since all their steps learn from the same groups.
                if self.events.grouping_due(self.images_seen):
                    with self._paused("grouping the images"):
                        self._regroup()

                # Fetch: the next batches and their transforms into the ring, which steps read without waiting.
                most = min(self.trainer.iterations.unroll, self.trainer.feed.chunk // self.config.batch_size)
                count = self.events.steps_ahead(self.images_seen, most)
                images = count * self.trainer.batch
                self.trainer.prefetch(self.images_seen, self.images_seen + images)

                # Step: as many at once as fit before the next event, since a captured graph holds several.
                self.trainer.run(self.images_seen, count)
                self.progress.steps += count
                self.images_seen += images
                self.console.advance(images)

                # Log: here the host waits for the device, and learns whether all losses were finite.
                if self.events.report_due(self.images_seen):
                    self._report()

                # Evaluate: before saving, since a run resumed from that checkpoint keeps the rows up to it.
                if self.events.evaluation_due(self.images_seen):
                    with self._paused("evaluating"):
                        self._evaluate()

                # Observe: with the figures of an evaluation, and before saving, which a stop brings about.
                if self.observed.observer is not None and self.events.epoch_ends(self.images_seen):
                    with self.progress.paused():
                        self._observe_epoch()

                # Save: always at the end; before that only while saves keep to their share of the time.
                if self.done or (self.events.checkpoint_due(self.images_seen) and self.checkpointer.has_time()):
                    with self._paused("saving"):
                        self.checkpointer.save(self.images_seen)
            self._finish()
        by_signal = received[0] if received and not self.done else None
        return Outcome(by_signal, self.progress.seconds, self.observed.stopped and not self.done)

    def _prepare(self) -> None:
        """Everything before the first step; nothing is lost if a signal ends the process here."""
        if not self.trainer.prepared:
            first = "compiling the first steps" if self.trainer.step.compiled else "the first steps"
            with self.console.stage(first), self.turns.alone():
                self.trainer.prepare(self.images_seen)
        with self.console.stage("preparing the evaluation"), self.turns.one():
            self.comm.run_on_main(self.reporter.prepare)

    def _finish(self) -> None:
        """Save what is not saved yet, such as after a signal; then write the page of a finished run."""
        if self.checkpointer.saved_at != self.images_seen:
            with self._paused("saving"):
                self.checkpointer.save(self.images_seen)
        if self.done and self.reporter.pictures:
            with self._paused("writing the report"):
                self.comm.run_on_main(lambda: self.reporter.write_page(self.log, self.images_seen))

    @contextmanager
    def _paused(self, what: str) -> Iterator[None]:
        """Inside, the run does something other than training: this time does not count towards its rate."""
        with self.progress.paused(), self.console.paused(what), self.turns.one():
            yield

    def _regroup(self) -> None:
        """Group the real images again; a run resumed here repeats it, with the same result."""
        start, epoch = time.perf_counter(), self.images_seen // self.epoch_images
        moved, left = self.trainer.regroup()
        seconds = time.perf_counter() - start
        row = {"images_seen": self.images_seen, "epoch": epoch, "regrouped": moved, "ungrouped": left}
        self.log.append(row | {"grouping_seconds": seconds})
        message = f"grouped the images in {seconds:.1f} s; {moved:.1%} change their code, {left:.1%} are in no group"
        self.console.say(f"epoch {epoch} of {self.config.epochs}: {message}")

    def _report(self) -> None:
        """Log mean losses since the last report; raises DivergenceError if something was not finite."""
        means = self.progress.pop_mean_losses()
        self.comm.run_on_main(lambda: self.checkpointer.check_finite(means))
        clock = {"images_seen": self.images_seen, "epoch": self.images_seen / self.epoch_images}
        means = self._of_phase(means)
        row = {**clock, **means, **self.progress.pace(self.images_seen)}
        self.log.append(row)
        self.console.show_losses(row)
        if self.observed.observer is not None:
            with self.progress.paused():
                self.observed.report(self.images_seen, means)

    def _observe_epoch(self) -> None:
        """Show the observer an epoch: its mean losses since the last report, and the figures of an evaluation."""
        losses, epoch = self.progress.mean_losses() if self.progress.steps else {}, self.epoch
        figures = self.comm.run_on_main(lambda: self.reporter.figures(self.images_seen))
        row = figures | {"images_seen": self.images_seen, "epoch": epoch}
        self.observed.epoch(epoch, self._of_phase(losses), row)

    def _of_phase(self, losses: dict[str, float]) -> dict[str, float]:
        """The losses that the last steps had: in pretraining nothing is generated."""
        pretrains = self.events.pretrains(self.images_seen)
        return {name: value for name, value in losses.items() if not (pretrains and name in GENERATION_LOSSES)}

    def _evaluate(self) -> None:
        self.trainer.step.model.sync_running_stats(self.comm)  # before the main rank reads them
        epoch, seconds, final = round(self.images_seen / self.epoch_images), self.progress.seconds, self.done
        self.comm.run_on_main(lambda: self.reporter.evaluate(self.log, self.images_seen, epoch, seconds, final=final))
