"""Draw images of one code, of all codes in rows, or interpolated between two.

Legend: N images or rows, S steps, K codes, Z noise, CHW an image.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fastgan.config.commands import SampleConfig
from fastgan.errors import ConfigError
from fastgan.inference import sampling, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.images import row_labels, save_grid, save_singles
from fastgan.runtime import outputs
from fastgan.runtime.stages import stage
from fastgan.text import pluralize

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def draw(args: SampleConfig, out: Path) -> int:
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
        rows = codes[:: columns if args.interpolate is None else 1].tolist() if args.code is None else []
        save_grid(images, out, columns, row_labels(rows, run.prior.probabilities().tolist()))
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


def _names(folder: Path, chosen: Tensor, count: int) -> list[Path]:
    """One path per image; raises ConfigError if one exists, since samples of two calls would be mixed."""
    paths = [folder / f"code-{code:02d}-{i:04d}.png" for code in chosen.tolist() for i in range(count)]
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise ConfigError(f"--singles {folder}: already holds {taken.name}; name another folder")
    return paths


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
