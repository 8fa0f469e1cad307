"""MNIST as somebody's folder of files, for the worked example of docs/images.md.

`python -m bench.studies.mnist_files write FOLDER LABELS [--count 3000]` writes so many images of imbalanced MNIST into
FOLDER, flat, as PNG files with numbers for names, and their classes to LABELS, a csv file that training never sees.
`python -m bench.studies.mnist_files score ASSIGNMENTS LABELS` says how well fastgan.cluster's table agrees with them.
MNIST is looked for as the benchmarks do (in $FASTGAN_MNIST), or in --data-dir, where it is downloaded if need be.
"""

from __future__ import annotations

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from bench.rows import ROOT
from fastgan.config.presets import preset
from fastgan.data import loading
from fastgan.evaluation import metrics
from fastgan.seeding import shuffled


def write(folder: Path, labels: Path, count: int, data_dir: Path) -> list[int]:
    """Write the files and their labels; returns how many there are of each class."""
    images = loading.load(replace(preset("mnist"), data_dir=data_dir))
    assert images.labels is not None
    chosen = shuffled(len(images.images), 0, "files")[:count]
    folder.mkdir(parents=True)
    names = [f"{number:05d}.png" for number in range(len(chosen))]
    for name, pixels in zip(names, images.images[chosen, 0].numpy(), strict=True):
        Image.fromarray(pixels).save(folder / name)
    classes = images.labels[chosen]
    with labels.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("name", "class"))
        table.writerows(zip(names, classes.tolist(), strict=True))
    return torch.bincount(classes, minlength=images.label_count).tolist()


def score(assignments: Path, labels: Path) -> dict[str, float]:
    """Accuracy after the best matching of codes to classes, NMI and adjusted Rand index of a table of assignments."""
    with labels.open(encoding="utf-8", newline="") as file:
        known = {row["name"]: int(row["class"]) for row in csv.DictReader(file)}
    with assignments.open(encoding="utf-8", newline="") as file:
        found = {Path(row["path"]).name: int(row["class"]) for row in csv.DictReader(file)}
    if set(found) != set(known):
        raise SystemExit(f"{assignments} and {labels} are not of the same files")
    names = sorted(known)
    codes, classes = torch.tensor([found[name] for name in names]), torch.tensor([known[name] for name in names])
    return metrics.clustering(codes, classes, int(codes.max()) + 1, int(classes.max()) + 1)


def main() -> None:
    """Write, or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing, scoring = commands.add_parser("write"), commands.add_parser("score")
    writing.add_argument("folder", type=Path)
    writing.add_argument("labels", type=Path)
    writing.add_argument("--count", type=int, default=3_000)
    writing.add_argument("--data-dir", type=Path)
    scoring.add_argument("assignments", type=Path)
    scoring.add_argument("labels", type=Path)
    asked = parser.parse_args()
    if asked.command == "write":
        place = asked.data_dir or Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
        counts = write(asked.folder, asked.labels, asked.count, place)
        print(f"wrote {sum(counts):,} images, of each class {' '.join(map(str, counts))}")
    else:
        print(", ".join(f"{name} {value:.3f}" for name, value in score(asked.assignments, asked.labels).items()))


if __name__ == "__main__":
    main()
