"""Measure the newest checkpoint of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from fastgan.config import schedule
from fastgan.config.commands import EvaluateConfig
from fastgan.errors import ConfigError
from fastgan.evaluation import agreement, confusion, diagnosis
from fastgan.evaluation.confusion import confused_codes
from fastgan.evaluation.evaluator import Evaluator, context_rows
from fastgan.evaluation.judge import obtain_judge
from fastgan.reporting import labels
from fastgan.runtime.stages import stage
from fastgan.tasks import run_and_images
from fastgan.text import encodable


def evaluate(args: EvaluateConfig) -> int:
    """Measure, print, write. Returns the exit code."""
    read = run_and_images.read(args)
    run, config, images, other = read.run, read.config, read.images, read.beside
    device = run.device
    evaluator = Evaluator(images, obtain_judge(config, images, device), config, device)
    prior_K = run.prior.probabilities().detach().cpu()
    with stage("evaluating"):
        found = evaluator(run.networks, run.generator, prior_K)
    planned = schedule.total_images(config, len(images.images), run.ranks())
    hardly = diagnosis.hardly_trained(prior_K, found.sizes_K, run.images_seen, planned)
    with stage("looking for codes that Q confuses"):
        merge = [] if hardly else confused_codes(run.networks, images.images, found.codes_N, config, device)
    row = {"images_seen": run.images_seen, **found.row}
    if images.labels is not None:
        with stage("clustering by k-means, for comparison"):
            row |= context_rows(images, config.classes)
    reading = ""
    if other is not None:
        figures, reading = agreement.agreement(found.codes_N, run, other, images)
        row |= {"beside": encodable(str(args.beside)), **figures}
    off = diagnosis.prior_off(prior_K, found.sizes_K) if config.prior == "learned" and not hardly else None
    for finding in (hardly, off):
        if finding is not None:
            print(f"{finding.title}. {finding.text} {finding.remedy}\n")
    print(f"{args.run} after {run.images_seen:,} images:")
    print(labels.table(row))
    pairs = ", ".join(f"{pair.first} and {pair.second} ({pair.confusion:.2f})" for pair in merge) or "none"
    pairs = pairs if hardly is None else "not shown for a run that is hardly trained"
    print(f"  {f'codes that Q confuses (above {confusion.CONFUSED:.3g}): merge?':<58} {pairs}")
    if other is not None:
        print(f"\nbeside {args.beside}: {reading}")
    if args.json is not None:
        doubts = {"hardly_trained": hardly is not None, "prior_off": None if off is None else off.title}
        diagnosed = {**doubts, "merge_candidates": [asdict(pair) for pair in merge]}
        _write(args.json, json.dumps(row | diagnosed, indent=1) + "\n")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file of figures, whose folder is made if it is absent."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written ({error.strerror or error}); name another file") from error
