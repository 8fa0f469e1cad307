"""A run, its images and the run beside it, as the commands `page` and `evaluate` name them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fastgan.config.commands import EvaluateConfig, PageConfig
from fastgan.config.schema import TrainConfig
from fastgan.data import folder, loading
from fastgan.data.identity import identify
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import agreement
from fastgan.inference import trained_run
from fastgan.inference.trained_run import TrainedRun
from fastgan.training import same_images


@dataclass(frozen=True)
class RunAndImages:
    """config: the run's, with its images where they are now. beside: the run of --beside, None without."""

    run: TrainedRun
    config: TrainConfig
    images: ImageSet
    beside: TrainedRun | None


def read(args: PageConfig | EvaluateConfig) -> RunAndImages:
    """Read them, with warnings of what is doubtful on stderr; raises ConfigError where one cannot be read."""
    run = trained_run.load(args.run, trained_run.choose_processor(args.device, args.threads))
    config = run.config_at(args.data_dir, args.cache_dir)
    images = loading.load(config)
    if args.labels_from_folders:
        images = folder.by_subfolders(images, loading.data_folder(config))
    same_images.warn(run.run, identify(images))
    beside = None if args.beside is None else agreement.load_beside(args.beside, run, config, images)
    for doubt in [] if beside is None else agreement.doubts(run, beside, images):
        print(f"warning: {doubt}", file=sys.stderr)
    return RunAndImages(run, config, images, beside)
