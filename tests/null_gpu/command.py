"""A command on the null GPU, to its end: `python -m null_gpu.command MODULE ARGUMENTS...`.

All that is read back from it is zeros, also where that says "not finite" or leaves nothing to cluster. So here the
guard finds everything finite, and images are grouped by their numbers.
"""

from __future__ import annotations

import importlib
import sys

import torch

from fastgan.config.command_line import run_command
from fastgan.step import nonfinite
from fastgan.training import engine
from null_gpu.seen import graphs, problems


def _grouped(self: engine.Engine) -> tuple[torch.Tensor, float, float]:
    """Groups of any kind, after the device has read the images for them."""
    engine.labelling.read(self.step.networks, self.feed.images, self.config, self.device)
    return torch.arange(len(self.feed.images)) % self.config.classes, 0.5, 0.0


def make_believe() -> None:
    """From here on all is finite, images have groups, and there is no DALI: its own CUDA runtime ends in a crash."""
    sys.modules["nvidia.dali"] = None  # type: ignore[assignment]
    nothing: list[str] = []
    nonfinite.not_finite = lambda state: nothing
    engine.Engine._grouped = _grouped  # type: ignore[method-assign]


def main(module: str, *arguments: str) -> int:
    """Run the command; 1 if the null GPU saw a problem."""
    make_believe()
    code = run_command(importlib.import_module(module).main, arguments)
    print(f"{len(graphs())} graphs; problems: {dict(problems()) or 'none'}")
    return code or int(bool(problems()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
