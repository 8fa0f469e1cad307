"""malloc keeps the memory that a step frees."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
