"""The class of each image, and how confident Q is.

Legend: N images.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastgan.config.commands import ClusterConfig
from fastgan.config.schema import TrainConfig
from fastgan.data import folder, loading
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import diagnosis, metrics
from fastgan.inference import labelling, trained_run, unlike
from fastgan.inference.assignments import write_table
from fastgan.inference.group_names import folder_names
from fastgan.inference.sorted_before import LIST
from fastgan.inference.sorting import SortResult, sort_into
from fastgan.reporting import labels
from fastgan.reporting.class_table import class_table
from fastgan.text import pluralize, printable


def label(args: ClusterConfig, out: Path, class_names: dict[int, str] | None = None) -> int:
    """Read, label, write. Returns the exit code.

    Args:
        class_names: of --names.
    """
    device = trained_run.choose_processor(args.device, args.threads)
    run = trained_run.load(args.run, device)
    config = run.config_at(args.data_dir, args.cache_dir)
    images, place = _images(args, config)
    paths = [place / path for path in images.paths or ()]
    codes, confidences = labelling.best_two(run.networks, images.images, run.config, device)
    names: list[str | int] = [str(path) for path in paths] or list(range(len(codes)))
    write_table(out, names, "path" if paths else "index", codes, confidences, class_names)
    sizes_K = metrics.cluster_sizes(codes[:, 0], run.config.classes)
    used, sure = run.config.classes - len(metrics.unused_codes(sizes_K)), float(confidences[:, 0].mean())
    print(f"wrote the {'class' if len(names) == 1 else 'classes'} of {pluralize(len(names), 'image')} to {out}")
    in_use = f"{used} of {run.config.classes} classes {'is' if used == 1 else 'are'} in use"
    print(f"{in_use}, and Q's mean confidence is {sure:.2f}:")
    known = images if args.labels_from_folders else None
    print(class_table(codes[:, 0], confidences[:, 0], run.config.classes, known, class_names))
    if known is not None and known.labels is not None:
        figures = metrics.clustering(codes[:, 0], known.labels, run.config.classes, known.label_count)
        print(labels.table({f"cluster_{name}": value for name, value in figures.items()}))
    if args.sort_into is not None:
        folders = None if class_names is None else folder_names(class_names, run.config.classes)
        result = sort_into(args.sort_into, paths, codes[:, 0].tolist(), args.sort_as, force=args.force, folders=folders)
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
        images = folder.by_subfolders(images, place)
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
