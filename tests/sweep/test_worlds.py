"""The suite of worlds: its runs, its table, and its command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from own_images import dark_and_light

from fastgan import reproduce
from fastgan.config import command_line
from fastgan.config.commands import WorldsConfig
from fastgan.errors import ConfigError
from fastgan.sweep import workers
from fastgan.sweep.results import RunKey
from fastgan.sweep.worlds import WORLDS, runs_of
from fastgan.sweep.worlds_table import FIGURES, as_markdown, value, write_worlds


def run(*flags: str) -> int:
    return command_line.run_command(reproduce.main, ["--suite", "worlds", *flags])


@pytest.mark.parametrize("name", list(WORLDS))
def test_each_world_is_what_a_user_would_type(name: str, tmp_path: Path) -> None:
    runs = runs_of(WorldsConfig(data_dir=tmp_path, splits="1,3", seeds="0-1", methods="elastic,kmeans"), name)
    assert len(runs) == 2 * 2 * (2 if WORLDS[name].splits else 1)
    for key, config in runs.items():
        assert config.seed == key.seed and config.data_dir == tmp_path / WORLDS[name].folder
        assert config.epochs == WORLDS[name].epochs and config.recipe == "default"
        assert key.split is None or config.split == key.split
    assert RunKey("kmeans", None, 0).name == "kmeans-seed0" and RunKey("kmeans", 3, 0).name == "kmeans-split03-seed0"


def row(method: str, seed: int, **figures: float) -> dict[str, Any]:
    return {
        "format": 1,
        "run": {"dataset": "cifar-2", "recipe": "default", "epochs": 20, "method": method, "split": None, "seed": seed},
        "evaluations": {"10": {"cluster_nmi": 0.0}, "20": figures},
        "environment": {"device": "Abacus (1 threads)"},
        "peak_memory_gb": 1.5,
        "settings": {},
    }


ROWS = [
    row("elastic", 0, cluster_nmi=0.70, cluster_accuracy=0.95, train_seconds=300.0),
    row("elastic", 1, cluster_nmi=0.60, cluster_accuracy=0.93, train_seconds=310.0),
    row("elastic", 2, cluster_nmi=0.68, cluster_accuracy=0.94, train_seconds=320.0),
    row("kmeans", 0, cluster_nmi=0.20, cluster_accuracy=0.75, train_seconds=3.0),
    row("kmeans", 1, cluster_nmi=0.21, cluster_accuracy=0.75, train_seconds=3.0),
    row("kmeans", 2, cluster_nmi=0.22, cluster_accuracy=0.75, train_seconds=3.0),
]


def test_the_table_has_means_spreads_worst_and_a_paired_test() -> None:
    text = as_markdown("cifar-2", ROWS)
    assert "| method | n | accuracy | NMI | seconds | GB |" in text
    assert "| elastic | 3 | **0.940** ± 0.010 (0.930) | **0.660** ± 0.053 (0.600) | 310 ± 10 (320) |" in text
    assert "| kmeans | 3 | 0.750 ± 0.000 (0.750) |" in text
    assert "NMI against kmeans: +0.450, better in 3 of 3, p = 0.0051 (paired t-test, two-sided)." in text
    assert "Abacus" in text


def test_held_out_figures_are_preferred_and_missing_ones_left_out() -> None:
    nmi = next(figure for figure in FIGURES if figure.name == "NMI")
    assert value(row("elastic", 0, cluster_nmi=0.9, held_out_nmi=0.8), nmi) == 0.8
    assert value(row("elastic", 0), nmi) is None
    assert value(row("elastic", 0, cluster_nmi=float("nan")), nmi) is None


def test_all_tables_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-2"
    (folder / "rows").mkdir(parents=True)
    (folder / "sweep.json").write_text(
        json.dumps({"format": 1, "dataset": "cifar-2", "recipe": "default", "epochs": 20})
    )
    for one in ROWS:
        name = RunKey(one["run"]["method"], None, one["run"]["seed"]).name
        (folder / "rows" / f"{name}.json").write_text(json.dumps(one))
    text = write_worlds(tmp_path)
    assert text.startswith("### CIFAR-2, 7:3") and (tmp_path / "worlds.md").read_text() == text + "\n"
    with pytest.raises(ConfigError, match="no run in .* is finished"):
        write_worlds(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--worlds", "mars"), "--worlds mars: not known; choose all, or some of mnist, "),
        (("--methods", "magic"), "--methods magic: not known; choose all, or some of elastic, kmeans"),
        (("--worlds", "cifar-2", "--methods", "kmeans", "--data-dir", "nowhere"), "its images are not in nowhere"),
        (("--splits", "51"), "--splits 51: must be"),
        (("--runs-at-once", "0"), "--runs-at-once 0: must be 1 or more"),
        (
            ("--worlds", "mnist", "--methods", "kmeans", "--runs-at-once", "1000"),
            "--runs-at-once 1000: with 1 thread each, these runs need 1000 processors",
        ),
    ],
)
def test_mistakes(flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*flags, "--results", str(tmp_path)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error


def two_kinds(tmp_path: Path) -> tuple[str, ...]:
    """The flags of a sweep over 80 images of two kinds, in place of CIFAR-2."""
    dark_and_light(tmp_path / "cifar2-7-3")
    flags = ("--worlds", "cifar-2", "--methods", "kmeans", "--threads", "1", "--data-dir", str(tmp_path))
    return (*flags, "--results", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache"))


def test_a_rival_is_fitted_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (*two_kinds(tmp_path), "--seeds", "0")
    assert run(*flags, "--dry-run") == 0 and capsys.readouterr().out.strip() == "cifar-2: kmeans-seed0"
    assert run(*flags) == 0
    kept = json.loads((tmp_path / "results" / "cifar-2" / "rows" / "kmeans-seed0.json").read_text())
    assert kept["evaluations"]["38"]["cluster_accuracy"] == 1.0 and kept["peak_memory_gb"] > 0
    assert run(*flags, "--dry-run") == 0 and capsys.readouterr().out == ""
    assert run("--table", "--results", str(tmp_path / "results")) == 0
    assert "| kmeans | 1 | **1.000** |" in capsys.readouterr().out


def test_runs_of_a_world_are_made_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three runs in two processes: each row once, as one after the other makes it."""
    flags = two_kinds(tmp_path)
    assert run(*flags, "--seeds", "0-2", "--runs-at-once", "2") == 0
    rows = sorted((tmp_path / "results" / "cifar-2" / "rows").glob("*.json"))
    assert [file.stem for file in rows] == ["kmeans-seed0", "kmeans-seed1", "kmeans-seed2"]
    assert {json.loads(file.read_text())["evaluations"]["38"]["cluster_accuracy"] for file in rows} == {1.0}
    assert "3 of 3 runs are finished" in capfd.readouterr().err


def test_workers_use_the_device_of_the_sweep(tmp_path: Path) -> None:
    """Runs that share a GPU are made there, not on the CPU."""
    made: dict[str, Any] = {"dataset": "cifar-2", "recipe": "default", "epochs": 38}
    settings: dict[str, Any] = {"folder": tmp_path, "sweep": made, "runs": {}, "pictures": frozenset()}
    part = workers.Part(**settings, kernels="auto", threads=1, parent=os.getppid(), command=(), device="cuda")
    assert workers._sweep(part).device.type == "cuda"
