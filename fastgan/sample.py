"""python -m fastgan.sample RUN: draw images of one code, or of all in rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch

from fastgan import report, run_folder, trained
from fastgan.command_line import parse, positional, run_command
from fastgan.errors import ConfigError
from fastgan.evaluation import Sampler


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What to draw."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    code: int | None = None
    """The code to draw, 0 to K-1. Left out: every code, a row each."""
    count: int = 10
    """Images of each code."""
    out: Path | None = None
    """The picture to write, png. Left out: RUN/samples/code-<code>.png or all-codes.png."""
    seed: int = 0
    """Another seed draws other images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""


def main(argv: Sequence[str]) -> int:
    """Parse, draw, save. Returns the exit code."""
    asked = parse(
        SampleConfig, argv, prog="python -m fastgan.sample", description="Images of one code, or of all in rows."
    )
    run = trained.load(asked.run, run_folder.choose_device(asked.device))
    classes = run.config.classes
    if asked.code is not None and not 0 <= asked.code < classes:
        raise ConfigError(f"--code {asked.code}: this run has codes 0 to {classes - 1}")
    if asked.count < 1:
        raise ConfigError(f"--count {asked.count}: must be at least 1")
    chosen = range(classes) if asked.code is None else [asked.code]
    codes = torch.tensor(list(chosen)).repeat_interleave(asked.count)
    config = replace(run.config, seed=asked.seed)
    images = Sampler(run.generator, config, run.device, "sample-command")(codes)
    name = "all-codes.png" if asked.code is None else f"code-{asked.code}.png"
    out = asked.out if asked.out is not None else run.run.samples / name
    columns = asked.count if asked.code is None else min(asked.count, max(8, round(asked.count**0.5)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        report.save_grid(images, out, columns)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out}: cannot be written ({error}); name a .png file in a folder that can") from error
    print(f"wrote {len(images)} images to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
