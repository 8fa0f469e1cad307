"""Every kernel compiles, without a GPU: no spills, tensor cores for its products, 64-bit offsets."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def report(*flags: str) -> subprocess.CompletedProcess[str]:
    """bench.checks.compile_report in a process without the interpreter, which compiles nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "bench.checks.compile_report", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("op", ["gumbel_softmax", "normal", "nt_xent", "adam"])
def test_some_of_each_kernel_for_sm_90(op: str) -> None:
    done = report("--capability", "90", "--op", op, "--most", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) > 3


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_configuration(capability: str) -> None:
    done = report("--capability", capability)
    assert done.returncode == 0, done.stdout + done.stderr
