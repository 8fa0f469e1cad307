"""Tests that need a GPU, on the null GPU: those that look at no values."""

from __future__ import annotations

import pytest

from null_gpu.child import run

FLAT = "tests/training/test_cuda_graphs_gpu.py::test_memory_is_flat_and_no_replay_waits"


def passes(*tests: str) -> None:
    """Under the project's own settings of pytest, where any other warning is an error."""
    options = ["-m", "gpu", "--show-capture=no"]
    assert f"{len(tests)} passed" in run("-m", "pytest", *options, *tests)


def test_replays_do_not_wait() -> None:
    passes(f"{FLAT}[float32]", f"{FLAT}[bfloat16]")


@pytest.mark.slow
def test_runs_at_once() -> None:
    passes("tests/bench/test_gpu.py::test_runs_at_once_are_those_of_one_after_the_other")


@pytest.mark.slow
def test_a_compiled_step_in_float32_is_no_warning() -> None:
    passes(f"{FLAT}[compiled float32]")
