"""python -m fastgan.evaluate RUN: measure the newest checkpoint of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import EvaluateConfig, check_labels_from_folders
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.libraries import loading


def main(argv: Sequence[str]) -> int:
    """Parse, check, evaluate. Returns the exit code."""
    args = parse(
        EvaluateConfig,
        argv,
        command="evaluate",
        description="NMI, ENT, prior error, clustering and diversity of a run.",
    )
    settings = run_folder.saved_config(args.run)
    if args.labels_from_folders:
        check_labels_from_folders(args.run, settings)
    if args.beside is not None:
        run_folder.read_settings(args.beside)
    if args.json is not None:
        outputs.check_file("--json", args.json, force=args.force)
    with run_folder.owning_outputs(*([] if args.json is None else [args.json]), flag="--json"):
        with loading():
            from fastgan.tasks import evaluate as task
        return task.evaluate(args)


if __name__ == "__main__":
    sys.exit(run_command(main))
