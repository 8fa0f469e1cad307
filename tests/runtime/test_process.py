"""malloc keeps the memory that a step frees, and how much a process has held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastgan.runtime import process


def test_tune_malloc_can_be_called_twice() -> None:
    code = "from fastgan.runtime.process import tune_malloc; tune_malloc(); tune_malloc(); "
    code += "import torch; print(torch.ones(1 << 22).sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and "4194304" in done.stdout.replace(".", ""), done.stderr


def test_tune_malloc_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.platform, "libc_ver", lambda: ("musl", "1.2"))
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: pytest.fail("it must not be called"))
    process.tune_malloc()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_peak_memory_is_not_that_of_the_parent() -> None:
    """A child of a process that holds much starts small, and sees what it takes itself."""
    held = torch.ones(1 << 28, dtype=torch.uint8)  # 256 MB, touched
    child = """
import torch
from fastgan.runtime.process import peak_memory
before = peak_memory(torch.device("cpu"))
taken = torch.ones(1 << 27, dtype=torch.uint8)
print(before, peak_memory(torch.device("cpu")))
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, timeout=120)
    before, after = map(int, done.stdout.split())
    ours = process.peak_memory(torch.device("cpu"))
    assert held.sum() == 1 << 28 and ours > 1 << 28
    assert before < ours - (1 << 26) and after > 1 << 27 and after >= before
