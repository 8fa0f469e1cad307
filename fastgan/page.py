"""python -m fastgan.page RUN: write the report of a run again, finished or not.

With several runs: one page that compares them. With --beside: the report of one, which another bears out or not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import PageConfig, check_labels_from_folders
from fastgan.errors import ConfigError
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.libraries import loading

DESCRIPTION = "Write a run's report, report.html; of several runs on the same images, a comparison, compare.html."


def main(argv: Sequence[str]) -> int:
    """Parse, check, write. Returns the exit code."""
    args = parse(PageConfig, argv, command="page", description=DESCRIPTION)
    runs = [args.run, *args.others]
    for run in runs:
        run_folder.read_settings(run)
    if args.labels_from_folders:
        check_labels_from_folders(args.run, run_folder.saved_config(args.run))
    _check_apart(runs)
    if args.beside is not None:
        if args.others:
            raise ConfigError(
                "--beside: goes with one run alone; leave it out, and name the second run after the first"
            )
        run_folder.read_settings(args.beside)
    name = run_folder.COMPARISON if args.others else run_folder.REPORT
    out = args.out if args.out is not None else args.run / name
    outputs.check_file("--out", out, force=args.force or args.out is None, endings=(".html", ".htm"))
    with run_folder.owning_outputs(out):
        with loading():
            from fastgan.tasks import compare, page
        (compare if args.others else page).write(args, out)
    return 0


def _check_apart(runs: Sequence[Path]) -> None:
    """Raise ConfigError where a run is named twice."""
    seen: set[Path] = set()
    for run in runs:
        if run.resolve() in seen:
            raise ConfigError(f"{run}: is named twice; name each run once")
        seen.add(run.resolve())


if __name__ == "__main__":
    sys.exit(run_command(main))
