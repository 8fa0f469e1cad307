"""Capture training steps on the null GPU and tell what it saw: `python -m null_gpu.step '[{...}, ...]'`.

Each setting is the recipe and what differs from its preset for MNIST; the images are digits at MNIST's size.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from collections import Counter
from typing import Any

import torch
import torch._dynamo

from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.training.engine import Engine
from null_gpu.seen import graphs, problems, waits


def setting(recipe: str = "default", **changes: Any) -> tuple[TrainConfig, ImageSet]:
    """MNIST's preset of a recipe with changes, and the digits that stand in for MNIST."""
    own = dataclasses.replace(preset("mnist", recipe), dataset="digits", imbalance="none", augment="torchvision")
    config = dataclasses.replace(own, **changes)
    return config, loading.load(config)


def look(recipe: str = "default", channels: int = 1, **changes: Any) -> dict[str, Any]:
    """Nodes of one captured step; problems, waits while steps run, warnings, and where a compiler broke off."""
    torch._dynamo.config.error_on_recompile = True  # which would be a warning then, as all that a compiler raises
    torch._dynamo.reset()
    broken = Counter(torch._dynamo.utils.counters["graph_break"])
    known, captured = problems(), len(graphs())
    config, images = setting(recipe, **changes)
    if channels > 1:
        images = dataclasses.replace(images, images=images.images.repeat(1, channels, 1, 1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of itself
        trainer = Engine(config, images, torch.device("cuda"))
        trainer.prepare(0)

    def steps() -> None:
        for first in range(0, 64, trainer.iterations.unroll):
            images_seen = first * trainer.batch
            trainer.prefetch(images_seen, images_seen + trainer.iterations.unroll * trainer.batch)
            trainer.iterations.run(trainer.iterations.unroll)

    steps()  # what the feed allocates once
    waited = waits(steps)
    return {
        "nodes": min(map(len, graphs()[captured:]), default=0),
        "problems": problems() - known,
        "waits": waited,
        "graph_breaks": dict(Counter(torch._dynamo.utils.counters["graph_break"]) - broken),
        "warnings": [str(warning.message) for warning in said],
    }


if __name__ == "__main__":
    print(json.dumps([look(**asked) for asked in json.loads(sys.argv[1])]))
