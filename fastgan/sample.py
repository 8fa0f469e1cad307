"""python -m fastgan.sample RUN: draw images of one code, or of all in rows, or the way from one to another.

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
from fastgan.errors import ConfigError
from fastgan.inference import sampling, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.images import save_grid, save_singles
from fastgan.runtime.stages import stage
from fastgan.text import pluralize


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What to draw."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    code: int | None = None
    """The code to draw, 0 to K-1. Left out: every code, a row each."""
    count: int | None = None
    """Images of each code (left out: 10). With --interpolate, rows of each code (left out: 10 of one, 1 of all)."""
    interpolate: Literal["code", "noise"] | None = None
    """code: each row goes from --code to --to with its noise fixed. noise: each row goes from one noise to another with
    its code fixed."""
    to: int | None = None
    """The code at which --interpolate code ends."""
    steps: int = 8
    """Images of a row under --interpolate, both ends included."""
    out: Path | None = None
    """The picture to write, png. Left out: in RUN/samples, named for what it shows."""
    singles: Path | None = None
    """A folder to write each image to as well, as code-KK-NNNN.png. None that is there already is overwritten."""
    seed: int = 0
    """Another seed draws other images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


def main(argv: Sequence[str]) -> int:
    """Parse, draw, save. Returns the exit code."""
    asked = parse(
        SampleConfig,
        argv,
        prog="python -m fastgan.sample",
        description="Images of one code, or of all in rows, or the way from one code or noise to another.",
    )
    run = trained_run.load(asked.run, trained_run.choose_processor(asked.device, asked.threads))
    classes = run.config.classes
    _check(asked, classes)
    chosen = torch.tensor(list(range(classes) if asked.code is None else [asked.code]))
    single_row = asked.interpolate is not None and asked.code is None
    count = asked.count if asked.count is not None else (1 if single_row else 10)
    codes = chosen.repeat_interleave(count)
    singles = _names(asked.singles, chosen, count) if asked.singles is not None else []
    sampler = Sampler(run.generator, replace(run.config, seed=asked.seed), run.device, "sample-command")
    if asked.interpolate == "code":
        images, columns = _between_codes(sampler, codes, asked), asked.steps
    elif asked.interpolate == "noise":
        images, columns = _between_noises(sampler, codes, count, asked.steps), asked.steps
    else:
        with stage("drawing"):
            images = sampler(codes)
        columns = count if asked.code is None else min(count, max(8, round(count**0.5)))
    out = asked.out if asked.out is not None else run.run.samples / _default_name(asked)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_grid(images, out, columns)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out}: cannot be written ({error}); name a .png file in a folder that can") from error
    print(f"wrote {pluralize(len(images), 'image')} to {out}")
    if asked.singles is not None:
        try:
            asked.singles.mkdir(parents=True, exist_ok=True)
            save_singles(images, singles)
        except OSError as error:
            raise ConfigError(
                f"--singles {asked.singles}: cannot be written ({error.strerror or error}); name a folder that can"
            ) from error
        print(f"and {'it alone' if len(images) == 1 else 'each of them'} to {asked.singles}")
    return 0


def _check(asked: SampleConfig, classes: int) -> None:
    """Raise ConfigError for flags that do not fit the run or each other."""
    for flag, code in (("code", asked.code), ("to", asked.to)):
        if code is not None and not 0 <= code < classes:
            raise ConfigError(f"--{flag} {code}: this run has codes 0 to {classes - 1}")
    if asked.count is not None and asked.count < 1:
        raise ConfigError(f"--count {asked.count}: must be at least 1")
    if asked.steps < 2:
        raise ConfigError(f"--steps {asked.steps}: must be at least 2, for both ends")
    if asked.interpolate == "code" and (asked.code is None or asked.to is None):
        raise ConfigError("--interpolate code: goes from one code to another; name them with --code and --to")
    if asked.interpolate != "code" and asked.to is not None:
        raise ConfigError(f"--to {asked.to}: ends --interpolate code alone; add that, or leave --to out")
    if asked.interpolate is not None and asked.singles is not None:
        raise ConfigError("--singles: images between two ends have no code to be named for; leave --interpolate out")


def _names(folder: Path, chosen: Tensor, count: int) -> list[Path]:
    """A path an image; raises ConfigError when one is taken, since samples of two calls would be mixed up."""
    paths = [folder / f"code-{code:02d}-{i:04d}.png" for code in chosen.tolist() for i in range(count)]
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise ConfigError(f"--singles {folder}: already holds {taken.name}; name another folder")
    return paths


def _default_name(asked: SampleConfig) -> str:
    name = "all-codes" if asked.code is None else f"code-{asked.code}"
    ending = {None: "", "code": f"-to-{asked.to}", "noise": "-noise"}[asked.interpolate]
    return f"{name}{ending}.png"


def _between_codes(sampler: Sampler, codes_N: Tensor, asked: SampleConfig) -> Tensor:
    """Images [N * S, C, H, W]; row n keeps the noise of the n-th image that is drawn without --interpolate."""
    assert asked.to is not None
    classes = sampler.config.classes
    start, end = (one_hot(codes, classes).float() for codes in (codes_N, torch.full_like(codes_N, asked.to)))
    path_NSK = sampling.linear(start, end, asked.steps)
    return sampler.draw(sampler.noise(len(codes_N)).repeat_interleave(asked.steps, 0), path_NSK.flatten(0, 1))


def _between_noises(sampler: Sampler, codes_N: Tensor, count: int, steps: int) -> Tensor:
    """Images [N * S, C, H, W]; the `count` rows of each code go the same ways, so that codes compare."""
    start, end = sampler.noise(count), sampler.noise(count, offset=1)
    path_NSZ = sampling.spherical(start, end, steps).repeat(len(codes_N) // count, 1, 1)
    codes = one_hot(codes_N.repeat_interleave(steps), sampler.config.classes).float()
    return sampler.draw(path_NSZ.flatten(0, 1), codes)


if __name__ == "__main__":
    sys.exit(run_command(main))
