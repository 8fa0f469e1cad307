"""How often the suggestion of K is right on images whose number of kinds is known.

python -m bench.studies.suggest_k --place DIR trains what is left of the runs, one after the other, and prints the
table; the same command goes on where it was stopped. --no-train leaves out what is not finished, and --save writes the
table to bench/results/suggest-k.md and .json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.rows import ROOT
from bench.studies.known_kinds import KINDS, SIDE, Kinds, write
from fastgan.data import loading
from fastgan.evaluation import choice_of_k, metrics
from fastgan.evaluation.run_reading import RunReading, read_run
from fastgan.inference import trained_run
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime.environment import environment

SEEDS = (0, 1)
SHOWN = 72_000  # images that each run shows: just above what diagnosis.py calls hardly trained
NETWORK = "--network.width 16 --network.hidden 128 --network.embedding 64"
RESULTS = ROOT / "bench" / "results"
NOTES = """\
A K counts as right where it is the number of kinds. `seed 0` and `seed 1` are suggestions from one run of each K,
`both` from two of each. The threshold for one seed was chosen on `two` and `five` with seed 0; nothing was chosen on
the rest, nor on two seeds, whose threshold is that of `evaluate --beside`; the advice that is given where no K is
suggested was mended after `forty`. ARI: of the groups with the real kinds, of seed 0.
"""


def epochs_of(kinds: Kinds) -> int:
    """Passes over a set's images that show SHOWN of them."""
    return math.ceil(SHOWN / (kinds.images // 64 * 64))


def runs_of(place: Path, seed: int) -> Iterator[tuple[str, int, Path]]:
    """Set, K and folder of each run with a seed."""
    for name, kinds in KINDS.items():
        for count in kinds.tried:
            yield name, count, place / "runs" / f"{name}-k{count}-seed{seed}"


def finished(run: Path, epochs: int) -> bool:
    """Whether a run has the evaluation that ends it."""
    rows = MetricsLog(run / "metrics.jsonl").rows()
    return any(row.get("epoch") == epochs and "effective_classes" in row for row in rows)


def train(place: Path, name: str, count: int, seed: int, run: Path) -> None:
    """Train one run, or what is left of it, in a process of its own."""
    data, epochs = write(name, place / "data"), epochs_of(KINDS[name])
    flags = f"--dataset npz --image-size {SIDE} --classes {count} --seed {seed} --epochs {epochs} --eval-every {epochs}"
    flags += f" --save-every {math.ceil(epochs / 4)} --amp --threads 1 --device cpu {NETWORK}"
    again = ["--resume"] if any(run.glob("checkpoints/*")) else [*flags.split(), "--data-dir", str(data)]
    command = [sys.executable, "-m", "fastgan.train", *again, "--run-dir", str(run)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)


def read(run: Path) -> RunReading:
    """What the Q of a finished run makes of its images."""
    loaded = trained_run.load(run, torch.device("cpu"))
    return read_run(loaded, loaded.config, loading.load(loaded.config), run.name)


def row(name: str, by_seed: Mapping[int, Sequence[RunReading]]) -> dict[str, Any]:
    """What is suggested for a set, from each seed alone and from both, with the levels that it rests on."""
    labels_N = torch.from_numpy(KINDS[name].make()[1]).unique(return_inverse=True)[1]
    suggested, levels = {}, {}
    whole = len(KINDS[name].tried)
    parts = {f"seed {seed}": runs for seed, runs in by_seed.items()} | {"both": sum(map(list, by_seed.values()), [])}
    for part, runs in parts.items():
        if len(runs) < whole * (len(SEEDS) if part == "both" else 1):
            continue
        found = choice_of_k.levels(runs)
        suggestion = choice_of_k.suggest(found)
        suggested[part] = {"classes": suggestion.classes, "next": suggestion.next_step}
        levels[part] = [asdict(level) for level in found]
    ari = {run.classes: metrics.rand_index(run.codes_N, labels_N) for run in by_seed.get(SEEDS[0], ())}
    return {
        "kinds": KINDS[name].count,
        "tried": KINDS[name].tried,
        "ari": ari,
        "suggested": suggested,
        "levels": levels,
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows in Markdown, and how often each kind of suggestion is right."""
    parts = [*(f"seed {seed}" for seed in SEEDS), "both"]
    lines = ["| set | kinds | K tried | " + " | ".join(parts) + " | ARI by K |", "| --- " * (len(parts) + 4) + "|"]
    for name, found in rows.items():
        shown = [_shown(found["suggested"].get(part), found["kinds"]) for part in parts]
        ari = ", ".join(f"{count}: {value:.2f}" for count, value in found["ari"].items())
        tried = ", ".join(map(str, found["tried"]))
        lines.append(f"| {name}: {KINDS[name].title} | {found['kinds']} | {tried} | {' | '.join(shown)} | {ari} |")
    lines.append("")
    for part in parts:
        there = [found for found in rows.values() if part in found["suggested"]]
        right = sum(found["suggested"][part]["classes"] == found["kinds"] for found in there)
        none = sum(found["suggested"][part]["classes"] is None for found in there)
        wrong = len(there) - right - none
        lines.append(f"- {part}: right on {right} of {len(there)} sets, wrong on {wrong}, none suggested on {none}")
    return "\n".join(lines)


def _shown(suggestion: dict[str, Any] | None, kinds: int) -> str:
    if suggestion is None:
        return "not run"
    classes = suggestion["classes"]
    return "none" if classes is None else f"**{classes}**" if classes == kinds else str(classes)


def levels_table(rows: dict[str, dict[str, Any]]) -> str:
    """The figures that the suggestions rest on, in Markdown."""
    lines = ["| set | K | runs agree | transforms agree, both seeds | distinct | silhouette |", "| --- " * 6 + "|"]
    for name, found in rows.items():
        for level in found["levels"].get("both") or found["levels"].get(f"seed {SEEDS[0]}", []):
            seeds = "–" if level["seeds"] is None else f"{level['seeds']:.2f}"
            figures = f"{seeds} | {level['views']:.3f} | {level['distinct']:.3g} | {level['silhouette']:.2f}"
            lines.append(f"| {name} | {level['classes']} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is left, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="where the sets and the runs are kept")
    parser.add_argument("--no-train", action="store_true", help="measure what is finished")
    parser.add_argument("--save", action="store_true", help=f"write the table into {RESULTS}")
    args = parser.parse_args()
    place = args.place.resolve()
    found: dict[str, dict[int, list[RunReading]]] = {name: {seed: [] for seed in SEEDS} for name in KINDS}
    for seed in SEEDS:
        for name, count, run in runs_of(place, seed):
            if not finished(run, epochs_of(KINDS[name])):
                if args.no_train:
                    continue
                print(run.name, file=sys.stderr, flush=True)
                train(place, name, count, seed, run)
            found[name][seed].append(read(run))
    rows = {name: row(name, by_seed) for name, by_seed in found.items()}
    about = environment(torch.device("cpu"))
    about.pop("command")  # it names a folder of one machine
    how = f"Each run: {SHOWN:,} images of {SIDE}x{SIDE} shown, {NETWORK}, one thread of {about['device']}."
    command = "`python -m bench.studies.suggest_k --place DIR --save`"
    text = "\n\n".join(
        ["# Which K is suggested where it is known", command, NOTES + how, table(rows), levels_table(rows)]
    )
    print(text)
    if args.save:
        (RESULTS / "suggest-k.md").write_text(text + "\n", encoding="utf-8")
        (RESULTS / "suggest-k.json").write_text(
            json.dumps(rows | {"machine": about}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
