"""Losses that are not finite, and float16 that overflows: cases 12 and 13."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch

from fastgan.runs import checkpoint
from fastgan.step.nonfinite import MOST_SKIPPED
from faults import Result, children, hooks

# Loss -> its calls a step of pretraining (the first epoch), its calls a whole step, and what the error calls it.
LOSSES = {
    "discriminator_loss": (0, 1, "d_loss is"),
    "generator_loss": (0, 1, "g_loss is"),
    "information_loss": (0, 1, "information_loss is"),
    "contrastive_loss": (1, 1, "contrastive_loss is"),
    "grouping_loss": (1, 1, "grouping_loss is"),
    "iic_loss": (2, 2, "agreement_loss is"),
    "prior_loss": (0, 1, "a gradient is not finite"),
}
VALUES = (math.nan, math.inf, -math.inf)
STEP = 14  # counted from 1: one checkpoint has been saved by then


def _saved(run: Path) -> str:
    """What is wrong with the checkpoints of a run that diverged; "" if the newest is good and every number finite."""
    path, _ = checkpoint.newest(run / "checkpoints")
    for part in ("model", "training"):
        for name, value in checkpoint.load(path, part).items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                return f"{path.name} holds {name} that is not finite"
    return ""


def not_finite(count: int, folder: Path) -> Result:
    """NaN, infinity and minus infinity in each loss, at a step in the middle; then the run is continued."""
    whole = children.uninterrupted()
    result = Result()
    cases = [(name, value) for value in VALUES for name in LOSSES]
    for number, (name, value) in enumerate(cases[:count]):
        at_first, calls, said = LOSSES[name]
        before = at_first * children.EPOCH + calls * (STEP - 1 - children.EPOCH)
        run = folder / f"run-{number}"
        spoilt = partial(hooks.poison, name, value, before + 1)
        ended = children.run([*children.TINY, "--run-dir", str(run)], run.with_suffix(".log"), spoilt)
        words = (f"step {STEP} (after image {(STEP - 1) * children.BATCH:,})", said, "--resume")
        result.count(
            ended.complaint(1, *words), _saved(run), children.resume(run).complaint(0), children.differs(run, whole)
        )
    result.note = f"{len(cases)} in all; the pull of the prior is no column of metrics.jsonl, so its gradient is named"
    return result


def overflow(count: int, folder: Path) -> Result:
    """float16 whose gradients are infinite: for 3 steps, which are left out and counted, and for good."""
    flags = ("--amp", "--amp-dtype", "float16", "--pretrain-epochs", "0")
    result = Result()
    for number in range(count):
        run, first = folder / f"run-{number}", number % 5
        for_good = number % 2 == 1
        bursting = partial(hooks.burst, first, 1_000 if for_good else 3)
        argv = [*children.TINY, *flags, "--run-dir", str(run)]
        ended = children.run(argv, run.with_suffix(".log"), bursting)
        saved = checkpoint.newest(run / "checkpoints")[0]
        skipped = int(checkpoint.load(saved, "training")["guard.skipped"][0])
        if for_good:
            wrong = ended.complaint(1, "steps overflowed in float16; leave --amp-dtype out")
            result.count(wrong, _saved(run), skipped == 0 and "no step was counted")
        else:
            scale = checkpoint.load(saved, "training")["scaler.scale"]
            result.count(
                ended.complaint(0),
                _saved(run),
                skipped != 3 and f"{skipped} steps were counted",
                not torch.isfinite(scale) and "the scale is not finite",
            )
    result.note = f"at the {MOST_SKIPPED}th overflow in a row, read at the logging cadence, the run ends"
    return result
