"""Train on a data set and fill a run folder."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from fastgan.config import settings_file
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import TrainCommand
from fastgan.config.validation import fitting_batch
from fastgan.data import cache, classes, loading
from fastgan.data.identity import Identity, identify
from fastgan.data.image_set import ImageSet
from fastgan.data.likeness import Look
from fastgan.errors import ConfigError, DataError
from fastgan.evaluation import diagnosis
from fastgan.reporting.run_reporter import RunReporter
from fastgan.runs import record, run_folder
from fastgan.runtime import signals, threads
from fastgan.runtime.device import choose_algorithms, choose_device, choose_kernels
from fastgan.runtime.distributed import Communicator, init_distributed
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.ranks import RankInfo
from fastgan.tasks.check import preflight
from fastgan.tasks.train_lines import Trained, again, describe, say
from fastgan.text import pluralize
from fastgan.training import outlook, same_images
from fastgan.training.engine import Engine
from fastgan.training.loop import TrainingLoop
from fastgan.training.observer import Observer
from fastgan.training.resolve import resolve


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


def _say_classes(chosen: bool, config: TrainConfig, images: ImageSet) -> None:
    """The classes that folders give as labels, and a K that nobody has `chosen`."""
    for line in classes.described(images):
        print(line, file=sys.stderr)
    if config.dataset == "folder" and not config.resume and not chosen:
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


def _setup(read: Callable[[], TrainCommand], ranks: RankInfo) -> tuple[TrainConfig, bool, torch.device]:
    """The settings, whether they name the number of classes, and this rank's device."""
    with redirect_stdout(io.StringIO()) if ranks.rank else nullcontext():  # --help, once
        command = read()
        config, chosen = loading.sized(command.config), command.given("classes")
    if config.dry_run:
        return config, chosen, torch.device("cpu")
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
    return config, chosen, device


@contextmanager
def _stoppable(path: Path) -> Iterator[None]:
    """Within, a signal that comes before the first step is answered with how to go on."""
    try:
        yield
    except signals.Stopped as stop:
        begun = run_folder.RunFolder(path).settings.exists()
        stop.remedy = f"continue with: {again(path)}" if begun else "nothing was begun; the same command starts again"
        raise


def run(read: Callable[[], TrainCommand]) -> int:
    """Build, train. Returns the exit code.

    Args:
        read: reads the command line; may raise ConfigError.
    """
    ranks = RankInfo.from_environment()
    with init_distributed(ranks) as comm, ExitStack() as held:
        config, chosen, device = comm.run_on_all(lambda: _setup(read, ranks))
        if config.dry_run:
            if comm.is_main:
                print(settings_file.as_text(config), flush=True)
                if config.dataset == "folder":
                    preflight(config)
            return 0
        tune_malloc()
        path = comm.run_on_main(lambda: run_folder.take(config, held))
        with _stoppable(path):
            comm.begin(device, config.rank_timeout)
            images = _images(config, ranks, comm)
            if comm.is_main:
                _say_classes(chosen, config, images)
            trained = train(config, device, images, comm, path)
            if comm.is_main:
                say(trained)
            return trained.code


def _create(
    run: run_folder.RunFolder, config: TrainConfig, device: torch.device, how: Mapping[str, Any], images: Identity
) -> None:
    """Write what a new run's folder begins with; run.json last, since it makes it a run."""
    with run_folder.begun(run.path):
        run.make_folders()
        same_images.keep(run, images)
    record.create(config, device, how, run.path)


def _continue(
    run: run_folder.RunFolder,
    config: TrainConfig,
    device: torch.device,
    images_seen: int,
    how: Mapping[str, Any],
    images: Identity,
) -> None:
    """Record in a run's folder that it goes on."""
    with run_folder.continued(run.path):
        same_images.keep(run, images)
        record.note_resume(run, config, device, images_seen, how)


def _say_moved(run: run_folder.RunFolder, trainer: Engine, how: Mapping[str, Any]) -> None:
    """What has changed since a run that goes on was last trained."""
    settings = run_folder.read_settings(run.path)
    if message := record.moved(settings, trainer.device, how["precision"]):
        print(f"note: {message}", file=sys.stderr)
    before = run_folder.last_environment(settings).get("transforms", trainer.transforms)
    if before != trainer.transforms:
        print(f"images were transformed by {before}, and from here on by {trainer.transforms}", file=sys.stderr)


def train(
    config: TrainConfig,
    device: torch.device,
    images: ImageSet,
    comm: Communicator,
    path: Path,
    *,
    observer: Observer | None = None,
    named: bool = True,
) -> Trained:
    """Start or resume the run in the folder `path`, which rank 0 owns.

    Args:
        observer: sees reports and epochs, and may stop the run.
        named: whether to name the folder, which a caller may be about to remove.
    """
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
        if comm.is_main:
            _say_moved(run, trainer, how)
    else:
        comm.run_on_main(lambda: _create(run, config, device, how, which))
    if comm.is_main:
        describe(run, config, trainer, images, named=named)
        if not config.resume:
            for line in outlook.describe(config, trainer, images, which, chosen=open_epochs, named=named):
                print(line, file=sys.stderr)
    placed = dataclasses.replace(images, images=trainer.feed.images)  # one copy serves training and evaluation
    reporter = RunReporter(config, run, placed, trainer.step.model, device)
    training = TrainingLoop(config, run, trainer, reporter, observer=observer)
    if config.resume:
        training.resume()
        if training.done:
            return Trained(run, config, training.epoch)
        comm.run_on_main(lambda: _continue(run, config, device, training.images_seen, how, which))
    outcome, hardly = training.train(), None
    if comm.is_main and reporter.last is not None:
        prior_K, total = trainer.step.prior.probabilities().detach().cpu(), training.events.total
        hardly = diagnosis.hardly_trained(prior_K, reporter.last.sizes_K, training.images_seen, total)
    return Trained(run, config, training.epoch, outcome, reporter.last, hardly)
