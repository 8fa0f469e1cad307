"""python -m fastgan.export RUN: the generator and the labeller as files that torch loads without fastgan."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import ExportConfig
from fastgan.inference.export_place import check_place
from fastgan.runs import run_folder
from fastgan.runtime.libraries import loading


def main(argv: Sequence[str]) -> int:
    """Parse, check, export. Returns the exit code."""
    args = parse(
        ExportConfig,
        argv,
        command="export",
        description="Generator and labeller of a run as files that need only torch.",
    )
    run_folder.read_settings(args.run)
    out, force = args.out if args.out is not None else args.run / "export", args.force or args.overwrite
    check_place(out, force)
    with run_folder.owning_outputs(out):
        with loading():
            from fastgan.tasks import export as task
        written = task.write(args.run, out, force, args.threads)
    print(f"wrote {', '.join(written)} to {out}")
    if "labeller.onnx" not in written:
        print("note: no ONNX files; for these, pip install onnx onnxscript", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
