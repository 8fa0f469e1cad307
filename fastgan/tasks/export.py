"""The generator and the labeller as files that torch loads without fastgan.

Legend: B images, K codes, Z noise, D embedding, CHW an image, S its side.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fastgan.inference import trained_run
from fastgan.inference.export import export


def write(path: Path, out: Path, force: bool) -> None:
    """Export the run `path` into the folder `out`; an earlier export is replaced with `force`."""
    # On the CPU, since an exported program is tied to the device it was traced on.
    export(trained_run.load(path, torch.device("cpu")), out, force)
