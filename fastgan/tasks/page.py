"""Write the report of a run again, finished or not."""

from __future__ import annotations

from pathlib import Path

from fastgan.config.commands import PageConfig
from fastgan.errors import ConfigError
from fastgan.evaluation.code_summary import RunState
from fastgan.inference.labelling import assign
from fastgan.reporting import html_report
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime.stages import stage
from fastgan.tasks import run_and_images


def write(args: PageConfig, out: Path) -> None:
    """Read the run and its images, and write the report to `out`; raises ConfigError where it cannot be."""
    found = run_and_images.read(args)
    run, other, images = found.run, found.beside, found.images
    beside_N = None if other is None else assign(other.networks, images.images, other.config, other.device)[0]
    state = RunState(
        config=found.config,
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
