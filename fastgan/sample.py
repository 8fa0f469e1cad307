"""python -m fastgan.sample RUN: draw images of one code, of all codes in rows, or interpolated between two."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import SampleConfig
from fastgan.config.schema import TrainConfig
from fastgan.errors import ConfigError
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.libraries import loading

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def main(argv: Sequence[str]) -> int:
    """Parse, check, draw. Returns the exit code."""
    args = parse(
        SampleConfig,
        argv,
        command="sample",
        description="Images of one code, of all codes in rows, or interpolated between two codes or noises.",
    )
    settings = run_folder.saved_config(args.run)
    _check(args, settings.classes)
    out = args.out if args.out is not None else run_folder.RunFolder(args.run).samples / _default_name(args)
    _check_places(args, settings, out)
    with run_folder.owning_outputs(out, *([] if args.singles is None else [args.singles])):
        with loading():
            from fastgan.tasks import sample as task
        return task.draw(args, out)


def _check_places(args: SampleConfig, settings: TrainConfig, out: Path) -> None:
    """Raise ConfigError, before the work, where the pictures cannot go."""
    images = settings.data_dir if settings.own_images else None
    outputs.check_file("--out", out, force=args.force or args.out is None, endings=PICTURES)
    outputs.check_not_read("--out", out, images)
    if args.singles is not None:
        outputs.check_folder("--singles", args.singles)
        outputs.check_not_read("--singles", args.singles, images)


def _check(args: SampleConfig, classes: int) -> None:
    """Raise ConfigError for flags that do not fit the run or each other."""
    for flag, code in (("code", args.code), ("to", args.to)):
        if code is not None and not 0 <= code < classes:
            raise ConfigError(f"--{flag} {code}: this run has codes 0 to {classes - 1}; name one of them")
    if args.count is not None and args.count < 1:
        raise ConfigError(f"--count {args.count}: must be at least 1")
    if args.steps < 2:
        raise ConfigError(f"--steps {args.steps}: must be at least 2, for both ends")
    if args.interpolate == "code" and (args.code is None or args.to is None):
        raise ConfigError("--interpolate code: goes from one code to another; name them with --code and --to")
    if args.interpolate != "code" and args.to is not None:
        raise ConfigError(f"--to {args.to}: is for --interpolate code only; add that, or leave --to out")
    if args.interpolate is not None and args.singles is not None:
        raise ConfigError("--singles: interpolated images have no code to be named after; leave --interpolate out")


def _default_name(args: SampleConfig) -> str:
    name = "all-codes" if args.code is None else f"code-{args.code}"
    ending = {None: "", "code": f"-to-{args.to}", "noise": "-noise"}[args.interpolate]
    seed = f"-seed{args.seed}" if args.seed else ""
    return f"{name}{ending}{seed}.png"


if __name__ == "__main__":
    sys.exit(run_command(main))
