"""What each part of the default recipe is worth.

    python -m bench.studies.ablation RUNS [--epochs 5] [--splits 4 5] [--only PART ...] [--at-once 2]
        [--device cuda] [--save]

Trains imbalanced MNIST (seed 0, bfloat16) by the default recipe, by it without one part at a time, and by the paper's,
into the folder RUNS, one thread a run; what is there already is read. No choice was made on splits 4 and 5. --save
keeps the figures of each run in bench/results/prior/, a table, and a chart of what each part is worth.
"""

from __future__ import annotations

import argparse
import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import matplotlib

from bench.gpu.mps import mps
from bench.measure import keep, machine, slug
from bench.rows import ROOT
from bench.studies.runs import mnist_flags, train
from fastgan.reporting.palette import SOFT, STYLES

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first: no display is needed

FIGURES = (
    "nmi",
    "prior_error",
    "cluster_accuracy",
    "cluster_rarest_recall",
    "frechet_distance",
    "diversity",
    "train_seconds",
)
# What the chart shows, and in which words.
CHARTED = {
    "cluster_accuracy": "accuracy of real images",
    "cluster_rarest_recall": "recall of the rarest class",
    "nmi": "NMI of generated images",
}
WHOLE = "nothing: the default recipe"
# What is left out -> the flags that do it.
VARIANTS: dict[str, list[str]] = {
    WHOLE: [],
    "groups": ["--grouping.at"],
    "later groups": ["--grouping.at", "2"],
    "several samples": ["--grouping.samples", "1"],
    "doubt": ["--grouping.stability", "0"],
    "pixels": ["--grouping.pixel-vote", "0", "--grouping.pixel-views", "0"],
    "pixels in merging": ["--grouping.pixel-views", "0"],
    "linkage": ["--grouping.linkage", "1"],
    "pretraining": ["--pretrain-epochs", "0"],
    "finer head": ["--finer-codes", "0"],
    "agreement, finer head": ["--agreement-weight", "0", "--finer-codes", "0"],
    "contrastive loss": ["--contrastive-weight", "0"],
    "contrastive weight and temperature": ["--contrastive-weight", "10", "--contrastive-temperature", "1"],
    "contrastive temperature": ["--contrastive-temperature", "0.5"],
    "front end learns": ["--no-front-end-learns"],
    "averages of real images": ["--no-real-averages"],
    "shear, stretch, shift": ["--transform.shear", "0", "--transform.stretch", "0", "--transform.shift", "0"],
    "the prior's pull": ["--prior-pull", "0"],
    "the prior's step size": ["--prior-learning-rate", "1e-3"],
    "larger steps": ["--learning-rate", "2e-4", "--discriminator-learning-rate", "2e-4", "--final-rate", "1"],
    "steps that shrink": ["--final-rate", "1"],
    "the discriminator's step size": ["--discriminator-learning-rate", "1e-3"],
    "all: the paper's recipe": ["--recipe", "paper"],
}


def table(found: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """A line a variant and split."""
    lines = [f"{'without':36}{'split':>6}" + "".join(f"{figure:>23}" for figure in FIGURES)]
    for name, rows in found.items():
        for split, row in rows.items():
            lines.append(f"{name:36}{split:6}" + "".join(f"{row[figure]:23.4f}" for figure in FIGURES))
    return lines


def chart(found: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """Draw CHARTED: a row for each part left out, a marker a split, and a line where the whole recipe stands."""
    names = sorted(found, key=lambda name: (name != WHOLE, -_mean(found[name], "cluster_accuracy")))
    height = 1.2 + 0.3 * len(names)
    figure, panels = plt.subplots(1, len(CHARTED), figsize=(11, height), sharey=True, layout="constrained")
    splits = list(next(iter(found.values())))
    for axes, (key, title) in zip(panels, CHARTED.items(), strict=True):
        for split, style in zip(splits, itertools.cycle(STYLES)):
            values = [found[name][split][key] for name in names]
            axes.plot(values, range(len(names)), style.marker, color=style.colour, label=f"split {split}")
        axes.axvline(_mean(found[WHOLE], key), color=SOFT["light"], linewidth=1, linestyle=":")
        axes.set(title=title, yticks=range(len(names)), yticklabels=names)
        axes.grid(axis="y", alpha=0.3)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("left out")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=len(splits), frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _mean(rows: dict[int, dict[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows.values()) / len(rows)


def main() -> None:
    """Train what is missing, print the table, and with --save keep table and chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--splits", type=int, nargs="+", default=[4, 5])
    parser.add_argument("--only", nargs="+", metavar="PART", help="variants whose names begin so")
    parser.add_argument("--at-once", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    names = [name for name in VARIANTS if not chosen.only or name.startswith(tuple(chosen.only))]
    runs = {
        (name, split): chosen.runs / f"{list(VARIANTS).index(name):02d}-split{split}"
        for split in chosen.splits
        for name in names
    }
    flags = {
        run: [*mnist_flags(split, chosen.epochs, 0, chosen.device), *VARIANTS[name]]
        for (name, split), run in runs.items()
    }
    with mps() if chosen.device == "cuda" else nullcontext() as there:
        rows = train(flags, chosen.epochs, chosen.at_once, there)
    found = {name: {split: rows[runs[name, split]] for split in chosen.splits} for name in names}
    about = {"data": "mnist", "seed": 0, "epochs": chosen.epochs, **machine(), "threads_a_run": 1}
    about["commit"] = ", ".join(sorted({row["commit"] for row in rows.values()}))
    lines = [*table(found), *(f"{key}: {value}" for key, value in about.items())]
    print("\n".join(lines))
    if chosen.save:
        stem = ROOT / "bench" / "results" / "prior" / f"ablation-{slug(about)}"
        keep(stem, lines, {"about": about, "runs": found})
        chart(found, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
