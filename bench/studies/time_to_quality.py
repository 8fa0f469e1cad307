"""How long until the classes are right: seconds of training until NMI of held-out real images reaches a target.

    python -m bench.studies.time_to_quality [--target 0.95] [--epochs 5] [--seeds 0 1 2] [--rivals kmeans umap-gmm]
        [--threads 2] [--save]

Trains MNIST's split 1 by the default recipe. After every 6,400 images Q labels the images that the split leaves out,
which no training sees; the time for that does not count, groupings do. A rival is fitted once and has one figure, its
own best. --save keeps the curves in bench/results/time_to_quality/.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import torch

from bench.measure import keep, machine, slug
from bench.rows import ROOT
from bench.studies.runs import mnist_flags
from fastgan.config.schedule import resolve_schedule
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import metrics
from fastgan.inference.labelling import assign
from fastgan.runs.run_folder import saved_config
from fastgan.runtime.process import tune_malloc
from fastgan.sweep import rivals
from fastgan.training.engine import Engine
from fastgan.training.events import Events

EVERY = 6_400  # images between two looks at the held-out ones
CPU = torch.device("cpu")


def curve(config: TrainConfig, images: ImageSet, held_out: ImageSet, target: float) -> list[dict[str, float]]:
    """Seconds of training, NMI and accuracy of the held-out images, until the target or the end of the run."""
    assert held_out.labels is not None
    trainer = Engine(config, images, CPU)
    events = Events(
        dataclasses.replace(config, log_every=EVERY), batch=trainer.batch, epoch_images=trainer.epoch_images
    )
    found: list[dict[str, float]] = []
    seen, seconds = 0, 0.0
    while not events.done(seen) and (not found or found[-1]["nmi"] < target):
        begin = time.perf_counter()
        if events.grouping_due(seen):
            trainer.regroup()
        count = events.steps_ahead(seen, 1)
        trainer.prefetch(seen, seen + count * trainer.batch)
        trainer.run(seen, count)
        seen += count * trainer.batch
        seconds += time.perf_counter() - begin
        if events.report_due(seen) and not events.pretrains(seen):
            codes, _ = assign(trainer.step.networks, held_out.images, config, CPU)
            score = metrics.clustering(codes, held_out.labels, config.classes, held_out.label_count)
            found.append({"images": seen, "seconds": seconds, "nmi": score["nmi"], "accuracy": score["accuracy"]})
            print(f"seed {config.seed}: {seconds:.0f} s, NMI {score['nmi']:.4f}, {score['accuracy']:.4f}", flush=True)
    return found


def rival(method: str, config: TrainConfig, images: ImageSet, held_out: ImageSet) -> dict[str, float]:
    """Seconds of a rival's fit, labels of the held-out images included, and how good these are."""
    row = rivals.row(method, config, images, held_out)
    (figures,) = row["evaluations"].values()
    return {
        "seconds": row["train_seconds"],
        "nmi": figures["held_out_nmi"],
        "accuracy": figures["held_out_accuracy"],
    }


def lines_of(found: dict[str, Any], target: float) -> list[str]:
    """A line a run."""
    lines = [f"{'method':14}{'seed':>5}{'seconds':>9}{'NMI':>8}{'accuracy':>10}"]
    for method, runs in found.items():
        for seed, run in runs.items():
            last = run[-1] if isinstance(run, list) else run
            best = max(run, key=lambda row: row["nmi"]) if isinstance(run, list) else run
            shown = last if last["nmi"] >= target else best
            reached = "" if shown["nmi"] >= target else f"   {target} not reached"
            lines.append(
                f"{method:14}{seed:>5}{shown['seconds']:9.0f}{shown['nmi']:8.4f}{shown['accuracy']:10.4f}{reached}"
            )
    return lines


def main() -> None:
    """Train, fit, print, and with --save keep the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rivals", nargs="*", default=["kmeans", "umap-gmm"], choices=list(rivals.RIVALS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true")
    chosen = parser.parse_args()
    tune_malloc()
    torch.set_num_threads(chosen.threads)
    found: dict[str, Any] = {"fastgan": {}, **{method: {} for method in chosen.rivals}}
    for seed in chosen.seeds:
        config = train_config(mnist_flags(1, chosen.epochs, seed), saved_config)
        images, held_out = loading.load(config), loading.load_held_out(config)
        assert held_out is not None
        config = resolve_schedule(config, len(images.images))
        found["fastgan"][seed] = curve(config, images, held_out, chosen.target)
        for method in chosen.rivals:
            found[method][seed] = rival(method, config, images, held_out)
    about = {"data": "mnist, split 1", "epochs": chosen.epochs, "amp": True, **machine(), "threads": chosen.threads}
    lines = [*lines_of(found, chosen.target), *(f"{key}: {value}" for key, value in about.items())]
    print("\n".join(lines))
    if chosen.save:
        stem = ROOT / "bench" / "results" / "time_to_quality" / slug(about)
        keep(stem, lines, {"about": about, "runs": found})


if __name__ == "__main__":
    main()
