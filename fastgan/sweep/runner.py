"""Many runs, shared among ranks: each is trained once, kept as a row, and continued if it was interrupted.

Ranks share only the results folder. Each goes through all runs in their order and trains those that are neither
finished nor claimed. A claim ends with its process, so a killed rank loses only its current run, and of that
only what came after the last checkpoint.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch

from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import FREE_ON_RESUME, differences
from fastgan.data import loading
from fastgan.data.identity import Identity, identify
from fastgan.data.image_set import ImageSet
from fastgan.errors import CheckpointCorruptError, ConfigError
from fastgan.evaluation.evaluator import held_out_row
from fastgan.evaluation.judge import obtain_judge
from fastgan.inference.labelling import assign
from fastgan.reporting.run_reporter import RunReporter
from fastgan.runs import record, run_folder
from fastgan.runs.run_folder import RunFolder
from fastgan.runtime import signals, stages
from fastgan.runtime.process import peak_memory
from fastgan.runtime.ranks import RankInfo
from fastgan.runtime.turns import NO_OTHERS, SharedTurns, Turns
from fastgan.step.losses import LOSSES
from fastgan.sweep import rivals, time_left
from fastgan.sweep.results import Results, RunKey
from fastgan.sweep.rivals import RIVALS
from fastgan.text import pluralize
from fastgan.training import same_images
from fastgan.training.engine import Engine
from fastgan.training.loop import TrainingLoop
from fastgan.training.resolve import resolve

SHOWN = ("nmi", "ent", "cluster_accuracy", "cluster_nmi")  # figures of a finished run that are printed
# Settings that may differ between a run of the sweep and its folder; `recipe` may, since its settings are compared.
FREE = (FREE_ON_RESUME - {"epochs"}) | {"recipe"}


class Sweep:
    """The runs that one process trains.

    Args:
        results: where rows are kept.
        runs: every run of the sweep, in the order in which they are trained, the same for all ranks; runs whose steps
            have the same operations share a trainer.
        pictures: the runs that draw their grids and curves.
        held_out: score real images that the run was not trained on as well, where the data set has them.
        named: start each line with the run's name, for concurrent runs.
    """

    def __init__(
        self,
        results: Results,
        runs: Mapping[RunKey, TrainConfig],
        device: torch.device,
        ranks: RankInfo,
        pictures: frozenset[RunKey] = frozenset(),
        named: bool = False,
        held_out: bool = False,
    ) -> None:
        self.results, self.runs, self.device, self.ranks = results, runs, device, ranks
        self.pictures, self.named, self.held_out = pictures, named, held_out
        self.turns: Turns = NO_OTHERS
        self.at_once = ranks.world_size  # runs that are made at the same time, as far as this process knows
        self._trainers: list[Engine] = []
        self._everything: ImageSet | None = None

    def beside(self, turns: SharedTurns) -> Sweep:
        """A copy on the same images, for a thread that trains some of the runs while other threads train the rest."""
        self._images(next(iter(self.runs.values())))
        other = copy.copy(self)
        other.turns, other.named, other._trainers = turns, True, []
        return other

    def keep_judge(self) -> None:
        """Obtain the judge of these images, and cache it before other processes need it."""
        config = next(iter(self.runs.values()))
        obtain_judge(config, self._images(config), self.device)

    @property
    def keys(self) -> list[RunKey]:
        """All runs in their order, rank r starting with the r-th: together the ranks finish split by split."""
        keys = list(self.runs)
        first = self.ranks.rank % max(len(keys), 1)
        return keys[first:] + keys[:first]

    def train(self) -> int | None:
        """Train the runs that are left; returns the signal that stopped them, or None."""
        for key in self.keys:
            stopped = self.train_one(key)
            if stopped is not None:
                return stopped
            if signals.received():  # with the last step of a run
                return signals.received()[0]
        return None

    def train_one(self, key: RunKey) -> int | None:
        """Train this run, unless it is finished or claimed; returns the signal that stopped it, or None."""
        if self.results.has(key):
            return None
        with self.results.claim(key) as mine:
            if not mine or self.results.has(key):  # finished meanwhile
                return None
            with stages.named(key.name) if self.named else nullcontext():
                return self._one(key, self.runs[key])

    def _one(self, key: RunKey, config: TrainConfig) -> int | None:
        """Train one run to its end and keep its row; returns the signal if one stopped it."""
        begin = time.perf_counter()
        path = self.results.runs_folder / key.name
        config = dataclasses.replace(config, run_dir=path)
        images = self._images(config)
        if key.method in RIVALS:
            self._keep(key, rivals.row(key.method, config, images, self._held_out(config)), begin)
            return None
        with run_folder.owning(path):
            return self._train(key, config, images, begin)

    def _train(self, key: RunKey, config: TrainConfig, images: ImageSet, begin: float) -> int | None:
        """Train a run of ours, whose folder this process owns."""
        config, _ = resolve(config, images)
        trainer = self._trainer_for(config, images)
        run = self._folder(config, trainer, identify(images))
        # On a GPU a run takes seconds: it is repeated rather than saved twenty times.
        saves = self.device.type != "cuda"
        placed = dataclasses.replace(images, images=trainer.feed.images)  # one copy serves training and evaluation
        shown = key in self.pictures
        reporter = RunReporter(config, run, placed, trainer.step.model, self.device, pictures=shown, context=False)
        loop = TrainingLoop(config, run, trainer, reporter, checkpoints=saves, turns=self.turns)
        try:
            loop.resume()
        except CheckpointCorruptError:  # none was saved, or none is intact
            loop.log.keep_until(-1)
        if not loop.done:
            outcome = loop.train()
            if outcome.signal_number is not None:
                return outcome.signal_number
        row = row_of(run, loop.log.rows(), config.epochs)
        if (held_out := self._held_out(config)) is not None:
            codes, _ = assign(trainer.step.networks, held_out.images, config, self.device)
            row["evaluations"][str(config.epochs)] |= held_out_row(codes, held_out, images, config.classes)
        self._keep(key, row, begin)
        if not self.results.keep_checkpoints:
            shutil.rmtree(run.checkpoints, ignore_errors=True)
        return None

    def _keep(self, key: RunKey, row: dict[str, Any], begin: float) -> None:
        """Write the row of a finished run, with the memory that it needed, and print its figures."""
        row["peak_memory_gb"] = peak_memory(self.device) / 2**30
        self.results.write(key, row)
        self._say(key, row, time.perf_counter() - begin)

    def _say(self, key: RunKey, row: dict[str, Any], seconds: float) -> None:
        last = row["evaluations"][max(row["evaluations"], key=int)]
        figures = ", ".join(f"{name} {last[name]:.3f}" for name in SHOWN if last.get(name) is not None)
        left = [each for each in self.runs if not self.results.has(each)]
        done = len(self.runs) - len(left)
        runs = f"{done} of {pluralize(len(self.runs), 'run')} {'is' if done == 1 else 'are'} finished"
        device = row.get("environment", {}).get("device")
        rest = time_left.in_words(self.results.folder, left, device, self.at_once)
        runs += f", {rest}" if rest else ""
        stages.say(f"{'' if self.named else f'{key.name}: '}{figures}; {seconds:.0f} s; {runs}")

    def _images(self, config: TrainConfig) -> ImageSet:
        """The images of a run; files are read only once."""
        if self._everything is None:
            self._everything = loading.load_everything(config)
            self.results.check_images(identify(self._everything).summary())
        return loading.load(config, self._everything)

    def _held_out(self, config: TrainConfig) -> ImageSet | None:
        """The images to score that a run is not trained on; None without `held_out` or such images."""
        return loading.load_held_out(config, self._everything) if self.held_out else None

    def _trainer_for(self, config: TrainConfig, images: ImageSet) -> Engine:
        """The trainer of an earlier run, with its compiled and captured parts, if one fits; otherwise a new one.

        All are kept, since the methods of a split follow one another and each comes again with the next split.
        """
        trainer = next((each for each in self._trainers if each.fits(config)), None)
        if trainer is not None:
            with self.turns.one():  # initialising weights uses the process's global random generator
                trainer.restart(config, images)
        else:
            with self.turns.alone():
                trainer = Engine(config, images, self.device)
            self._trainers.append(trainer)
        return trainer

    def _folder(self, config: TrainConfig, trainer: Engine, images: Identity) -> RunFolder:
        """The run's folder, new or existing; raises ConfigError if it holds a run with other settings or images."""
        assert config.run_dir is not None
        run = RunFolder(config.run_dir)
        if not run.settings.exists():
            return record.create(config, self.device, trainer.how | same_images.describe(images))
        if how := same_images.changed(run, images):
            raise ConfigError(f"{run.settings}: a run on other images ({how}); move its folder away")
        changed = differences(config, run_folder.saved_config(run.path), FREE)
        if changed:
            raise ConfigError(f"{run.settings}: a run with other settings ({', '.join(changed)}); move its folder away")
        message = record.moved(run_folder.read_settings(run.path), self.device, trainer.step.precision.name)
        if message:
            stages.say(f"note: {config.run_dir}: {message}")
        run.make_folders()
        return run


def row_of(run: RunFolder, log: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    """The row of a finished run: settings, environment, figures by epoch, and the losses once an epoch."""
    kept = _settings(run)
    evaluations = {
        str(row["epoch"]): {k: v for k, v in row.items() if k != "epoch"} for row in log if "effective_classes" in row
    }
    losses: dict[int, list[float | None]] = {}
    for row in log:
        if LOSSES[-1] in row:  # pretraining has only some of them
            losses[min(int(row["epoch"]), epochs)] = [row["epoch"], *(row.get(name) for name in LOSSES)]
    assert str(epochs) in evaluations, "a finished run ends with an evaluation"
    return {
        **kept,
        "evaluations": evaluations,
        "losses": {"columns": ["epoch", *LOSSES], "rows": list(losses.values())},
        "train_seconds": evaluations[str(epochs)]["train_seconds"],
    }


def _settings(run: RunFolder) -> dict[str, Any]:
    values = run_folder.read_settings(run.path)
    for name in ("run_dir", "data_dir", "cache_dir"):  # paths of one machine
        values["settings"][name] = None
    values["environment"].pop("command", None)
    return values
