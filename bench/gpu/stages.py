"""The stages of bench/gpu.sh: what each runs, within a budget of time, resumable, with a line as each part ends.

A part that lacks something (a GPU, MNIST, a sanitizer, a rival) is skipped with a word and never fails the stage. One
that runs into its limit is interrupted as by Ctrl-C, so that it prints what it has; the tables that it wrote are kept.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
BUDGET = 9 * 60.0  # seconds a call
GRACE = 20.0  # seconds for what was interrupted to print what it has
RESULTS = ROOT / "bench" / "results"
Missing = Callable[[], str | None]


def _no_gpu() -> str | None:
    return None if torch.cuda.is_available() else "no CUDA GPU"


def _no_mnist() -> str | None:
    folder = Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    if any(folder.rglob("train-images-idx3-ubyte*")):
        return _no_gpu()
    return f"MNIST is not in {folder}; name its folder in FASTGAN_MNIST"


def _no_worlds() -> str | None:
    folder = Path(os.environ.get("FASTGAN_WORLDS", "data"))
    if (folder / "mnist").is_dir():
        return _no_gpu()
    return f"the worlds' images are not in {folder}; name their folder in FASTGAN_WORLDS (docs/worlds.md)"


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
    """Its limit, far above what it should take: compilers start with cold caches on a machine that was just lent."""
    missing: Missing = _no_gpu
    keep: tuple[str, ...] = ()
    refusable: bool = False
    """A refusal of the device (a sanitizer's) is a skip."""
    after: str | None = None
    """A part of the stage whose success this one, which would do the same first, is told of (in FASTGAN_AGREED)."""


PYTHON = sys.executable
PYTEST = (PYTHON, "-m", "pytest")
# Most of a test's time is its compilers', so tests share the processors, where pytest-xdist is installed.
TESTS = (*PYTEST, *(("-n", str(min(8, (os.cpu_count() or 1) // 2))) if importlib.util.find_spec("xdist") else ()))
SANITIZER = ("compute-sanitizer", "--error-exitcode", "9", "--print-limit", "20", "--tool")
ABLATION_AT_ONCE = ("--at-once", str(max(1, (os.cpu_count() or 1) - 2)))
STAGES: dict[str, tuple[Part, ...]] = {
    "kernels": (
        Part("tests", (*TESTS, "tests/kernels", "-m", "gpu"), 400),
        *(
            Part(tool, (*SANITIZER, tool, PYTHON, "-m", "bench.gpu.touch"), 90, _no_sanitizer, refusable=True)
            for tool in ("memcheck", "racecheck", "initcheck")
        ),
        Part(
            "bench",
            (*PYTEST, "bench/speed/bench_kernels.py", "--save-results"),
            480,
            keep=("gumbel_softmax-cuda-*", "nt_xent-cuda-*", "adam-cuda-*"),
            after="tests",
        ),
    ),
    "step": (
        Part("tests", (*TESTS, "tests/bench/test_gpu.py", "tests/training/test_cuda_graphs_gpu.py", "-m", "gpu"), 480),
        Part("loop", (PYTHON, "-m", "bench.gpu.loop"), 420, keep=("loop-cuda-*",)),
        Part("profile", (PYTHON, "-m", "bench.gpu.profile"), 240, keep=("profile-cuda-*",)),
        *(
            Part(f"train {kind}", (PYTHON, "-m", "bench.gpu.train", kind), 240, _no_mnist)
            for kind in ("captured", "eager", "compiled", "default")
        ),
        Part("train with DALI", (PYTHON, "-m", "bench.gpu.train", "dali"), 240, _no_dali),
        Part("transforms", (*PYTEST, "bench/speed/bench_augment.py", "--save-results"), 240, keep=("augment-cuda-*",)),
        Part("bench", (*PYTEST, "bench/speed/bench_step.py", "--save-results"), 420, keep=("step-cuda-*",)),
    ),
    "costs": (
        Part("guard", (*PYTEST, "bench/speed/bench_guard.py", "--save-results"), 240, keep=("guard-cuda-*",)),
        Part(
            "checkpoints",
            (*PYTEST, "bench/speed/bench_checkpoint.py", "--save-results"),
            240,
            keep=("checkpoint-cuda-*",),
        ),
    ),
    "table": tuple(
        Part(method, (PYTHON, "-m", "bench.gpu.table", method), 500, _no_mnist, keep=(f"table-{method}-cuda-*",))
        for method in ("elastic", "uniform")
    ),
    "worlds": (
        Part("worlds", (PYTHON, "-m", "bench.gpu.worlds"), 530, _no_worlds, keep=("worlds-cuda-*",)),
        Part(
            "ablation",
            (PYTHON, "-m", "bench.studies.ablation", "runs/ablation", "--device", "cuda", "--save", *ABLATION_AT_ONCE),
            530,
            _no_mnist,
            keep=("prior/ablation-cuda-*",),
        ),
    ),
}


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """End a part and what it started: as by Ctrl-C, which pytest answers with its results so far; then for good."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _run(part: Part, log: Path, seconds: float, environment: dict[str, str]) -> str:
    """Run a part, its output into the log; returns "ok", "skipped: ..." or "failed: ..."."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n===== {part.name}: {' '.join(part.command)}\n")
        file.flush()
        start = file.tell()
        done = subprocess.Popen(
            part.command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            done.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"failed: longer than {seconds:.0f} s"
        finally:
            if done.returncode is None:  # too long, or it is this process that is interrupted
                _interrupt(done)
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
    begin, called = time.monotonic(), False
    for part in STAGES[stage]:
        left = BUDGET - (time.monotonic() - begin)
        missing = part.missing()
        if found.get(part.name, "").startswith("ok"):
            print(f"{part.name:20}{found[part.name]}, in an earlier call", flush=True)
            continue
        if missing is not None:
            found[part.name] = f"skipped: {missing}"
        elif called and left < part.seconds:  # begun, it might be cut off
            found[part.name] = "left for another call: the stage's time is up"
        else:
            called, started = True, time.monotonic()
            agreed = part.after is not None and found.get(part.after, "").startswith("ok")
            environment = os.environ | ({"FASTGAN_AGREED": "1"} if agreed else {})
            outcome = _run(part, log, min(part.seconds, left), environment)
            found[part.name] = f"{outcome} ({time.monotonic() - started:.0f} s)"
            for pattern in part.keep:
                for file in RESULTS.glob(pattern):
                    shutil.copy(file, out)
        record.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{part.name:20}{found[part.name]}", flush=True)
    return int(any(outcome.startswith("failed") for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
