"""Write the page that compares runs on the same images."""

from __future__ import annotations

from pathlib import Path

from fastgan.config.commands import PageConfig
from fastgan.data import folder, loading
from fastgan.data.identity import Identity, difference, identify
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation.run_reading import RunReading, read_run
from fastgan.inference import trained_run
from fastgan.inference.trained_run import TrainedRun
from fastgan.reporting import comparison_page
from fastgan.runtime.stages import stage
from fastgan.training import same_images


def write(args: PageConfig, out: Path) -> None:
    """Read the runs on the images of the first, and write the page to `out`.

    Raises:
        ConfigError: a run is on other images, or the page cannot be written.
    """
    device = trained_run.choose_processor(args.device, args.threads)
    paths = [args.run, *args.others]
    first = trained_run.load(paths[0], device)
    config = first.config_at(args.data_dir, args.cache_dir)
    images = loading.load(config)
    if args.labels_from_folders:
        images = folder.by_subfolders(images, loading.data_folder(config))
    identity = identify(images)
    _check_same(first, first, identity)
    readings = [_read(first, args, images, paths)]
    for path in paths[1:]:
        run = trained_run.load(path, device)
        _check_same(run, first, identity)
        readings.append(_read(run, args, images, paths))
    try:
        with stage("writing the comparison"):
            out.parent.mkdir(parents=True, exist_ok=True)
            comparison_page.write(out, readings, images)
        print(f"wrote {out}")
    except OSError as error:
        raise ConfigError(f"{out.parent}: cannot be written ({error.strerror or error}); make it writable") from error


def _read(run: TrainedRun, args: PageConfig, images: ImageSet, paths: list[Path]) -> RunReading:
    """One run, named by its folder; by its whole path where two folders have one name."""
    names = [path.resolve().name for path in paths]
    name = run.run.path.resolve().name
    shown = name if names.count(name) == 1 else str(run.run.path)
    return read_run(run, run.config_at(args.data_dir, args.cache_dir), images, shown)


def _check_same(run: TrainedRun, first: TrainedRun, images: Identity) -> None:
    """Raise ConfigError where a run was trained on other images than these."""
    before = same_images.trained_on(run.run)
    if before is None:  # a run of an earlier version: its settings still say which images
        before = identify(loading.load(run.config))
    how = difference(before, images)
    if not how:
        return
    if run is first:
        remedy = "put the former ones back, or name their folder with --data-dir"
    elif run.config.image_size != first.config.image_size:
        remedy = f"train one with --image-size {first.config.image_size}, as {first.run.path} has it"
    elif run.config.imbalance != "none":
        remedy = "a split's images are drawn by the --seed: compare runs with --imbalance none, or of one seed"
    else:
        remedy = f"name runs on the images of {first.run.path}, or train one: train --like {first.run.path} --seed 1"
    raise ConfigError(f"{run.run.path}: was trained on other images ({how}); {remedy}")
