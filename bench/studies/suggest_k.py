"""How often the suggestion of K is right on images whose number of kinds is known.

python -m bench.studies.suggest_k --place DIR trains what is left of the runs, one after the other, and prints the
table; the same command goes on where it was stopped. --save writes the table to bench/results/suggest-k.md and .json.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.rows import ROOT
from bench.studies.known_kinds import KINDS, SIDE, Kinds, write
from fastgan.runs.metrics_log import MetricsLog

SEEDS = (0, 1)
SHOWN = 72_000  # images that each run shows: just above what diagnosis.py calls hardly trained
NETWORK = "--network.width 16 --network.hidden 128 --network.embedding 64"


def runs_of(place: Path, name: str) -> Iterator[tuple[int, int, Path]]:
    """K, seed and folder of each run on a set; every K with the first seed before any with the second."""
    for seed in SEEDS:
        for count in KINDS[name].tried:
            yield count, seed, place / "runs" / f"{name}-k{count}-seed{seed}"


def train(place: Path, name: str, kinds: Kinds, count: int, seed: int, run: Path) -> None:
    """Train one run, or what is left of it, in a process of its own; does nothing for a finished one."""
    data = write(name, place / "data")
    epochs = math.ceil(SHOWN / (kinds.images // 64 * 64))
    if finished(run, epochs):
        return
    flags = f"--dataset npz --image-size {SIDE} --classes {count} --seed {seed} --epochs {epochs} --eval-every {epochs}"
    flags += f" --save-every {math.ceil(epochs / 4)} --amp --threads 1 --device cpu {NETWORK}"
    again = ["--resume"] if any(run.glob("checkpoints/*")) else [*flags.split(), "--data-dir", str(data)]
    command = [sys.executable, "-m", "fastgan.train", *again, "--run-dir", str(run)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)


def finished(run: Path, epochs: int) -> bool:
    """Whether a run has the evaluation that ends it."""
    return any(
        row.get("epoch") == epochs and "effective_classes" in row for row in MetricsLog(run / "metrics.jsonl").rows()
    )


def main() -> None:
    """Train what is left, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="where the sets and the runs are kept")
    args = parser.parse_args()
    for seed in SEEDS:
        for name, kinds in KINDS.items():
            for count, of, run in runs_of(args.place.resolve(), name):
                if of == seed:
                    print(run.name, flush=True)
                    train(args.place.resolve(), name, kinds, count, of, run)


if __name__ == "__main__":
    main()
