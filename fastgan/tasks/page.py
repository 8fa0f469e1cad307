"""python -m fastgan.page RUN: write the report of a run again, finished or not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastgan.config.command_line import parse, positional, run_command
from fastgan.data import loading
from fastgan.data.identity import identify
from fastgan.errors import ConfigError
from fastgan.evaluation.code_summary import RunState
from fastgan.inference import trained_run
from fastgan.reporting import html_report
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime import outputs
from fastgan.runtime.stages import stage
from fastgan.training import same_images


@dataclass(frozen=True, kw_only=True)
class PageConfig:
    """Which report to write."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved."""
    cache_dir: Path | None = None
    """Where decoded images are kept. Left out: where the run kept them."""
    out: Path | None = None
    """The file to write. Left out: RUN/report.html, which is renewed."""
    force: bool = False
    """Replace a file of --out that is there already."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


def main(argv: Sequence[str]) -> int:
    """Parse, check, write. Returns the exit code."""
    args = parse(PageConfig, argv, prog="python -m fastgan.page", description="Write a run's report, report.html.")
    run_folder.read_settings(args.run)
    out = args.out if args.out is not None else args.run / html_report.NAME
    outputs.check_file("--out", out, force=args.force or args.out is None, endings=(".html", ".htm"))
    with run_folder.owning_outputs(out):
        _write(args, out)
    return 0


def _write(args: PageConfig, out: Path) -> None:
    run = trained_run.load(args.run, trained_run.choose_processor(args.device, args.threads))
    config = run.config_at(args.data_dir, args.cache_dir)
    images = loading.load(config)
    same_images.warn(run.run, identify(images))
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
    )
    try:
        with stage("writing the report"):
            out.parent.mkdir(parents=True, exist_ok=True)
            html_report.write(out, state)
        print(f"wrote {out}")
    except OSError as error:
        raise ConfigError(f"{out.parent}: cannot be written ({error.strerror or error}); make it writable") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
