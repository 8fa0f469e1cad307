"""Python on the null GPU: its environment, and how a test runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from null_gpu.build import HERE, LIBRARY, built

ROOT = HERE.parents[1]
ELSEWHERE = ("TRITON_INTERPRET", "CUDA_VISIBLE_DEVICES")  # what says that there is no GPU


def environment() -> dict[str, str]:
    """The variables under which a process finds the null GPU. Compilers keep what they made beside it."""
    folder = built()
    given = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    given |= {"LD_PRELOAD": str(folder / LIBRARY), "LD_LIBRARY_PATH": str(folder), "TRITON_LIBCUDA_PATH": str(folder)}
    given |= {"TRITON_CACHE_DIR": str(folder / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    given |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    ours = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return given | {"PYTHONPATH": os.pathsep.join(filter(None, ours))}


def run(*argv: str, timeout: float = 300, **more: str) -> str:
    """What `python ARGV...` says on the null GPU, stderr before stdout; AssertionError with its end, if it fails."""
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    ended = f"{' '.join(argv)[:200]} ended with {done.returncode}"
    assert done.returncode == 0, f"{ended}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stderr + done.stdout


def told(*argv: str, timeout: float = 300) -> Any:
    """What `python ARGV...` prints in its last line, as JSON."""
    return json.loads(run(*argv, timeout=timeout).splitlines()[-1])
