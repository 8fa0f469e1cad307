"""The generator and the labeller as files that torch loads without fastgan.

Legend: B images, K codes, Z noise, D embedding, CHW an image, S its side.
"""

from __future__ import annotations

from pathlib import Path

from fastgan.inference import trained_run
from fastgan.inference.export import export
from fastgan.reporting import labels


def write(path: Path, out: Path, force: bool, threads: int) -> list[str]:
    """Export the run `path` into the folder `out`; an earlier export is replaced with `force`.

    Returns:
        The names of the files.
    """
    # On the CPU, since an exported program is tied to the device it was traced on.
    return export(trained_run.load(path, trained_run.choose_processor("cpu", threads)), out, force, labels.SHOWN)
