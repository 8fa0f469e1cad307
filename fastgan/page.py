"""python -m fastgan.page RUN: write the report of a run again, finished or not."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import PageConfig
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.libraries import loading


def main(argv: Sequence[str]) -> int:
    """Parse, check, write. Returns the exit code."""
    args = parse(PageConfig, argv, command="page", description="Write a run's report, report.html.")
    run_folder.read_settings(args.run)
    out = args.out if args.out is not None else args.run / run_folder.REPORT
    outputs.check_file("--out", out, force=args.force or args.out is None, endings=(".html", ".htm"))
    with run_folder.owning_outputs(out):
        with loading():
            from fastgan.tasks import page as task
        task.write(args, out)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
