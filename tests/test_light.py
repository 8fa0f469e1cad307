"""A command reads its line, and answers a mistake or --help, before it imports what takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan.config.presets import preset
from fastgan.config.serialization import to_json

ROOT = Path(__file__).parents[1]
SLOW = {"torch", "torchvision", "sklearn", "scipy", "numpy", "matplotlib", "PIL", "joblib", "safetensors", "jinja2"}


def imported(*argv: str, cwd: Path = ROOT) -> tuple[int, str, str, set[str]]:
    """Exit code, stdout, stderr and the packages that a Python process has imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv], capture_output=True, text=True, cwd=cwd, env=environment
    )
    lines = done.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    said = "".join(f"{line}\n" for line in lines if line not in times)
    return done.returncode, done.stdout, said, {line.rpartition("|")[2].strip().partition(".")[0] for line in times}


def test_importing_fastgan_imports_neither_torch_nor_tyro() -> None:
    code, _, _, packages = imported("-c", "import fastgan")
    assert code == 0 and "fastgan" in packages and not packages & {*SLOW, "tyro"}


MISTAKES = {
    "train": ["--epohcs", "3"],
    "cluster": ["run", "--out"],
    "sample": ["run", "--code", "seven"],
    "evaluate": ["nowhere"],
    "export": ["--outt", "there"],
    "page": ["nowhere"],
    "check": ["nowhere"],
    "reproduce": ["--splits", "0-9"],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_before_slow_libraries_are_imported(name: str, tmp_path: Path) -> None:
    code, out, said, packages = imported("-m", f"fastgan.{name}", *MISTAKES[name], cwd=tmp_path)
    assert (code, out) == (2, "") and said.startswith("error: ") and said.count("\n") == 1
    assert "tyro" in packages and not packages & SLOW


@pytest.mark.parametrize("name", MISTAKES)
def test_help_imports_no_slow_library(name: str) -> None:
    code, out, said, packages = imported("-m", f"fastgan.{name}", "--help")
    assert (code, said) == (0, "") and f"python -m fastgan.{name}" in out and not packages & SLOW


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --dataset folder", "needs the folder of the images"),
        ("train --epochs 0", "--epochs 0: must be at least 1"),
        ("train --resume --run-dir nowhere", "is not a run folder"),
        ("train --run-dir run", "already holds a run"),
        ("train --like nowhere", "is not a run folder"),
        ("train --config nowhere.json", "cannot be read"),
        ("train --dataset folder --data-dir nowhere", "nowhere: no such folder"),
        ("train --dataset npz --data-dir nowhere.npz", "nowhere.npz: no such file"),
        ("sample run --code 99", "--code 99: this run has codes 0 to 9"),
        ("sample run --out run/run.json", "--out run/run.json: its ending must be one of"),
        ("cluster run nowhere", "nowhere: no such folder"),
        ("cluster run --sort-into sorted", "--sort-into: sorts image files"),
        ("evaluate run --beside nowhere", "is not a run folder"),
        ("export run --out run", "--out run: is there already"),
        ("page run --out page.html", "--out page.html: is there already"),
        ("check", "name the folder with your images: python -m fastgan.check photos"),
        ("reproduce --runs-at-once -1", "--runs-at-once -1: must be 1 or more"),
    ],
)
def test_so_is_what_cannot_be(command: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    settings = {"settings": to_json(preset("digits")), "environment": {}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(settings))
    (tmp_path / "page.html").touch()
    name, *flags = command.split()
    code, out, said, packages = imported("-m", f"fastgan.{name}", *flags, cwd=tmp_path)
    assert (code, out) == (2, "") and words in said and said.count("\n") == 1 and not packages & SLOW


def test_that_libraries_are_loaded_is_said_where_they_are(tmp_path: Path) -> None:
    """Not what they are: they are stood in for."""
    (tmp_path / "torch.py").write_text("raise SystemExit(7)")
    done = subprocess.run(
        [sys.executable, "-m", "fastgan.train", "--device", "cpu"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (7, "loading libraries ...\n")
