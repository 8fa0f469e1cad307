"""python -m fastgan.cluster RUN [IMAGES]: the class of each image, and how confident Q is.

Legend: N images.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastgan.config.command_line import parse, positional, run_command
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.errors import ConfigError
from fastgan.evaluation import diagnosis, metrics
from fastgan.inference import labelling, trained_run
from fastgan.inference.assignments import check_place, sort_into, write_table
from fastgan.inference.kept_table import check_renewable
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.text import pluralize


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What to label, and where to write the labels."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    images: Annotated[Path | None, positional()] = None
    """A folder of image files, including its subfolders. A run on youtube-faces crops files named as in a
    YouTube-Faces tree like its training images, and uses others whole. Left out: the run's own training images, by
    path if they are files, else by index."""
    skip_bad: bool = False
    """Leave out files of IMAGES that are not valid images, and list them; a run trained with this flag does so anyway.
    Otherwise they are an error."""
    out: Path | None = None
    """The table to write, csv. Left out: RUN/assignments.csv, which is renewed where it lists files of the same
    folder."""
    force: bool = False
    """Replace a table that is there already."""
    sort_into: Path | None = None
    """A new folder to sort the files into, one subfolder per class, as hard links or, where these are not possible, as
    symbolic links or copies. The files themselves stay where they are."""
    data_dir: Path | None = None
    """Where the run's data set is now, if it has moved and IMAGES is left out."""
    cache_dir: Path | None = None
    """Where decoded images are kept. Left out: where the run kept them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    threads: int = 0
    """Threads of a CPU. 0: one for each processor that this process may use and that others leave free."""


def main(argv: Sequence[str]) -> int:
    """Parse, check, label. Returns the exit code."""
    args = parse(
        ClusterConfig,
        argv,
        prog="python -m fastgan.cluster",
        description="The class of each image and Q's confidence in it, as a csv file; or the files sorted by class.",
    )
    settings = run_folder.saved_config(args.run)
    out = args.out if args.out is not None else args.run / "assignments.csv"
    _check_places(args, settings, out)
    into = [] if args.sort_into is None else [args.sort_into]
    with run_folder.owning_outputs(out, *into):
        return _label(args, out)


def _check_places(args: ClusterConfig, settings: TrainConfig, out: Path) -> None:
    """Raise ConfigError, before the work, where the table or the sorted files cannot go."""
    if args.sort_into is not None:
        if args.images is None:
            raise ConfigError("--sort-into: sorts image files; give their folder after the run's")
        check_place(args.sort_into, args.images)
        outputs.check_folder("--sort-into", args.sort_into)
    outputs.check_file("--out", out, force=args.force or args.out is None)
    if args.out is None and not args.force:
        own = (args.data_dir or settings.data_dir) if settings.own_images else None
        check_renewable(out, args.images or own)


def _label(args: ClusterConfig, out: Path) -> int:
    """Read, label, write. Returns the exit code."""
    device = trained_run.choose_processor(args.device, args.threads)
    run = trained_run.load(args.run, device)
    config = run.config_at(args.data_dir, args.cache_dir)
    if args.images is not None:
        images = loading.load_folder(config, args.images, skip_bad=args.skip_bad or run.config.skip_bad)
        paths = [args.images / path for path in images.paths or ()]
    else:
        images = loading.load(config)
        paths = [loading.data_folder(config) / path for path in images.paths or ()]
    codes, confidences = labelling.best_two(run.networks, images.images, run.config, device)
    names = [str(path) for path in paths] or [str(index) for index in range(len(codes))]
    write_table(out, names, "path" if paths else "index", codes, confidences)
    sizes_K = metrics.cluster_sizes(codes[:, 0], run.config.classes)
    used, sure = run.config.classes - len(metrics.unused_codes(sizes_K)), float(confidences[:, 0].mean())
    print(f"wrote the {'class' if len(names) == 1 else 'classes'} of {pluralize(len(names), 'image')} to {out}")
    in_use = f"{used} of {run.config.classes} classes {'is' if used == 1 else 'are'} in use"
    print(f"{in_use}, and Q's mean confidence is {sure:.2f}")
    if args.sort_into is not None:
        _mark(args.sort_into)
        how = sort_into(args.sort_into, paths, codes[:, 0].tolist())
        ways = [pluralize(count, kind, "copies" if kind == "copy" else None) for kind, count in how.items()]
        print(f"sorted {'it' if len(paths) == 1 else 'them'} into {args.sort_into}: {', '.join(ways)}")
    if run.images_seen < diagnosis.FEW_SHOWN:
        print(f"note: {args.run} is hardly trained ({run.images_seen:,} images shown)", file=sys.stderr)
    return 0


def _mark(folder: Path) -> None:
    """Its files, which are images, are not to be read beside the originals."""
    try:
        outputs.mark(folder)
    except OSError as error:
        raise ConfigError(
            f"--sort-into {folder}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error


if __name__ == "__main__":
    sys.exit(run_command(main))
