"""python -m fastgan.train: train on a data set and fill a run folder."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from fastgan.check import preflight
from fastgan.config.command_line import flag_value, run_command, train_config
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import to_json
from fastgan.config.validation import fitting_batch
from fastgan.data import cache, classes, loading
from fastgan.data.identity import Identity, identify
from fastgan.data.image_set import ImageSet
from fastgan.data.likeness import Look
from fastgan.errors import ConfigError, DataError
from fastgan.evaluation import diagnosis
from fastgan.evaluation.evaluator import Evaluation
from fastgan.reporting import html_report, labels
from fastgan.reporting.run_reporter import RunReporter
from fastgan.runs import run_folder
from fastgan.runtime import signals, threads
from fastgan.runtime.device import choose_algorithms, choose_device, choose_kernels, device_name
from fastgan.runtime.distributed import Communicator, RankInfo, init_distributed
from fastgan.runtime.process import tune_malloc
from fastgan.text import pluralize, shell_quoted
from fastgan.training import outlook, same_images
from fastgan.training.engine import Engine
from fastgan.training.loop import Outcome, TrainingLoop
from fastgan.training.resolve import resolve


def _python() -> str:
    """The command of this interpreter, which is not `python` in a virtual environment that is not activated."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = os.path.relpath(sys.executable)
    return shlex.quote(sys.executable if here.startswith("..") else here)


def _again(run: Path) -> str:
    """The command that resumes a run on as many ranks as now."""
    ranks = RankInfo.from_environment()
    how = _python()
    if ranks.world_size > 1:  # the same as torchrun, and found without an activated environment
        how += " -m torch.distributed.run"
        one_machine = ranks.local_world_size == ranks.world_size
        how += f" --standalone --nproc-per-node {ranks.world_size}" if one_machine else " ..."
    return f"{how} -m fastgan.train --resume --run-dir {shell_quoted(run)}"


def _describe(
    run: run_folder.RunFolder,
    config: TrainConfig,
    trainer: Engine,
    images: ImageSet,
    which: Identity,
    open_epochs: bool,
) -> None:
    ranks = trainer.comm.world_size
    print(
        f"{images.name}: {len(images.images):,} images of {config.image_size}x{config.image_size}, "
        f"K = {config.classes}, {pluralize(config.epochs, 'epoch')}, "
        f"on {device_name(trainer.device)}"
        + (f", {ranks} ranks of {config.batch_size} images a step" if ranks > 1 else "")
        + f" in {trainer.step.precision.name}"
        + (", streamed from the host" if trainer.feed.streams else "")
        + ("" if trainer.transforms is None else f", transforms by {trainer.transforms}")
        + f"; run folder {run.path}",
        file=sys.stderr,
    )
    if config.compile and not trainer.step.compiled:
        print("note: --compile: has no benefit on a CPU, so nothing is compiled", file=sys.stderr)
    if trainer.step.precision.note:
        print(f"note: {trainer.step.precision.note}", file=sys.stderr)
    for line in [] if config.resume else outlook.describe(config, trainer, images, which, chosen=open_epochs):
        print(line, file=sys.stderr)


def _say(
    run: run_folder.RunFolder,
    config: TrainConfig,
    outcome: Outcome,
    evaluation: Evaluation | None,
    hardly: diagnosis.Finding | None,
) -> None:
    if outcome.signal_number is not None:
        print(f"stopped and saved; continue with: {_again(run.path)}")
        print(f"{_python()} -m fastgan.page {shell_quoted(run.path)} writes a report of it so far")
        return
    assert evaluation is not None
    print(f"\nafter {pluralize(config.epochs, 'epoch')}, {outcome.seconds:.0f} s of training:")
    print(labels.table(evaluation.row))
    print()
    if hardly is not None:
        print(f"{hardly.title}. {hardly.text} {hardly.remedy}\n")
    if (run.path / html_report.NAME).exists():
        print(f"open {run.path / html_report.NAME} in a browser: classes, frequencies, and what to do next")
    print(f"look at {run.samples} (one row for each code), {run.path / 'losses.png'} and {run.path / 'prior.png'}")
    if config.dataset == "digits":
        print(
            "This was a demonstration on digits of 8x8 pixels, enlarged. MNIST is next: "
            "python -m fastgan.train --dataset mnist --split 1 --amp"
        )


def _images(config: TrainConfig, ranks: RankInfo, comm: Communicator) -> ImageSet:
    """The run's images; on each machine one rank reads them first, so that the others find its cache or download."""

    def load() -> ImageSet:
        with redirect_stderr(io.StringIO()) if ranks.rank else nullcontext():  # messages about the data once
            return loading.load(config)

    first = comm.run_on_all(lambda: load() if ranks.local_rank == 0 else None)
    images = comm.run_on_all(lambda: load() if first is None else first)
    count = len(images.images)

    def check() -> None:
        if config.batch_size * comm.world_size > count:
            each = count // comm.world_size
            lower = f"lower it to {fitting_batch(each)}" if each > 1 else "use fewer ranks"
            raise ConfigError(
                f"--batch-size {config.batch_size}: on {comm.world_size} ranks larger than the data, "
                f"which has {pluralize(count, 'image')}; {lower}, or add images"
            )

    comm.run_on_all(check)
    return images


def _identify(images: ImageSet, comm: Communicator) -> Identity:
    """Which images these are; raises DataError on ranks that read others than rank 0."""
    own = identify(images)
    count, digest = comm.run_on_main(lambda: (own.count, own.digest))

    def check() -> None:
        if own.digest != digest:
            raise DataError(
                f"rank {comm.rank} reads {own.count:,} images and rank 0 {count:,}, and they are not the same; give "
                "all the same --data-dir"
            )

    comm.run_on_all(check)
    return own


def _say_classes(argv: Sequence[str], config: TrainConfig, images: ImageSet) -> None:
    """The classes that folders give as labels, and a K that nobody chose."""
    for line in classes.described(images):
        print(line, file=sys.stderr)
    if config.dataset == "folder" and not config.resume and flag_value(argv, "--classes") is None:
        kinds = f", such as {images.label_count} as in the folders" if images.label_count > 1 else ""
        print(
            f"classes: {config.classes} (default); set --classes to the number of kinds that you expect{kinds}, rather "
            "more than fewer",
            file=sys.stderr,
        )


def _same_ranks(config: TrainConfig, ranks: RankInfo) -> None:
    """Raise ConfigError on resuming with another number of ranks, unless --resume-on-other-ranks is given."""
    assert config.run_dir is not None
    before = run_folder.ranks_of(run_folder.read_settings(config.run_dir))
    if before != ranks.world_size and not config.resume_on_other_ranks:
        how = "leave out torchrun" if before == 1 else f"use torchrun --nproc-per-node {before}"
        raise ConfigError(
            f"--resume: {config.run_dir} was trained on {pluralize(before, 'rank')}, and here "
            f"{'is' if ranks.world_size == 1 else 'are'} {ranks.world_size}; {how}, or add "
            "--resume-on-other-ranks, but results will not match an uninterrupted run"
        )


def _setup(argv: Sequence[str], ranks: RankInfo) -> tuple[TrainConfig, torch.device]:
    """The settings and this rank's device."""
    with redirect_stdout(io.StringIO()) if ranks.rank else nullcontext():  # --help, once
        config = loading.sized(train_config(argv, run_folder.saved_config))
    if config.dry_run:
        return config, torch.device("cpu")
    cache.check(config.cache_dir)
    if config.resume:
        _same_ranks(config, ranks)
    device = choose_device(config.device)
    choose_algorithms(config.deterministic, device)
    device = ranks.device(device) if ranks.world_size > 1 else device
    choose_kernels(config.kernels)  # tries one, on this rank's GPU
    resumed = config.run_dir if config.resume else None
    before = None if resumed is None else run_folder.threads_of(run_folder.read_settings(resumed))
    note = threads.choose(config.threads, before=before, processes=ranks.local_world_size)
    if note and device.type == "cpu" and ranks.rank == 0:
        print(f"note: {note}", file=sys.stderr)
    return config, device


@contextmanager
def _stoppable(path: Path) -> Iterator[None]:
    """Within, a signal that comes before the first step is answered with how to go on."""
    try:
        yield
    except signals.Stopped as stop:
        begun = run_folder.RunFolder(path).settings.exists()
        stop.remedy = f"continue with: {_again(path)}" if begun else "nothing was begun; the same command starts again"
        raise


def main(argv: Sequence[str]) -> int:
    """Parse, build, train. Returns the exit code."""
    ranks = RankInfo.from_environment()
    with init_distributed(ranks) as comm, ExitStack() as held:
        config, device = comm.run_on_all(lambda: _setup(argv, ranks))
        if config.dry_run:
            if comm.is_main:
                print(json.dumps(to_json(config), indent=1), flush=True)
                if config.dataset == "folder":
                    preflight(config)
            return 0
        tune_malloc()
        path = comm.run_on_main(lambda: run_folder.take(config, held))
        with _stoppable(path):
            comm.begin(device, config.rank_timeout)
            images = _images(config, ranks, comm)
            if comm.is_main:
                _say_classes(argv, config, images)
            return train(config, device, images, comm, path)


def _create(
    run: run_folder.RunFolder, config: TrainConfig, device: torch.device, how: Mapping[str, Any], images: Identity
) -> None:
    """Write what a new run's folder begins with; run.json last, since it makes it a run."""
    with run_folder.begun(run.path):
        run.make_folders()
        same_images.keep(run, images)
    run_folder.create(config, device, how, run.path)


def train(config: TrainConfig, device: torch.device, images: ImageSet, comm: Communicator, path: Path) -> int:
    """Start or resume the run in the folder `path`, which rank 0 owns. Returns the exit code."""
    which = _identify(images, comm)
    run = run_folder.RunFolder(path)
    if config.resume:
        comm.run_on_main(lambda: same_images.check(run, which))
    open_epochs = config.epochs == 0
    config, chosen = comm.run_on_all(lambda: resolve(config, images, comm.world_size))
    if chosen is not None and comm.is_main:
        print(chosen, file=sys.stderr)
    # Before the folder is made, so that a failure here leaves nothing behind.
    trainer = comm.run_on_all(lambda: Engine(config, images, device, comm))
    how = trainer.how | same_images.describe(which, Look.of(images))
    if config.resume:
        settings = run_folder.read_settings(run.path)
        if comm.is_main and (message := run_folder.moved(settings, device, how["precision"])):
            print(f"note: {message}", file=sys.stderr)
        before = run_folder.last_environment(settings).get("transforms", trainer.transforms)
        if before != trainer.transforms and comm.is_main:
            print(f"images were transformed by {before}, and from here on by {trainer.transforms}", file=sys.stderr)
    else:
        comm.run_on_main(lambda: _create(run, config, device, how, which))
    if comm.is_main:
        _describe(run, config, trainer, images, which, open_epochs)
    # One copy of the images serves training and evaluation.
    placed = dataclasses.replace(images, images=trainer.feed.images)
    reporter = RunReporter(config, run, placed, trainer.step.model, device)
    training = TrainingLoop(config, run, trainer, reporter)
    if config.resume:
        training.resume()
        if training.done:
            if comm.is_main:
                seen = pluralize(training.images_seen // training.epoch_images, "epoch")
                print(f"{run.path} is complete after {seen}; raise --epochs above that to train on")
            return 0

        def note() -> None:
            with run_folder.continued(run.path):
                same_images.keep(run, which)
                run_folder.note_resume(run, config, device, training.images_seen, how)

        comm.run_on_main(note)
    outcome = training.train()
    if comm.is_main:
        hardly = None
        if reporter.last is not None:
            prior_K, total = trainer.step.prior.probabilities().detach().cpu(), training.events.total
            hardly = diagnosis.hardly_trained(prior_K, reporter.last.sizes_K, training.images_seen, total)
        _say(run, config, outcome, reporter.last, hardly)
    return 128 + outcome.signal_number if outcome.signal_number is not None else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
