"""What the benchmarks share: the twin check before any figure, and the tables after the last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# What oneDNN and torch's own kernels may use at most.
AVX2_ALONE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
TABLES = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--save-results", action="store_true", help="write the tables to bench/results/ as well")
    parser.addoption("--avx2", action="store_true", help="measure as on a processor with AVX2 and nothing wider")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--avx2"):  # torch is imported later, here and in every process that a row has to itself
        os.environ.update(AVX2_ALONE)
    config.stash[TABLES] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for table in config.stash[TABLES].values():
        terminalreporter.write_line("")
        terminalreporter.write_line(table)


class Results:
    """Takes tables: prints them at the end and, with --save-results, keeps them in bench/results/ at once.

    A table of the same name replaces the one before, so that a long one may be handed in row by row.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def add(self, name: str, table: str, values: dict[str, Any]) -> None:
        self.config.stash[TABLES][name] = table
        if self.config.getoption("--save-results"):
            stem = ROOT / "bench" / "results" / name
            stem.parent.mkdir(exist_ok=True)
            stem.with_suffix(".txt").write_text(table + "\n", encoding="utf-8")
            stem.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    return Results(request.config)


@pytest.fixture(scope="session")
def twins_agree() -> None:
    """The fast step equals the literal loop, or there are no figures."""
    command = [sys.executable, "-m", "pytest", "tests/step/test_step.py", "-q", "-k", "literal"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"no figures, since {' '.join(command[1:])} fails:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
