"""The class of each image, and how confident Q is.

Legend: N images.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastgan.config.commands import ClusterConfig
from fastgan.data import loading
from fastgan.evaluation import diagnosis, metrics
from fastgan.inference import labelling, trained_run
from fastgan.inference.assignments import write_table
from fastgan.inference.sorting import LIST, SortResult, sort_into
from fastgan.text import pluralize, printable


def label(args: ClusterConfig, out: Path) -> int:
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
    names: list[str | int] = [str(path) for path in paths] or list(range(len(codes)))
    write_table(out, names, "path" if paths else "index", codes, confidences)
    sizes_K = metrics.cluster_sizes(codes[:, 0], run.config.classes)
    used, sure = run.config.classes - len(metrics.unused_codes(sizes_K)), float(confidences[:, 0].mean())
    print(f"wrote the {'class' if len(names) == 1 else 'classes'} of {pluralize(len(names), 'image')} to {out}")
    in_use = f"{used} of {run.config.classes} classes {'is' if used == 1 else 'are'} in use"
    print(f"{in_use}, and Q's mean confidence is {sure:.2f}")
    if args.sort_into is not None:
        _say_sorted(args.sort_into, sort_into(args.sort_into, paths, codes[:, 0].tolist(), args.sort_as))
    if run.images_seen < diagnosis.FEW_SHOWN:
        print(f"note: {args.run} is hardly trained ({run.images_seen:,} images shown)", file=sys.stderr)
    return 0


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
