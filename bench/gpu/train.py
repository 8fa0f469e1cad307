"""A whole 20-epoch MNIST run on a GPU, timed: `python -m bench.gpu.train KIND`, one of KINDS. Needs no tyro."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from bench.process import said
from bench.rows import DEFAULT_RECIPE, DEVICE, load_images
from fastgan.config.validation import validate
from fastgan.reporting import labels
from fastgan.reporting.run_reporter import RunReporter
from fastgan.runs import record
from fastgan.training.engine import Engine
from fastgan.training.loop import TrainingLoop

KINDS: dict[str, dict[str, Any]] = {
    "eager": {"capture": False, "augment": "torchvision"},
    "compiled": {"capture": False, "compile": True, "augment": "torchvision"},
    "captured": {"compile": True, "augment": "torchvision"},
    "dali": {"compile": True, "augment": "dali"},
    "default": {"compile": True, "augment": "torchvision", **DEFAULT_RECIPE},
}


def main(kind: str) -> int:
    """Train split 1 with seed 0 in bfloat16, by the paper's recipe but for the last kind, and print the figures.

    A run that fails is a line too, with what it had logged; the traceback goes to stderr.
    """
    config, images, name = load_images()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = validate(dataclasses.replace(config, amp=True, run_dir=Path(folder) / "run", **KINDS[kind]))
        try:
            trainer = Engine(config, images, DEVICE)
            run = record.create(config, DEVICE)
            placed = dataclasses.replace(images, images=trainer.feed.images)
            reporter = RunReporter(config, run, placed, trainer.step.model, DEVICE)
            outcome = TrainingLoop(config, run, trainer, reporter).train()
        except Exception as error:  # noqa: BLE001 - whatever it was
            traceback.print_exc()
            logged = Path(folder) / "run" / "metrics.jsonl"
            print(f"{kind}: {name}, failed after {time.perf_counter() - begin:.1f} s: {said(error)}")
            print(logged.read_text(encoding="utf-8") if logged.exists() else "nothing was logged")
            return 1
    assert reporter.last is not None
    seen = reporter.last.row["images_seen"]
    print(f"{kind}: {name}, {outcome.seconds:.2f} s of training, {seen / outcome.seconds:,.0f} images/s")
    print(f"{time.perf_counter() - begin:.1f} s in all, with compilation, capture, the judge and four evaluations")
    print(labels.table(reporter.last.row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
