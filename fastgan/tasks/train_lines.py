"""What `train` prints before and after a run."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import sys
from pathlib import Path

from fastgan.config.command_line import other_program
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation.evaluator import Evaluation
from fastgan.evaluation.finding import Finding
from fastgan.reporting import html_report, labels
from fastgan.runs import run_folder
from fastgan.runtime.device import device_name
from fastgan.runtime.ranks import RankInfo
from fastgan.text import pluralize, shell_quoted
from fastgan.training.engine import Engine
from fastgan.training.loop import Outcome


def _python() -> str:
    """The command of this interpreter, which is not `python` in a virtual environment that is not activated."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = os.path.relpath(sys.executable)
    return shlex.quote(sys.executable if here.startswith("..") else here)


def again(run: Path) -> str:
    """The command that resumes a run on as many ranks as now."""
    ranks = RankInfo.from_environment()
    how = _python()
    if ranks.world_size > 1:  # the same as torchrun, and found without an activated environment
        how += " -m torch.distributed.run"
        one_machine = ranks.local_world_size == ranks.world_size
        how += f" --standalone --nproc-per-node {ranks.world_size}" if one_machine else " ..."
    return f"{how} -m fastgan.train --resume --run-dir {shell_quoted(run)}"


@dataclasses.dataclass(frozen=True)
class Trained:
    """How a call of `train` ended, on the main rank.

    outcome: None where the run was complete before. evaluation: the last one, if there was any. hardly: what to say of
    a run that was trained too little, if it was.
    """

    run: run_folder.RunFolder
    config: TrainConfig
    epochs: int
    outcome: Outcome | None = None
    evaluation: Evaluation | None = None
    hardly: Finding | None = None

    @property
    def code(self) -> int:
        """The command's exit code."""
        number = None if self.outcome is None else self.outcome.signal_number
        return 0 if number is None else 128 + number


def describe(run: run_folder.RunFolder, config: TrainConfig, trainer: Engine, images: ImageSet, *, named: bool) -> None:
    """Print what is trained on what, and how.

    Args:
        named: whether to name the run's folder.
    """
    ranks = trainer.comm.world_size
    print(
        f"{images.name}: {len(images.images):,} images of {config.image_size}x{config.image_size}, "
        f"K = {config.classes}, {pluralize(config.epochs, 'epoch')}, "
        f"on {device_name(trainer.device)}"
        + (f", {ranks} ranks of {config.batch_size} images a step" if ranks > 1 else "")
        + f" in {trainer.step.precision.name}"
        + (", streamed from the host" if trainer.feed.streams else "")
        + ("" if trainer.transforms is None else f", transforms by {trainer.transforms}")
        + (f"; run folder {run.path}" if named else ""),
        file=sys.stderr,
    )
    if config.compile and not trainer.step.compiled:
        print("note: --compile: has no benefit on a CPU, so nothing is compiled", file=sys.stderr)
    if trainer.step.precision.note:
        print(f"note: {trainer.step.precision.note}", file=sys.stderr)


def say(trained: Trained) -> None:
    """Print how the command `train` ended, and what to do next."""
    run, config, outcome, evaluation = trained.run, trained.config, trained.outcome, trained.evaluation
    if outcome is None:
        seen = pluralize(trained.epochs, "epoch")
        print(f"{run.path} is complete after {seen}; raise --epochs above that to train on")
        return
    if outcome.signal_number is not None:
        print(f"stopped and saved; continue with: {again(run.path)}")
        print(f"{_python()} -m fastgan.page {shell_quoted(run.path)} writes a report of it so far")
        return
    assert evaluation is not None
    say_figures(trained)
    if (run.path / html_report.NAME).exists():
        print(f"open {run.path / html_report.NAME} in a browser: classes, frequencies, and what to do next")
    print(f"look at {run.samples} (one row for each code), {run.path / 'losses.png'} and {run.path / 'prior.png'}")
    if config.dataset == "digits":
        print(
            "This was a demonstration on digits of 8x8 pixels, enlarged. MNIST is next: "
            f"{other_program('train')} --dataset mnist --split 1 --amp"
        )


def say_figures(trained: Trained) -> None:
    """Print the figures of a run's last evaluation, and what was wrong with it."""
    assert trained.evaluation is not None and trained.outcome is not None
    print(f"\nafter {pluralize(trained.epochs, 'epoch')}, {trained.outcome.seconds:.0f} s of training:")
    print(labels.table(trained.evaluation.row))
    print()
    if trained.hardly is not None:
        print(f"{trained.hardly.title}. {trained.hardly.text} {trained.hardly.remedy}\n")
