"""The sweep: each run is trained once and kept as a row, with processes killed and any number of ranks."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import reproduce
from fastgan.config import command_line
from fastgan.config.presets import preset
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.config.train_command import differences
from fastgan.errors import ConfigError
from fastgan.evaluation import evaluator
from fastgan.runs import checkpoint
from fastgan.runtime.ranks import RankInfo
from fastgan.sweep import runner
from fastgan.sweep.methods import METHODS, with_method
from fastgan.sweep.results import Results, RunKey, read_rows
from fastgan.sweep.runner import FREE, Sweep
from fastgan.training.engine import Engine

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
TINY = dataclasses.replace(
    preset("digits"),
    epochs=2,
    eval_every=5,
    save_every=1,
    average_decay=0.0,
    network=NetworkConfig(width=4, hidden=16, embedding=8),
)
FLAGS = ("--dataset", "digits", "--epochs", "2", "--device", "cpu")


@pytest.fixture(autouse=True)
def _short_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures from a few images, in this process; tests only compare them."""
    monkeypatch.setattr(evaluator, "PER_CODE", 30)
    monkeypatch.setattr(evaluator, "DIVERSITY", 300)


def open_results(folder: Path, epochs: int = 2) -> Results:
    return Results(folder, dataset="digits", recipe="default", epochs=epochs)


def tiny_runs(methods: list[str], splits: list[int], **changes: Any) -> dict[RunKey, TrainConfig]:
    base = dataclasses.replace(TINY, **changes)
    return {
        RunKey(method, split, 0): dataclasses.replace(with_method(base, method), split=split)
        for method in methods
        for split in splits
    }


def figures(row: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for every repetition of a run: all but times."""
    return {
        epoch: {name: value for name, value in found.items() if "second" not in name}
        for epoch, found in row["evaluations"].items()
    } | {"losses": row["losses"]}


def by_name(folder: Path) -> dict[str, dict[str, Any]]:
    return {f"{row['run']['method']}-{row['run']['split']}": row for row in read_rows(folder)}


# --- what a sweep trains ---


@pytest.mark.parametrize("method", METHODS)
def test_each_variant_trains_and_is_what_its_name_says(method: str, tmp_path: Path) -> None:
    """A few steps of each on two splits, one trainer for both: the row, the prior, the loss that is or is not there."""
    results = open_results(tmp_path)
    runs = tiny_runs([method], [1, 2])
    assert Sweep(results, runs, CPU, RankInfo()).train() is None
    rows = read_rows(tmp_path)
    assert [row["run"]["split"] for row in rows] == [1, 2]
    for row in rows:
        last = row["evaluations"]["2"]
        assert {"nmi", "ent", "prior_error", "cluster_accuracy", "diversity"} <= last.keys()
        assert row["settings"]["prior"] == METHODS[method][0] and row["train_seconds"] > 0
        column = row["losses"]["columns"].index("contrastive_loss")
        contrastive = [losses[column] for losses in row["losses"]["rows"]]
        assert all(value > 0 for value in contrastive) == METHODS[method][1]
        uniform, true = METHODS[method][0] == "uniform", METHODS[method][0] == "true"
        assert not uniform or last["effective_classes"] == pytest.approx(10)
        assert not true or last["effective_classes"] < 9.9
        assert "kmeans_pixels_accuracy" not in last and "run_dir" in row["settings"]
        assert row["settings"]["run_dir"] is None, "nothing of this machine's paths is kept"


def test_runs_that_share_a_trainer_are_independent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two splits and three kinds of methods in one process, against each run in a process's first trainer."""
    made: list[TrainConfig] = []
    original = Engine.__init__

    def pluralize(self: Engine, config: TrainConfig, *rest: Any) -> None:
        made.append(config)
        original(self, config, *rest)

    monkeypatch.setattr(Engine, "__init__", pluralize)
    runs = tiny_runs(["uniform", "ground-truth", "elastic"], [1, 3])
    Sweep(open_results(tmp_path / "together"), runs, CPU, RankInfo()).train()
    assert len(made) == 2, "one for both fixed priors and one for the learned one"
    made.clear()
    turned = dict(sorted(runs.items(), key=lambda run: run[0].split or 0))  # split by split, as reproduce has it
    Sweep(open_results(tmp_path / "by-split"), turned, CPU, RankInfo()).train()
    assert len(made) == 2, "a method's trainer is kept until its next split"
    assert {name: figures(row) for name, row in by_name(tmp_path / "by-split").items()} == {
        name: figures(row) for name, row in by_name(tmp_path / "together").items()
    }
    for key, config in runs.items():
        Sweep(open_results(tmp_path / "apart"), {key: config}, CPU, RankInfo()).train()
    together, apart = by_name(tmp_path / "together"), by_name(tmp_path / "apart")
    assert together.keys() == apart.keys() and len(together) == 6
    for name, row in together.items():
        assert figures(row) == figures(apart[name]), name


def test_a_finished_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, runs = open_results(tmp_path), tiny_runs(["uniform"], [1, 2])
    key = next(iter(runs))
    results.write(key, {"evaluations": {"2": {"nmi": 0.123}}})
    before = (tmp_path / "rows" / f"{key.name}.json").read_bytes()
    trained: list[RunKey] = []
    one = Sweep._one
    monkeypatch.setattr(Sweep, "_one", lambda self, key, config: trained.append(key) or one(self, key, config))
    Sweep(results, runs, CPU, RankInfo()).train()
    assert trained == [RunKey("uniform", 2, 0)]
    Sweep(results, runs, CPU, RankInfo()).train()
    assert len(trained) == 1
    assert (tmp_path / "rows" / f"{key.name}.json").read_bytes() == before


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed right after its second checkpoint; its row is the one that an uninterrupted run gives."""
    runs = tiny_runs(["elastic"], [1], epochs=4)
    (key,) = runs
    Sweep(open_results(tmp_path / "whole", 4), runs, CPU, RankInfo()).train()

    class Killed(BaseException):
        pass

    save, saved = checkpoint.save, []

    def dies(*args: Any) -> Path:
        saved.append(save(*args))
        if len(saved) == 2:
            raise Killed
        return saved[-1]

    cut = open_results(tmp_path / "cut", 4)
    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(Killed):
        Sweep(cut, runs, CPU, RankInfo()).train()
    assert not cut.has(key)
    Sweep(cut, runs, CPU, RankInfo()).train()
    assert len(saved) == 4, "the first two epochs were not trained again"
    assert figures(by_name(tmp_path / "cut")["elastic-1"]) == figures(by_name(tmp_path / "whole")["elastic-1"])
    assert not (cut.runs_folder / key.name / "checkpoints").exists()


def test_a_run_cut_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    runs = tiny_runs(["elastic"], [1])
    (key,) = runs
    Sweep(open_results(tmp_path / "whole"), runs, CPU, RankInfo()).train()
    cut = open_results(tmp_path / "cut")
    folder = cut.runs_folder / key.name
    (folder / "samples").mkdir(parents=True)
    for name in ("run.json", "metrics.jsonl"):
        source = tmp_path / "whole" / "runs" / key.name / name
        (folder / name).write_bytes(source.read_bytes()[: None if name == "run.json" else 150])
    Sweep(cut, runs, CPU, RankInfo()).train()
    assert figures(by_name(tmp_path / "cut")["elastic-1"]) == figures(by_name(tmp_path / "whole")["elastic-1"])


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    results = open_results(tmp_path)
    Sweep(results, tiny_runs(["elastic"], [1]), CPU, RankInfo()).train()
    (tmp_path / "rows" / "elastic-split01-seed0.json").unlink()
    with pytest.raises(ConfigError, match=r"run\.json: a run with other settings \(temperature\)"):
        Sweep(results, tiny_runs(["elastic"], [1], temperature=0.5), CPU, RankInfo()).train()


def test_differences_are_those_that_alter_training() -> None:
    changed = {"compile": True, "run_dir": Path("x"), "log_every": 1, "recipe": "paper", "seed": 3, "amp": True}
    assert sorted(differences(TINY, dataclasses.replace(TINY, **changed), FREE)) == ["amp", "seed"]  # type: ignore[arg-type]


# --- ranks ---


def spawn(folder: Path, *, rank: int = 0, ranks: int = 1, splits: str = "1-3") -> subprocess.Popen[str]:
    own = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks)}
    command = [sys.executable, "-m", "fastgan.reproduce", *FLAGS, "--methods", "uniform,gumbel-softmax"]
    return subprocess.Popen(
        [*command, "--splits", splits, "--results", str(folder)],
        cwd=ROOT, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_three_ranks_share_the_runs_without_overlap(tmp_path: Path) -> None:
    """Six runs: each is trained by one rank, all are there, and a fourth process finds nothing to do."""
    processes = [spawn(tmp_path, rank=rank, ranks=3) for rank in range(3)]
    printed = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], printed
    rows = read_rows(tmp_path)
    names = [f"{row['run']['method']}-split{row['run']['split']:02d}-seed0" for row in rows]
    assert len(names) == 6
    for name in names:
        assert sum(f"{name}: " in text for text in printed) == 1, f"{name} was trained once"
    for text in printed:
        assert any(f"{name}: " in text for name in names), "every rank had its share"
    again = spawn(tmp_path)
    assert "0 of 6 runs are left" in again.communicate(timeout=120)[1] and again.returncode == 0


@pytest.mark.slow
def test_a_killed_process_frees_its_run(tmp_path: Path) -> None:
    """SIGKILL in mid-run: nothing holds the claim, no row is half written, and a second call finishes the sweep."""
    first = spawn(tmp_path, splits="1")
    lock = tmp_path / "locks" / "uniform-split01-seed0.lock"
    deadline = time.monotonic() + 120
    while not (tmp_path / "runs" / "uniform-split01-seed0" / "run.json").exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    results = open_results(tmp_path)
    with results.claim(RunKey("uniform", 1, 0)) as mine:
        assert not mine, "the run is claimed while it is trained"
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert lock.exists() and read_rows(tmp_path) == []
    with results.claim(RunKey("uniform", 1, 0)) as mine:
        assert mine
    second = spawn(tmp_path, splits="1")
    assert "2 of 2 runs are finished" in second.communicate(timeout=240)[1]
    assert len(read_rows(tmp_path)) == 2


def test_only_one_process_claims_a_run(tmp_path: Path) -> None:
    first, second, key = open_results(tmp_path), open_results(tmp_path), RunKey("elastic", 1, 0)
    with first.claim(key) as mine, second.claim(key) as theirs, second.claim(RunKey("elastic", 2, 0)) as other:
        assert (mine, theirs, other) == (True, False, True)
    with second.claim(key) as mine:
        assert mine


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "fastgan.reproduce",
        *FLAGS,
    ]
    flags = ["--methods", "uniform", "--splits", "1-4", "--results", str(tmp_path)]
    done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(read_rows(tmp_path)) == 4


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, RankInfo()),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}, RankInfo(5, 8, 1, 4)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, RankInfo(1, 2, 1, 2)),
        ({"WORLD_SIZE": "2"}, RankInfo()),
    ],
)
def test_ranks_are_read_from_torchruns_variables(
    environment: dict[str, str], expected: RankInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert RankInfo.from_environment() == expected


def test_a_signal_stops_the_sweep_and_the_next_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM after some steps: saved, reported by the exit code, and finished later with the same figures."""
    flags = [*FLAGS, "--methods", "elastic", "--splits", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command_line.run_command(reproduce.main, [*flags, "--results", str(whole)]) == 0
    run, calls = runner.TrainingLoop.train, []

    def stopped(self: Any) -> Any:
        step = self.trainer.iterations.run

        def run_and_stop(count: int) -> None:
            step(count)
            calls.append(count)
            if len(calls) == 7:
                os.kill(os.getpid(), signal.SIGTERM)

        self.trainer.iterations.run = run_and_stop
        return run(self)

    with monkeypatch.context() as patched:
        patched.setattr(runner.TrainingLoop, "train", stopped)
        assert command_line.run_command(reproduce.main, [*flags, "--results", str(cut)]) == 128 + signal.SIGTERM
    assert read_rows(cut) == []
    assert command_line.run_command(reproduce.main, [*flags, "--results", str(cut)]) == 0
    assert len(calls) == 7
    assert figures(by_name(cut)["elastic-1"]) == figures(by_name(whole)["elastic-1"])


def test_the_table_and_the_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*FLAGS, "--methods", "uniform,elastic", "--splits", "1", "--results", str(tmp_path)]
    assert command_line.run_command(reproduce.main, [*flags, "--dry-run"]) == 0
    assert capsys.readouterr().out.split() == ["uniform-split01-seed0", "elastic-split01-seed0"]
    assert not list(tmp_path.iterdir()), "a look leaves nothing behind"
    open_results(tmp_path)
    assert command_line.run_command(reproduce.main, ["--table", "--results", str(tmp_path)]) == 2
    assert "no run in" in capsys.readouterr().err
    assert command_line.run_command(reproduce.main, flags) == 0
    capsys.readouterr()
    assert command_line.run_command(reproduce.main, ["--table", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Elastic-InfoGAN" in printed and "0.525 ± 0.300" in printed
    assert "made in: float32, torchvision (bicubic) (1 row); float32, unnamed or no transforms (1 row)" in printed
    assert (tmp_path / "table.txt").read_text(encoding="utf-8").strip() == printed.strip()
    assert (tmp_path / "table.md").exists() and (tmp_path / "table.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "sweep.json").read_text())["dataset"] == "digits"
