"""python -m fastgan.sample RUN: draw images of one code, of all codes in rows, or interpolated between two.

Legend: N images or rows, S steps, K codes, Z noise, CHW an image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fastgan.config.command_line import parse, positional, run_command
from fastgan.config.schema import TrainConfig
from fastgan.errors import ConfigError
from fastgan.inference import sampling, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.images import save_grid, save_singles
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.stages import stage
from fastgan.text import pluralize

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What to draw."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    code: int | None = None
    """The code to draw, 0 to K-1. Left out: every code, one row each."""
    count: int | None = None
    """Images per code (left out: 10). With --interpolate, rows per code (left out: 10 for --code, else 1)."""
    interpolate: Literal["code", "noise"] | None = None
    """code: each row goes from --code to --to with its noise fixed. noise: each row goes from one noise to another with
    its code fixed."""
    to: int | None = None
    """The code at which --interpolate code ends."""
    steps: int = 8
    """Images per row under --interpolate, including both ends."""
    out: Path | None = None
    """The picture to write, png. Left out: in RUN/samples, named after what it shows, and renewed."""
    force: bool = False
    """Replace a picture that is there already."""
    singles: Path | None = None
    """A folder to also write each image to, as code-KK-NNNN.png. Existing files are never overwritten."""
    seed: int = 0
    """Another seed draws other images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


def main(argv: Sequence[str]) -> int:
    """Parse, check, draw. Returns the exit code."""
    args = parse(
        SampleConfig,
        argv,
        prog="python -m fastgan.sample",
        description="Images of one code, of all codes in rows, or interpolated between two codes or noises.",
    )
    settings = run_folder.saved_config(args.run)
    _check(args, settings.classes)
    out = args.out if args.out is not None else run_folder.RunFolder(args.run).samples / _default_name(args)
    _check_places(args, settings, out)
    with run_folder.owning_outputs(out, *([] if args.singles is None else [args.singles])):
        return _draw(args, out)


def _check_places(args: SampleConfig, settings: TrainConfig, out: Path) -> None:
    """Raise ConfigError, before the work, where the pictures cannot go."""
    images = settings.data_dir if settings.own_images else None
    outputs.check_file("--out", out, force=args.force or args.out is None, endings=PICTURES)
    outputs.check_not_read("--out", out, images)
    if args.singles is not None:
        outputs.check_folder("--singles", args.singles)
        outputs.check_not_read("--singles", args.singles, images)


def _draw(args: SampleConfig, out: Path) -> int:
    """Draw, save. Returns the exit code."""
    run = trained_run.load(args.run, trained_run.choose_processor(args.device, args.threads))
    classes = run.config.classes
    chosen = torch.tensor(list(range(classes) if args.code is None else [args.code]))
    single_row = args.interpolate is not None and args.code is None
    count = args.count if args.count is not None else (1 if single_row else 10)
    codes = chosen.repeat_interleave(count)
    singles = _names(args.singles, chosen, count) if args.singles is not None else []
    sampler = Sampler(run.generator, replace(run.config, seed=args.seed), run.device, "sample-command")
    if args.interpolate == "code":
        images, columns = _between_codes(sampler, codes, args), args.steps
    elif args.interpolate == "noise":
        images, columns = _between_noises(sampler, codes, count, args.steps), args.steps
    else:
        with stage("drawing"):
            images = sampler(codes)
        columns = count if args.code is None else min(count, max(8, round(count**0.5)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_grid(images, out, columns)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out}: cannot be written ({error}); name a .png file in a folder that can") from error
    print(f"wrote {pluralize(len(images), 'image')} to {out}")
    if args.singles is not None:
        try:
            outputs.mark(args.singles)
            save_singles(images, singles)
        except OSError as error:
            raise ConfigError(
                f"--singles {args.singles}: cannot be written ({error.strerror or error}); name a folder that can"
            ) from error
        print(f"and {'the same image' if len(images) == 1 else 'each of them'} to {args.singles}")
    return 0


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


def _names(folder: Path, chosen: Tensor, count: int) -> list[Path]:
    """One path per image; raises ConfigError if one exists, since samples of two calls would be mixed."""
    paths = [folder / f"code-{code:02d}-{i:04d}.png" for code in chosen.tolist() for i in range(count)]
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise ConfigError(f"--singles {folder}: already holds {taken.name}; name another folder")
    return paths


def _default_name(args: SampleConfig) -> str:
    name = "all-codes" if args.code is None else f"code-{args.code}"
    ending = {None: "", "code": f"-to-{args.to}", "noise": "-noise"}[args.interpolate]
    seed = f"-seed{args.seed}" if args.seed else ""
    return f"{name}{ending}{seed}.png"


def _between_codes(sampler: Sampler, codes_N: Tensor, args: SampleConfig) -> Tensor:
    """Images [N * S, C, H, W]; row n has the noise of the n-th image drawn without --interpolate."""
    assert args.to is not None
    classes = sampler.config.classes
    start, end = (one_hot(codes, classes).float() for codes in (codes_N, torch.full_like(codes_N, args.to)))
    path_NSK = sampling.linear(start, end, args.steps)
    return sampler.draw(sampler.noise(len(codes_N)).repeat_interleave(args.steps, 0), path_NSK.flatten(0, 1))


def _between_noises(sampler: Sampler, codes_N: Tensor, count: int, steps: int) -> Tensor:
    """Images [N * S, C, H, W]; the `count` rows of each code have the same noises, so that codes compare."""
    start, end = sampler.noise(count), sampler.noise(count, offset=1)
    path_NSZ = sampling.spherical(start, end, steps).repeat(len(codes_N) // count, 1, 1)
    codes = one_hot(codes_N.repeat_interleave(steps), sampler.config.classes).float()
    return sampler.draw(path_NSZ.flatten(0, 1), codes)


if __name__ == "__main__":
    sys.exit(run_command(main))
