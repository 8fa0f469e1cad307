"""Write the report of a run again, finished or not."""

from __future__ import annotations

import sys
from pathlib import Path

from fastgan.config.commands import PageConfig
from fastgan.data import folder, loading
from fastgan.data.identity import identify
from fastgan.errors import ConfigError
from fastgan.evaluation import agreement
from fastgan.evaluation.code_summary import RunState
from fastgan.inference import trained_run
from fastgan.inference.labelling import assign
from fastgan.reporting import html_report
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime.stages import stage
from fastgan.training import same_images


def write(args: PageConfig, out: Path) -> None:
    """Read the run and its images, and write the report to `out`; raises ConfigError where it cannot be."""
    run = trained_run.load(args.run, trained_run.choose_processor(args.device, args.threads))
    config = run.config_at(args.data_dir, args.cache_dir)
    images = loading.load(config)
    if args.labels_from_folders:
        images = folder.by_subfolders(images, loading.data_folder(config))
    same_images.warn(run.run, identify(images))
    beside_N = None
    if args.beside is not None:
        other = agreement.load_beside(args.beside, run, config, images)
        for doubt in agreement.doubts(run, other, images):
            print(f"warning: {doubt}", file=sys.stderr)
        beside_N, _ = assign(other.networks, images.images, other.config, other.device)
    state = RunState(
        config=config,
        networks=run.networks,
        generator=run.generator,
        prior_K=run.prior.probabilities(),
        images=images,
        images_seen=run.images_seen,
        rows=MetricsLog(run.run.metrics).rows(),
        settings=run_folder.read_settings(args.run),
        device=run.device,
        beside_N=beside_N,
    )
    try:
        with stage("writing the report"):
            out.parent.mkdir(parents=True, exist_ok=True)
            html_report.write(out, state)
        print(f"wrote {out}")
    except OSError as error:
        raise ConfigError(f"{out.parent}: cannot be written ({error.strerror or error}); make it writable") from error
