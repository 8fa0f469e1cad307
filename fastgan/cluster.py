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
from fastgan.data import classes, folder, loading, scan
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation import diagnosis, metrics
from fastgan.inference import labelling, trained_run, unlike
from fastgan.inference.assignments import write_table
from fastgan.inference.kept_table import check_renewable
from fastgan.inference.sorted_before import LIST
from fastgan.inference.sorting import SortAs, SortResult, check_place, sort_into
from fastgan.reporting import labels
from fastgan.reporting.class_table import class_table
from fastgan.runs import run_folder
from fastgan.runtime import outputs
from fastgan.text import pluralize, printable


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What to label, and where to write the labels."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    images: Annotated[Path | None, positional()] = None
    """A folder of image files, including its subfolders. A run on youtube-faces crops files named as in a
    YouTube-Faces tree like its training images, and uses others whole. Left out: the run's own training images, by
    path if they are files, else by index."""
    labels_from_folders: bool = False
    """An image's real class is its first subfolder, of IMAGES or of the folder that the run was trained on: print how
    far Q's classes are these."""
    skip_bad: bool = False
    """Leave out files of IMAGES that are not valid images, and list them; a run trained with this flag does so anyway.
    Otherwise they are an error."""
    out: Path | None = None
    """The table to write, csv. Left out: RUN/assignments.csv, which is renewed where it lists files of the same
    folder."""
    force: bool = False
    """Replace a table that is there already, and in --sort-into what was sorted there before."""
    sort_into: Path | None = None
    """A new folder to sort the files into, one subfolder per class; files.csv in it tells which file is which. The
    files themselves stay where they are. With --force it may be one of an earlier call, if nothing was added to it."""
    sort_as: SortAs = "link"
    """link: hard links or, where these are not possible, symbolic links or copies. A hard link takes no space, and is
    the same file: editing one edits the original. copy: copies, which may be edited."""
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
    if args.images is not None:
        scan.check(args.images)
    elif args.labels_from_folders:
        folder.check_labels_from_folders(args.run, settings.dataset, " or name a folder of images after the run's")
    if args.sort_into is not None:
        if args.images is None:
            raise ConfigError("--sort-into: sorts image files; give their folder after the run's")
        check_place(args.sort_into, args.images, force=args.force)
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
    images, place = _images(args, config)
    paths = [place / path for path in images.paths or ()]
    codes, confidences = labelling.best_two(run.networks, images.images, run.config, device)
    names: list[str | int] = [str(path) for path in paths] or list(range(len(codes)))
    write_table(out, names, "path" if paths else "index", codes, confidences)
    sizes_K = metrics.cluster_sizes(codes[:, 0], run.config.classes)
    used, sure = run.config.classes - len(metrics.unused_codes(sizes_K)), float(confidences[:, 0].mean())
    print(f"wrote the {'class' if len(names) == 1 else 'classes'} of {pluralize(len(names), 'image')} to {out}")
    in_use = f"{used} of {run.config.classes} classes {'is' if used == 1 else 'are'} in use"
    print(f"{in_use}, and Q's mean confidence is {sure:.2f}:")
    known = images if args.labels_from_folders else None
    print(class_table(codes[:, 0], confidences[:, 0], run.config.classes, known))
    if known is not None and known.labels is not None:
        figures = metrics.clustering(codes[:, 0], known.labels, run.config.classes, known.label_count)
        print(labels.table({f"cluster_{name}": value for name, value in figures.items()}))
    if args.sort_into is not None:
        result = sort_into(args.sort_into, paths, codes[:, 0].tolist(), args.sort_as, force=args.force)
        _say_sorted(args.sort_into, result)
    if note := unlike.note(run, images):
        print(f"note: {note}", file=sys.stderr)
    if run.images_seen < diagnosis.FEW_SHOWN:
        print(f"note: {args.run} is hardly trained ({run.images_seen:,} images shown)", file=sys.stderr)
    return 0


def _images(args: ClusterConfig, config: TrainConfig) -> tuple[ImageSet, Path]:
    """The images to label, with labels of their own where these are asked for, and the folder of their paths."""
    if args.images is not None:
        images, place = loading.load_folder(config, args.images, skip_bad=args.skip_bad or config.skip_bad), args.images
    else:
        images, place = loading.load(config), loading.data_folder(config)
    if args.labels_from_folders:
        images = folder.labelled(images, place)
        for line in classes.described(images):
            print(line, file=sys.stderr)
    return images, place


def _say_sorted(folder: Path, result: SortResult) -> None:
    """How the files were sorted, and which were gone."""
    ways = [pluralize(count, kind, "copies" if kind == "copy" else None) for kind, count in result.how.items()]
    print(f"sorted {'it' if sum(result.how.values()) == 1 else 'them'} into {folder}: {', '.join(ways) or 'none'}")
    print(f"{LIST} there names the file that each comes from")
    if set(result.how) - {"copy"}:
        print("a link is the same file: editing it edits the original; --sort-as copy makes copies")
    if result.missing:
        more = f" and {len(result.missing) - 1:,} more" if len(result.missing) > 1 else ""
        print(
            f"warning: {printable(str(result.missing[0]))}{more} had gone meanwhile, and "
            f"{'are' if more else 'is'} not in {folder}; {LIST} there lists them without a name",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
