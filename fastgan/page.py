"""python -m fastgan.page RUN: write the report of a run again, finished or not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastgan.config.command_line import parse, positional, run_command
from fastgan.data import loading
from fastgan.errors import ConfigError
from fastgan.evaluation.code_summary import RunState
from fastgan.inference import trained_run
from fastgan.reporting import html_report
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime.stages import stage


@dataclass(frozen=True, kw_only=True)
class PageConfig:
    """Which report to write."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved."""
    cache_dir: Path | None = None
    """Where decoded images are kept. Left out: where the run kept them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


def main(argv: Sequence[str]) -> int:
    """Parse, collect, write. Returns the exit code."""
    args = parse(PageConfig, argv, prog="python -m fastgan.page", description="Write a run's report, report.html.")
    run = trained_run.load(args.run, trained_run.choose_processor(args.device, args.threads))
    config = run.config_at(args.data_dir, args.cache_dir)
    state = RunState(
        config=config,
        networks=run.networks,
        generator=run.generator,
        prior_K=run.prior.probabilities(),
        images=loading.load(config),
        images_seen=run.images_seen,
        rows=MetricsLog(run.run.metrics).rows(),
        settings=run_folder.read_settings(args.run),
        device=run.device,
    )
    try:
        with stage("writing the report"):
            written = html_report.write(args.run, state)
        print(f"wrote {written}")
    except OSError as error:
        raise ConfigError(f"{args.run}: cannot be written ({error.strerror or error}); make it writable") from error
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
