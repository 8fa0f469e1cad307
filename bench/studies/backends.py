"""Do both augmentation backends train alike?

`python -m bench.studies.backends RUNS [--epochs 5] [--seeds 0 1 2] [--save]`.

Trains MNIST (split 1, bfloat16) with `--augment torchvision` and `--augment dali`, seeds in pairs, into the folder
RUNS, one thread a run and both runs of a pair at a time; what is there already is read. --save keeps the table and the
figures of each run in bench/results/.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from bench.measure import keep, machine, slug
from bench.rows import ROOT
from bench.studies.runs import mnist_flags, train

BACKENDS = ("torchvision", "dali")
FIGURES = ("nmi", "ent", "prior_error", "cluster_accuracy", "frechet_distance")


def collect(folder: Path, seeds: list[int], epochs: int) -> dict[str, list[dict[str, Any]]]:
    """The last evaluation of every run, in the order of the seeds; trains what is missing."""
    flags = {
        folder / f"{backend}-seed{seed}": [*mnist_flags(1, epochs, seed), "--augment", backend]
        for seed in seeds
        for backend in BACKENDS
    }
    rows = train(flags, epochs)
    return {
        backend: [{"seed": seed, **rows[folder / f"{backend}-seed{seed}"]} for seed in seeds] for backend in BACKENDS
    }


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line a figure and backend: each seed, mean and standard deviation; and the paired differences."""
    seeds = [row["seed"] for row in found[BACKENDS[0]]]
    lines = [f"{'':38}" + "".join(f"{f'seed {seed}':>9}" for seed in seeds) + f"{'mean':>9}{'std':>9}"]
    for figure in FIGURES:
        each = {backend: [row[figure] for row in found[backend]] for backend in BACKENDS}
        each["dali - torchvision"] = [a - b for a, b in zip(each["dali"], each["torchvision"], strict=True)]
        for name, values in each.items():
            lines.append(
                f"{figure + ', ' + name:38}"
                + "".join(f"{value:9.4f}" for value in (*values, statistics.mean(values), statistics.stdev(values)))
            )
    return lines


def main() -> None:
    """Train what is missing, print the table, and with --save keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    found = collect(chosen.runs, chosen.seeds, chosen.epochs)
    about = {"data": "mnist split 1", "epochs": chosen.epochs, **machine(), "threads_a_run": 1}
    about["commit"] = ", ".join(sorted({row["commit"] for rows in found.values() for row in rows}))
    lines = [*table(found), *(f"{key}: {value}" for key, value in about.items())]
    print("\n".join(lines))
    if chosen.save:
        stem = ROOT / "bench" / "results" / f"backends-mnist-{slug(about)}"
        keep(stem, lines, {"about": about, "runs": found})


if __name__ == "__main__":
    main()
