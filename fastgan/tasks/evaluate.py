"""Measure the newest checkpoint of a run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from fastgan.config import schedule
from fastgan.config.commands import EvaluateConfig
from fastgan.data import folder, loading
from fastgan.data.identity import identify
from fastgan.errors import ConfigError
from fastgan.evaluation import agreement, confusion, diagnosis
from fastgan.evaluation.confusion import confused_codes
from fastgan.evaluation.evaluator import Evaluator, context_rows
from fastgan.evaluation.judge import obtain_judge
from fastgan.inference import trained_run
from fastgan.reporting import labels
from fastgan.runtime.stages import stage
from fastgan.text import encodable
from fastgan.training import same_images


def evaluate(args: EvaluateConfig) -> int:
    """Measure, print, write. Returns the exit code."""
    device = trained_run.choose_processor(args.device, args.threads)
    run = trained_run.load(args.run, device)
    config = run.config_at(args.data_dir, args.cache_dir)
    images = loading.load(config)
    if args.labels_from_folders:
        images = folder.by_subfolders(images, loading.data_folder(config))
    same_images.warn(run.run, identify(images))
    other = None if args.beside is None else agreement.load_beside(args.beside, run, config, images)
    for doubt in [] if other is None else agreement.doubts(run, other, images):
        print(f"warning: {doubt}", file=sys.stderr)
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
