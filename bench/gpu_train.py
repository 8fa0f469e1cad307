"""A whole 20-epoch MNIST run on a GPU, timed: `python -m bench.gpu_train eager|compiled`. Needs no tyro."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

from bench.rows import DEVICE, load_images
from fastgan import loop, metrics, run_folder
from fastgan.config import validate


def main(kind: str) -> None:
    """Train split 1 with seed 0 in bfloat16 and print the figures."""
    config, images, name = load_images()
    with tempfile.TemporaryDirectory() as folder:
        config = validate(
            dataclasses.replace(config, amp=True, compile=kind == "compiled", run_dir=Path(folder) / "run")
        )
        step, feed = loop.build(config, images, DEVICE), loop.build_feed(config, images, DEVICE)
        outcome = loop.Loop(config, run_folder.create(config, DEVICE), images, step, feed, DEVICE).train()
    assert outcome.evaluation is not None
    seen = outcome.evaluation.row["images_seen"]
    print(f"{kind}: {name}, {outcome.seconds:.2f} s of training, {seen / outcome.seconds:,.0f} images/s")
    print(metrics.table(outcome.evaluation.row))


if __name__ == "__main__":
    main(sys.argv[1])
