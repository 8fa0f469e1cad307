"""python -m fastgan.export RUN: the generator and the labeller as files that torch loads without fastgan.

Legend: B images, K codes, Z noise, D embedding, CHW an image, S its side.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastgan.config.command_line import parse, positional, run_command
from fastgan.inference import trained_run
from fastgan.inference.export import FILES, check_place, export
from fastgan.runs import run_folder


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to export, and where."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    out: Path | None = None
    """The folder to make. Left out: RUN/export."""
    force: bool = False
    """Replace an existing export."""
    threads: int = 0
    """Threads of a CPU, on which it is exported. 0: one for each processor that this process may use and that others
    leave free."""
    overwrite: bool = False
    """The same as --force."""


def main(argv: Sequence[str]) -> int:
    """Parse, check, export. Returns the exit code."""
    args = parse(
        ExportConfig,
        argv,
        prog="python -m fastgan.export",
        description="Generator and labeller of a run as files that need only torch.",
    )
    run_folder.read_settings(args.run)
    out, force = args.out if args.out is not None else args.run / "export", args.force or args.overwrite
    check_place(out, force)
    with run_folder.owning_outputs(out):
        # On the CPU, since an exported program is tied to the device it was traced on.
        export(trained_run.load(args.run, trained_run.choose_processor("cpu", args.threads)), out, force)
    print(f"wrote {', '.join(FILES)} to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
