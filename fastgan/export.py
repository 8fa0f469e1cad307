"""python -m fastgan.export RUN: the generator and the labeller as files that torch loads without fastgan.

Legend: B images, K codes, Z noise, D embedding, CHW an image, S its side.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from fastgan.config.command_line import parse, positional, run_command
from fastgan.inference import trained_run
from fastgan.inference.export import FILES, export


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to export, and where."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    out: Path | None = None
    """The folder to make. Left out: RUN/export."""
    overwrite: bool = False
    """Replace an existing export."""


def main(argv: Sequence[str]) -> int:
    """Parse, trace, save. Returns the exit code."""
    args = parse(
        ExportConfig,
        argv,
        prog="python -m fastgan.export",
        description="Generator and labeller of a run as files that need only torch.",
    )
    # On the CPU, since an exported program is tied to the device it was traced on.
    run = trained_run.load(args.run, torch.device("cpu"))
    out = args.out if args.out is not None else run.run.path / "export"
    export(run, out, args.overwrite)
    print(f"wrote {', '.join(FILES)} to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
