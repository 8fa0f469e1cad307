"""NVIDIA's MPS: kernels of several processes run side by side on a GPU, instead of taking turns.

With it 57 runs of the suite of worlds were finished in 200 s by 14 processes on an H100 (docs/speed.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRIED = [sys.executable, "-c", "import torch; torch.ones(9, device='cuda').sum().item()"]


@contextmanager
def mps() -> Iterator[dict[str, str]]:
    """Within, NVIDIA's MPS runs, if it is installed and works; yields what processes need in their environment."""
    control = shutil.which("nvidia-cuda-mps-control")
    with tempfile.TemporaryDirectory() as folder:
        there = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        environment = os.environ | there
        for path in there.values():
            Path(path).mkdir()
        works = control is not None and _ok([control, "-d"], environment) and _ok(TRIED, environment)
        try:
            yield there if works else {}
        finally:
            if control is not None:
                subprocess.run([control], input=b"quit\n", env=environment, timeout=30, check=False)


def _ok(command: list[str], environment: dict[str, str]) -> bool:
    try:
        return subprocess.run(command, env=environment, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
