"""Runs Python as on a processor with AVX2 only, whatever this one has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What oneDNN and torch's own kernels may use at most, read when torch is imported.
AVX2_ALONE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def run(*argv: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python ARGV...` on such a processor, from the root of the tree, without a GPU."""
    given = os.environ | AVX2_ALONE | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env=given, capture_output=True, text=True, timeout=timeout, check=False
    )
