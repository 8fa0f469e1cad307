"""Whether the figures of generated images hang on which judge they were made with.

    python -m bench.studies.second_judge RUN [RUN ...] [--save]

The judge's classes of generated images decide NMI, ENT and prior error. Here a second one, LeNet-5 as Y. LeCun et al.
described it (Gradient-based learning applied to document recognition, 1998, section II-B), with other filters, no
normalisation and another seed, is trained on the same labelled images and asked about the same generated ones: 1,000
of each code. The runs must share one data set of 28 to 32 pixels. Printed is the share of images on whose class both
agree, and each figure by either. --save keeps the table in bench/results/worlds/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.measure import keep, machine, slug
from bench.rows import ROOT
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import judge, metrics
from fastgan.evaluation.evaluator import PER_CODE, of_generated
from fastgan.evaluation.judge_network import Judge, JudgeNetwork
from fastgan.evaluation.judge_plan import plan
from fastgan.inference import trained_run
from fastgan.inference.sampling import Sampler

DEVICE = torch.device("cpu")
FIGURES = ("nmi", "ent", "prior_error")
SEED = 1  # the judge's own is 0


class LeNet5(JudgeNetwork):
    """5x5 filters and two hidden layers: image [B, C, H, W], of 28 to 32 pixels, to class logits [B, classes]."""

    def __init__(self, channels: int, classes: int) -> None:
        nn.Module.__init__(self)
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        )
        self.classes = nn.Linear(84, classes)


def compare(run: trained_run.TrainedRun, images: ImageSet, judges: tuple[Judge, Judge]) -> dict[str, float]:
    """The agreement of two judges about a run's generated images, and the figures by each (second_ before its own)."""
    drawn = torch.arange(run.config.classes).repeat_interleave(PER_CODE)
    sampler = Sampler(run.generator, run.config, run.device, "evaluation")
    first, second = (found(sampler.parts(drawn))[0] for found in judges)
    prior_K = run.prior.probabilities().detach().cpu().double()
    row = {"agreement": float((first == second).double().mean())}
    for prefix, judged in (("", first), ("second_", second)):
        counts = metrics.count_matrix(drawn, judged, run.config.classes, images.label_count)
        known = of_generated(counts, prior_K, images.class_frequencies())
        row |= {prefix + name: known[name] for name in FIGURES if name in known}
    return row


def both_judges(config: TrainConfig, images: ImageSet) -> tuple[Judge, Judge]:
    """The judge of a run's data, and the second one, trained as long."""
    data = loading.load_judge_set(config, images)
    known = judge.obtain(data, DEVICE, config.cache_dir)
    channels, classes = data.train.images.shape[1], data.train.label_count
    other = judge.train(data, DEVICE, plan(data), seed=SEED, network=lambda: LeNet5(channels, classes))
    return known, other


def lines_of(found: dict[str, dict[str, float]]) -> list[str]:
    """A line a run: agreement, and each figure by the judge and by the second one."""
    columns = list(next(iter(found.values())))
    lines = [f"{'run':28}" + "".join(f"{name:>20}" for name in columns)]
    return [*lines, *(f"{run:28}" + "".join(f"{row[name]:20.4f}" for name in columns) for run, row in found.items())]


def main() -> None:
    """Compare the judges on each run, print the table, and with --save keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    judges: tuple[Judge, Judge] | None = None
    for path in chosen.runs:
        run = trained_run.load(path, DEVICE)
        images = loading.load(run.config)
        judges = both_judges(run.config, images) if judges is None else judges
        found[path.name] = compare(run, images, judges)
    assert judges is not None
    about: dict[str, Any] = {**machine(), "judge": judges[0].accuracy, "second judge": judges[1].accuracy}
    lines = [*lines_of(found), *(f"{key}: {value}" for key, value in about.items())]
    print("\n".join(lines))
    if chosen.save:
        stem = ROOT / "bench" / "results" / "worlds" / f"second-judge-{slug(about)}"
        keep(stem, lines, {"about": about, "runs": found})


if __name__ == "__main__":
    main()
