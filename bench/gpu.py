"""The stages of bench/gpu.sh: what each runs, within a budget of time, resumable, with one table at the end.

A part that lacks something (a GPU, MNIST, a sanitizer, a rival) is skipped with a word and never fails the stage.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
BUDGET = 9 * 60.0  # seconds a stage
RESULTS = ROOT / "bench" / "results"
Missing = Callable[[], str | None]


def _no_gpu() -> str | None:
    return None if torch.cuda.is_available() else "no CUDA GPU"


def _no_mnist() -> str | None:
    folder = Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    if any(folder.rglob("train-images-idx3-ubyte*")):
        return _no_gpu()
    return f"MNIST is not in {folder}; name its folder in FASTGAN_MNIST"


def _no_dali() -> str | None:
    try:
        importlib.import_module("nvidia.dali")
    except ImportError as error:
        return f"DALI cannot be imported ({error})"
    return _no_mnist()


def _no_sanitizer() -> str | None:
    if shutil.which("compute-sanitizer") is None:
        return "compute-sanitizer is not installed"
    return _no_gpu()


@dataclass(frozen=True)
class Part:
    """One command of a stage. `keep` are the files of bench/results that it writes, as glob patterns."""

    name: str
    command: tuple[str, ...]
    seconds: float
    missing: Missing = _no_gpu
    keep: tuple[str, ...] = ()
    refusable: bool = False
    """A refusal of the device (a sanitizer's) is a skip."""


PYTHON = sys.executable
PYTEST = (PYTHON, "-m", "pytest")
SANITIZER = ("compute-sanitizer", "--error-exitcode", "9", "--print-limit", "20", "--tool")
STAGES: dict[str, tuple[Part, ...]] = {
    "kernels": (
        Part("tests", (*PYTEST, "tests/kernels", "-m", "gpu"), 150),
        *(
            Part(tool, (*SANITIZER, tool, PYTHON, "-m", "bench.gpu_touch"), 45, _no_sanitizer, refusable=True)
            for tool in ("memcheck", "racecheck", "initcheck")
        ),
        Part(
            "bench",
            (*PYTEST, "bench/bench_kernels.py", "--save-results"),
            240,
            keep=("gumbel_softmax-cuda-*", "nt_xent-cuda-*", "adam-cuda-*"),
        ),
    ),
    "step": (
        Part("tests", (*PYTEST, "tests/test_gpu.py", "tests/test_captured_gpu.py", "-m", "gpu"), 270),
        Part("loop", (PYTHON, "-m", "bench.gpu_loop"), 240, keep=("loop-cuda-*",)),
        *(
            Part(f"train {kind}", (PYTHON, "-m", "bench.gpu_train", kind), 150, _no_mnist)
            for kind in ("captured", "eager", "compiled", "default")
        ),
        Part("train with DALI", (PYTHON, "-m", "bench.gpu_train", "dali"), 150, _no_dali),
        Part("transforms", (*PYTEST, "bench/bench_augment.py", "--save-results"), 120, keep=("augment-cuda-*",)),
        Part("bench", (*PYTEST, "bench/bench_step.py", "--save-results"), 240, keep=("step-cuda-*",)),
    ),
    "costs": (
        Part("guard", (*PYTEST, "bench/bench_guard.py", "--save-results"), 120, keep=("guard-cuda-*",)),
        Part("checkpoints", (*PYTEST, "bench/bench_checkpoint.py", "--save-results"), 120, keep=("checkpoint-cuda-*",)),
    ),
    "table": tuple(
        Part(method, (PYTHON, "-m", "bench.gpu_table", method), 500, _no_mnist, keep=(f"table-{method}-cuda-*",))
        for method in ("elastic", "uniform")
    ),
}


def _run(part: Part, log: Path, seconds: float) -> str:
    """Run a part, its output into the log; returns "ok", "skipped: ..." or "failed: ..."."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n===== {part.name}: {' '.join(part.command)}\n")
        file.flush()
        start = file.tell()
        try:
            done = subprocess.run(
                part.command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return f"failed: longer than {seconds:.0f} s"
    said = log.read_bytes()[start:].decode(errors="replace")
    if part.refusable and ("not supported" in said or "Unable to" in said or "not permitted" in said):
        return "skipped: the tool refuses this device"
    if part.command[1:3] == ("-m", "pytest") and done.returncode == 5:
        return "skipped: no test applies"
    return "ok" if done.returncode == 0 else f"failed: exit code {done.returncode}"


def main(stage: str, out: Path) -> int:
    """Run what is left of a stage; 0 unless a part failed."""
    if stage not in STAGES:
        print(f"stage {stage}: must be one of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    log, record = out / f"{stage}.log", out / f"{stage}.json"
    found: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    begin = time.monotonic()
    for part in STAGES[stage]:
        if found.get(part.name, "").startswith("ok"):
            continue  # done by an earlier call
        left = BUDGET - (time.monotonic() - begin)
        missing = part.missing()
        if missing is not None:
            found[part.name] = f"skipped: {missing}"
        elif left < min(30.0, part.seconds):
            found[part.name] = "left for another call: the stage's time is up"
        else:
            started = time.monotonic()
            found[part.name] = _run(part, log, min(part.seconds, left)) + f" ({time.monotonic() - started:.0f} s)"
            for pattern in part.keep:
                for file in RESULTS.glob(pattern):
                    shutil.copy(file, out)
        record.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(*(f"{name:20}{outcome}" for name, outcome in found.items()), sep="\n")
    return int(any(outcome.startswith("failed") for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
