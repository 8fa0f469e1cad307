"""The order of events: fetch, step, report, evaluate, save. Images seen are the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError, DivergenceError
from fastgan.evaluation import metrics
from fastgan.evaluation.evaluator import Evaluation, Evaluator, context_rows
from fastgan.evaluation.judge import obtain_judge
from fastgan.inference.sampling import Sampler
from fastgan.reporting import html_report, labels, plots
from fastgan.reporting.images import save_grid
from fastgan.runs import checkpoint, metrics_log, run_folder
from fastgan.runs.run_folder import RunFolder
from fastgan.runs.tensorboard import Board
from fastgan.runtime import stages
from fastgan.runtime.process import stop_signals
from fastgan.runtime.stages import stage
from fastgan.runtime.threads import Starvation
from fastgan.runtime.turns import NO_OTHERS, Turns
from fastgan.step import nonfinite
from fastgan.step.losses import LOSSES
from fastgan.training.checkpointer import SaveBudget
from fastgan.training.engine import Trainer
from fastgan.training.progress import Progress, Stopwatch

GRID_COLUMNS = 10
AGREED_EVERY = 8  # turns of the loop after which the ranks tell each other of signals


@dataclass
class Outcome:
    """How a run ended: its last evaluation, or the signal that stopped it."""

    evaluation: Evaluation | None
    signal_number: int | None
    seconds: float


class Loop:
    """One run, from its first or its resumed image to the last.

    Args:
        config: the settings, validated.
        run: the folder to write to.
        images: the training set (its labels serve evaluation only).
        trainer: made, or restarted, for this config and these images; of its gang only rank 0 evaluates and writes.
        pictures: draw grids and curves at each evaluation, and write report.html at the last.
        context: add the rows of k-means to the last evaluation.
        checkpoints: save any.
        turns: with the other runs of this process.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        images: ImageSet,
        trainer: Trainer,
        *,
        pictures: bool = True,
        context: bool = True,
        checkpoints: bool = True,
        turns: Turns = NO_OTHERS,
    ) -> None:
        self.config, self.run, self.trainer, self.device = config, run, trainer, trainer.device
        self.images = dataclasses.replace(images, images=trainer.feed.images)  # one copy serves both
        self.step, self.feed, self.iterations = trainer.step, trainer.feed, trainer.iterations
        self.pictures, self.context, self.checkpoints, self.turns = pictures, context, checkpoints, turns
        self.gang, self.batch, self.silent = trainer.gang, trainer.batch, not trainer.gang.leads
        self.log = metrics_log.MetricsLog(run.metrics)
        self.board = Board(run.tensorboard if self.gang.leads else None)
        self.progress, self.budget = Progress(trainer.loss_sum, self.gang), SaveBudget(config.save_share)
        self.epoch_images = trainer.epoch_images
        self.total = config.epochs * self.epoch_images
        self.images_seen = self._saved_at = self._looked = 0
        self._trained_before = 0.0  # seconds, by the processes that this one goes on from
        self._evaluator: Evaluator | None = None
        self._last: Evaluation | None = None

    def resume(self) -> None:
        """Continue from the newest checkpoint that passes its hashes; after other ranks, with the next whole batch."""
        path, _ = self.gang.told(lambda: checkpoint.newest(self.run.checkpoints))
        self.gang.agreed(lambda: self._load(path))
        self.images_seen = self._saved_at = int(self.step.images_seen)
        self.gang.told(self._keep_rows)
        self._say(f"resumed from {path} after {self.images_seen:,} images")

    def _load(self, path: Path) -> None:
        training = checkpoint.load(path, "training")
        training["images_seen"] += -training["images_seen"] % self.batch
        before, now = len(training.get("feed.groups", self.feed.groups)), len(self.images.images)
        if before != now:  # a folder of one's own images may have changed
            raise ConfigError(f"{path}: of a run on {before:,} images, and now there are {now:,}; start a new run")
        try:
            self.step.load_state(checkpoint.load(path, "model"), training)
            self.progress.load(training)
            if self.config.grouping.at:
                self.feed.regroup(training["feed.groups"])
        except (KeyError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())  # torch lists the names on lines of their own
            raise ConfigError(f"{path}: does not fit this run's networks ({said})") from error

    def _keep_rows(self) -> None:
        with run_folder.continued(self.run.path):
            self.log.keep_until(self.images_seen)

    def train(self) -> Outcome:
        """Train to the last epoch, or until a signal."""
        if self.images_seen < self.total:
            # Nothing is lost if a signal ends the process here, where a judge may be trained for minutes.
            if not self.trainer.prepared:
                first = "compiling the first steps" if self.step.compiled else "the first steps"
                with stage(first, silent=self.silent), self.turns.alone():
                    self.trainer.prepare(self.images_seen)
            with stage("preparing the evaluation", silent=self.silent), self.turns.one():
                self.gang.told(self._ready_to_evaluate)
        board = self.board.opened(self.images_seen, self.log.rows())
        training = stage("training", self.total, done=self.images_seen, silent=self.silent, place=self._place)
        with stop_signals() as received, training as self.shown, run_folder.written(self.run.path), board:
            self.watch, self.starvation = Stopwatch(self._wait), Starvation(torch.get_num_threads())
            self._trained_before, reported, reported_at = self.progress.seconds, self.images_seen, 0.0
            while self.images_seen < self.total and not self._stopped(received):
                # 0. Group the real images anew, before chosen epochs.
                if self._groups_now():
                    with self._paused("grouping the images"):
                        self._regroup()

                # 1. Fetch: the next batches and their transforms into the ring.
                count = self._steps_ahead()
                images = count * self.batch
                self.trainer.ensure(self.images_seen, self.images_seen + images)

                # 2. Step, up to the next event.
                self.iterations.run(count)
                self.progress.steps += count
                self.images_seen += images
                self.shown.update(images)
                if self.device.type == "cpu" and (news := self.starvation.news()):
                    self._say(news)

                # 3. Report.
                log_every, eval_every, save_every = self._events()
                if self._passed(log_every) or self.images_seen == self.total:
                    row, now = self._report(), self.watch.seconds()
                    self.progress.seconds = self._trained_before + now
                    row["images_per_second"] = (self.images_seen - reported) / (now - reported_at)
                    row["train_seconds"] = self.progress.seconds
                    reported, reported_at = self.images_seen, now
                    self._keep(row)
                    self.shown.tell(", ".join(f"{name.removesuffix('_loss')} {row[name]:.3f}" for name in LOSSES))

                # 4. Evaluate and save, at the ends of chosen epochs and of the run.
                done = self.images_seen == self.total
                if done or self._passed(eval_every):
                    with self._paused("evaluating"):
                        self.evaluate(final=done)
                if done or (self._passed(save_every) and self.gang.told(self.budget.allows)):
                    with self._paused("saving"), self.budget.saving():
                        self.save()
            if self._saved_at != self.images_seen:  # stopped by a signal, which may come at any point of the loop
                with self._paused("saving"):
                    self.save()
            if self.pictures and self.images_seen >= self.total:
                with self._paused("writing the report"):
                    self.gang.told(self._write_page)  # the run is saved by now, whatever becomes of its page
        return Outcome(
            self._last, received[0] if received and self.images_seen < self.total else None, self.progress.seconds
        )

    @contextmanager
    def _paused(self, what: str) -> Iterator[None]:
        """Inside, something else is done than training: its seconds are none of the rate's."""
        with self.watch.paused() as seconds, self.shown.paused(), stage(what, silent=self.silent), self.turns.one():
            self.progress.seconds = self._trained_before + seconds
            yield

    def _wait(self) -> None:
        """For the steps that a GPU has queued."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def _stopped(self, received: list[int]) -> bool:
        """Whether a signal has come, to any rank: all of them stop after the same step."""
        self._looked += 1
        self.turns.between()
        if self.gang.count > 1:
            if self._looked % AGREED_EVERY:
                return False
            number = self.gang.largest(max(received, default=0))
            received[:0] = [number] if number else []  # one that came in the meantime stays, for the next time
            return number > 0
        return bool(received)

    def _events(self) -> tuple[int, ...]:
        """Images between two reports, two evaluations, two checkpoints."""
        config = self.config
        return config.log_every, config.eval_every * self.epoch_images, config.save_every * self.epoch_images

    def _steps_ahead(self) -> int:
        """Steps to run at once: they end where an event falls due."""
        size = self.batch
        due = [every - self.images_seen % every for every in self._events()]
        if self.config.grouping.at:
            due.append(self.epoch_images - self.images_seen % self.epoch_images)
        most = min(self.iterations.unroll, self.feed.chunk // self.config.batch_size)
        return min(most, -(-min(*due, self.total - self.images_seen) // size))

    def _groups_now(self) -> bool:
        epoch, into = divmod(self.images_seen, self.epoch_images)
        return into == 0 and epoch in self.config.grouping.at

    def _regroup(self) -> None:
        """Group the real images anew; what a run resumed here does again, to the same end."""
        start, epoch = time.perf_counter(), self.images_seen // self.epoch_images
        moved = self.trainer.regroup()
        seconds = time.perf_counter() - start
        row = {"images_seen": self.images_seen, "epoch": epoch, "regrouped": moved, "grouping_seconds": seconds}
        self._keep(row)
        said = f"grouped the images in {seconds:.1f} s; {moved:.1%} leave their code for another"
        self._say(f"epoch {epoch} of {self.config.epochs}: {said}")

    def _keep(self, row: dict[str, Any]) -> None:
        """Add a row to metrics.jsonl, and to TensorBoard's files."""
        if self.gang.leads:
            self.log.append(row)
            self.board.append(row)

    def _passed(self, every: int) -> bool:
        """Whether the last batch crossed a multiple of `every` images."""
        return self.images_seen // every > (self.images_seen - self.batch) // every

    def _report(self) -> dict[str, Any]:
        """Mean losses since the last report; raises DivergenceError when something was not finite."""
        row: dict[str, Any] = {"images_seen": self.images_seen, "epoch": self.images_seen / self.epoch_images}
        means = self.progress.take()
        self.gang.told(lambda: self._check(means))
        return row | means

    def _check(self, losses: dict[str, float]) -> None:
        rate = self.config.learning_rate
        remedy = f"the newest checkpoint is from before: --resume, or lower --learning-rate (now {rate}) in a new run"
        nonfinite.check(self.step.guard, losses, batch_size=self.batch, remedy=remedy)

    def _say(self, line: str) -> None:
        if not self.silent:
            stages.say(line)

    def _place(self, images_seen: int) -> str:
        return f"epoch {images_seen / self.epoch_images:.1f} of {self.config.epochs}"

    def save(self) -> None:
        """Write a checkpoint, unless a step or a weight is not finite."""
        self.progress.settle()
        self.step.settle()
        self.gang.told(self._save)
        self._saved_at = self.images_seen

    def _save(self) -> None:
        self._check(dict(zip(LOSSES, self.progress.loss_sum.tolist(), strict=True)))
        if not self.checkpoints:
            return
        training = self.step.training_state() | self.progress.state()
        if self.config.grouping.at:
            training["feed.groups"] = self.feed.groups
        parts = {"model": self.step.model_state(), "training": training}
        if wrong := nonfinite.not_finite(parts["model"]):
            raise DivergenceError(
                f"{wrong[0]} is not finite before image {self.images_seen:,} and is not saved; the newest checkpoint "
                "is from before: --resume, or lower --learning-rate in a new run"
            )
        checkpoint.save(self.run.checkpoints, self.images_seen, parts)

    def evaluate(self, *, final: bool) -> None:
        """Measure, log, and draw the sample grid; at the end also the curves and the context rows. By rank 0 alone."""
        self.step.settle()
        self.gang.told(lambda: self._evaluate(final))

    def _ready_to_evaluate(self) -> None:
        if self._evaluator is None:
            judge = obtain_judge(self.config, self.images, self.device)
            self._evaluator = Evaluator(self.images, judge, self.config, self.device)

    def _evaluate(self, final: bool) -> None:
        self._ready_to_evaluate()
        assert self._evaluator is not None
        probabilities = self.step.prior.probabilities()
        found = self._evaluator(self.step.networks, self.step.sampling_generator, probabilities)
        row = {"images_seen": self.images_seen, "epoch": round(self.images_seen / self.epoch_images), **found.row}
        if final and self.context and self.images.labels is not None:
            row |= context_rows(self.images, self.config.classes)
        row["train_seconds"] = self.progress.seconds
        self._keep(row)
        self._last = dataclasses.replace(found, row=row)
        if self.pictures:
            self._draw(found, probabilities.cpu())
        shown = {key: name for key, name in labels.FIGURES.items() if key in row} or labels.FIGURES_WITHOUT_LABELS
        figures = ", ".join(f"{name} {row[key]:.3f}" for key, name in shown.items())
        self._say(f"epoch {row['epoch']} of {self.config.epochs}: {figures}")

    def _draw(self, found: Evaluation, prior_K: Tensor) -> None:
        """The pictures of one evaluation."""
        config = self.config
        codes = torch.arange(config.classes).repeat_interleave(GRID_COLUMNS)
        images = Sampler(self.step.sampling_generator, config, self.device, "samples")(codes)
        epoch = round(self.images_seen / self.epoch_images)
        save_grid(images, self.run.samples / f"epoch-{epoch:04d}.png", GRID_COLUMNS)
        frequencies, true_K, matched = self.images.class_frequencies(), None, None
        if found.counts_KC is not None:
            matched = metrics.match_codes(found.counts_KC)
            if frequencies is not None:
                true_K = frequencies[matched]
            plots.plot_confusion(found.counts_KC, matched, self.run.path / "confusion.png")
        plots.plot_prior(prior_K, found.sizes_K, true_K, self.run.path / "prior.png")
        plots.plot_losses(self.log.rows(), self.run.path / "losses.png")
        self.run.write_prior(
            {
                "images_seen": self.images_seen,
                "probabilities": prior_K.tolist(),
                "cluster_sizes": found.sizes_K.tolist(),
                "matched_class": None if matched is None else matched.tolist(),
                "true_frequencies_by_class": None if frequencies is None else frequencies.tolist(),
            }
        )

    def _write_page(self) -> None:
        """report.html; a page that cannot be written is no reason to lose a trained run."""
        if self._last is None:
            return
        try:
            state = html_report.RunState(
                config=self.config,
                networks=self.step.networks,
                generator=self.step.sampling_generator,
                prior_K=self.step.prior.probabilities(),
                images=self.images,
                images_seen=self.images_seen,
                rows=self.log.rows(),
                settings=run_folder.read_settings(self.run.path),
                device=self.device,
            )
            html_report.write(self.run.path, state)
        except Exception as error:  # noqa: BLE001 - whatever it was
            said = " ".join(f"{type(error).__name__}: {error}".split())
            again = f"python -m fastgan.page {self.run.path} tries again"
            stages.say(f"warning: {html_report.NAME} was not written ({said}); {again}")
