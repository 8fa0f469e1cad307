"""python -m fastgan.evaluate RUN: measure the newest checkpoint of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from fastgan import advice, agreement, data, metrics, run_folder, trained
from fastgan.command_line import parse, positional, run_command
from fastgan.evaluation import Evaluator, context_rows, obtain_judge
from fastgan.inference import read_transforms


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to measure."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    data_dir: Path | None = None
    """Where the run's data set lies now, if it has moved."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    json: Path | None = None
    """Write the figures to this file as well."""
    beside: Path | None = None
    """Another run on the same data, of another seed: print how far both agree on which images belong together."""


def main(argv: Sequence[str]) -> int:
    """Parse, evaluate, print. Returns the exit code."""
    asked = parse(
        EvaluateConfig,
        argv,
        prog="python -m fastgan.evaluate",
        description="NMI, ENT, prior error, clustering and diversity of a run.",
    )
    device = run_folder.choose_device(asked.device)
    run = trained.load(asked.run, device)
    config = run.config if asked.data_dir is None else replace(run.config, data_dir=asked.data_dir)
    images = data.load(config)
    other = None if asked.beside is None else agreement.load_beside(asked.beside, run, config, images)
    evaluator = Evaluator(images, obtain_judge(config, images, device), config, device)
    found = evaluator(run.networks, run.generator, run.prior.probabilities())
    chosen_M, transformed_MK = read_transforms(run.networks, images.images, config, device)
    merge = advice.merge_candidates(transformed_MK, found.codes_N[chosen_M])
    row = {"images_seen": run.images_seen, **found.row}
    if images.labels is not None:
        row |= context_rows(images, config.classes)
    reading = ""
    if other is not None:
        figures, reading = agreement.agreement(found.codes_N, run, other, images)
        row |= {"beside": str(asked.beside), **figures}
    print(f"{asked.run} after {run.images_seen:,} images:")
    print(metrics.table(row))
    pairs = ", ".join(f"{pair.first} and {pair.second} ({pair.confusion:.2f})" for pair in merge) or "none"
    print(f"  {f'codes that Q confuses (above {advice.CONFUSED:.3g}): merge?':<58} {pairs}")
    if other is not None:
        print(f"\nbeside {asked.beside}: {reading}")
    if asked.json is not None:
        asked.json.write_text(
            json.dumps(row | {"merge_candidates": [asdict(pair) for pair in merge]}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
