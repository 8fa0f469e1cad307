"""Whole commands on the null GPU, from their flags to their last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from null_gpu.child import run

TRAIN = ("--dataset", "digits", "--image-size", "28", "--imbalance", "none", "--amp", "--epochs", "1")


def command(module: str, *argv: str, cache: Path) -> str:
    """What it prints; the null GPU saw no problem."""
    return run("-m", "null_gpu.command", module, *argv, XDG_CACHE_HOME=str(cache))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a run of one epoch and, beside it, of its cache."""
    folder = tmp_path_factory.mktemp("null-gpu")
    said = command("fastgan.train", *TRAIN, "--grouping.at", "1", "--run-dir", str(folder / "run"), cache=folder)
    assert "1 epoch, on null GPU" in said and "after 1 epoch" in said and "2 graphs; problems: none" in said
    return folder


def test_a_run_is_trained_and_goes_on(trained: Path) -> None:
    """Losses, groups, evaluation, pictures, report and checkpoint of two epochs."""
    said = command("fastgan.train", "--resume", "--run-dir", str(trained / "run"), "--epochs", "2", cache=trained)
    assert "resumed from" in said and "grouped the images" in said and "after 2 epochs" in said
    assert "2 graphs; problems: none" in said
    assert (trained / "run" / "report.html").exists()


@pytest.mark.slow
def test_a_run_is_evaluated(trained: Path) -> None:
    assert "problems: none" in command("fastgan.evaluate", str(trained / "run"), cache=trained)


@pytest.mark.slow
def test_the_users_own_command_runs_to_its_report(mnist_dir: Path, tmp_path: Path) -> None:
    """MNIST, mixed precision, compiled: all epochs, the judge and every evaluation."""
    where = ("--data-dir", str(mnist_dir), "--run-dir", str(tmp_path / "run"))
    said = command("fastgan.train", "--dataset", "mnist", "--amp", "--compile", *where, cache=tmp_path)
    assert "after 20 epochs" in said and "4 graphs; problems: none" in said  # two of them of pretraining
    assert "goes on eagerly" not in said
    assert (tmp_path / "run" / "report.html").exists()
