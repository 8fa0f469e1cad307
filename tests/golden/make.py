"""The golden run: 20 fixed-seed steps in float64 on the CPU, and the losses that they gave.

A refactor must match step_losses.txt; a change of numerics writes it anew, in a commit of its own:

    python tests/golden/make.py

AVX2 and AVX-512 give the same 15 digits. Other instruction sets do not: torch draws the weights, and computes the noise
and the angles, in float32, where its logarithms and cosines end in another bit there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from fastgan.config.schema import NetworkConfig, TrainConfig, TransformConfig
from fastgan.data import loading
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.losses import LOSSES
from fastgan.step.step import Step
from fastgan.training.engine import build_feed

PATH = Path(__file__).with_name("step_losses.txt")
STEPS = 20
CONFIG = TrainConfig(
    dataset="digits",
    image_size=16,
    batch_size=32,
    seed=7,
    transform=TransformConfig(rotation=15.0, shift=0.1),
    network=NetworkConfig(width=8, hidden=64),
)


def run() -> Tensor:
    """The losses of every step, float64 [STEPS, 6]."""
    shape = Shape(CONFIG.image_size, 1, CONFIG.classes, CONFIG.network)
    networks = Networks(shape).initialise(CONFIG.seed).double()
    prior = ClassPrior("learned", CONFIG.classes).double()
    step = Step(networks, prior, CONFIG, torch.device("cpu"))
    feed = build_feed(CONFIG, loading.load(CONFIG), torch.device("cpu"), torch.float64)
    losses = []
    for number in range(STEPS):
        feed.prefetch(number * CONFIG.batch_size, (number + 1) * CONFIG.batch_size)
        losses.append(step(*feed.batch_at(step.images_seen)))
    return torch.stack(losses)


def main() -> None:
    """Write the file that tests/step/test_step.py compares with."""
    lines = [" ".join(("# step", *LOSSES))]
    for number, losses in enumerate(run().tolist(), start=1):
        lines.append(" ".join((str(number), *(f"{loss:.17g}" for loss in losses))))
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
