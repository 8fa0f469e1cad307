"""The study of main loops in Gluon: its candidates compile, and the table says what the compiler made of them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from bench.checks import compile_report, loops
from bench.studies import gluon

for name in ("lse, product over the turn", "lse, four tiles"):
    compiled = gluon.build(next(c for c in gluon.CANDIDATES if c.name == name))
    loop = loops.main_loop(loops.read(compile_report._dump(compiled, "nvdisasm", "-c", "-ndf")))
    print(loops.groups(loop), loops.pipes(loop)["tensor"], loops.waits(compiled.asm["ptx"]))
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_products_in_flight_over_the_loops_end_wait_for_each_other() -> None:
    """Two schedules with waits above zero: one the assembler runs a product at a time, the other as it is written."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", "16", "1,1,0", "4", "32", "1,1,1,0"]
