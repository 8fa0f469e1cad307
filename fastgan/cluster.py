"""python -m fastgan.cluster RUN [IMAGES]: the class of each image, and how confident Q is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastgan.config.command_line import parse, run_command
from fastgan.config.commands import ClusterConfig, check_labels_from_folders
from fastgan.config.schema import TrainConfig
from fastgan.data import scan
from fastgan.errors import ConfigError, DataError
from fastgan.inference import sorting
from fastgan.inference.group_names import read_names
from fastgan.inference.kept_table import check_renewable
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.runtime.libraries import loading


def main(argv: Sequence[str]) -> int:
    """Parse, check, label. Returns the exit code."""
    args = parse(
        ClusterConfig,
        argv,
        command="cluster",
        description="The class of each image and Q's confidence in it, as a csv file; or the files sorted by class.",
    )
    settings = run_folder.saved_config(args.run)
    arrays = args.images is not None and scan.holds_arrays(args.images)
    kept = f"assignments-{args.images.stem}.csv" if arrays and args.images is not None else "assignments.csv"
    out = args.out if args.out is not None else args.run / kept
    names = None if args.names is None else read_names(args.names, settings.classes)
    _check_places(args, settings, out, arrays=arrays)
    into = [] if args.sort_into is None else [args.sort_into]
    with run_folder.owning_outputs(out, *into):
        with loading():
            from fastgan.tasks import cluster as task
        return task.label(args, out, names)


def _check_places(args: ClusterConfig, settings: TrainConfig, out: Path, *, arrays: bool) -> None:
    """Raise ConfigError, before the work, where the table or the sorted files cannot go."""
    if arrays:
        _check_arrays(args)
    elif args.images is not None:
        scan.check(args.images)
    elif args.labels_from_folders:
        check_labels_from_folders(args.run, settings, " or name a folder of images after the run's")
    if args.sort_into is not None:
        if args.images is None:
            raise ConfigError("--sort-into: sorts image files; give their folder after the run's")
        sorting.check_place(args.sort_into, args.images, force=args.force)
        outputs.check_folder("--sort-into", args.sort_into)
    outputs.check_file("--out", out, force=args.force or args.out is None)
    if args.out is None and not args.force:
        own = (args.data_dir or settings.data_dir) if settings.own_images else None
        check_renewable(out, None if arrays else args.images or own)


def _check_arrays(args: ClusterConfig) -> None:
    """Raise an error where a file of arrays is absent, or what only files of images allow is asked for."""
    if args.images is not None and not args.images.exists():
        raise DataError(f"{args.images}: no such file; name the .npz or .npy file with your images, or their folder")
    for flag, asked in (
        ("--sort-into", args.sort_into is not None),
        ("--labels-from-folders", args.labels_from_folders),
    ):
        if asked:
            raise ConfigError(f"{flag}: is for a folder of image files, and {args.images} holds arrays; leave it out")


if __name__ == "__main__":
    sys.exit(run_command(main))
