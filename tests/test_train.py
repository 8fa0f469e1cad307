"""Whole runs: the folder they fill, stopping and continuing exactly, and mistakes refused in one line."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import evaluate, sample, train
from fastgan.config import command_line
from fastgan.errors import DivergenceError
from fastgan.step.losses import LOSSES
from fastgan.tasks import train_lines
from fastgan.training import engine, outlook

SIX_EPOCHS = ("--epochs", "6", "--eval-every", "3", "--save-every", "1", "--log-every", "640", "--average-decay", "0.9")
SIX_EPOCHS += ("--grouping.at", "1", "2", "5")
SMALL = ["--network.width", "8", "--network.hidden", "64", "--network.embedding", "16"]


def _train(*flags: str) -> int:
    return command_line.run_command(train.main, [*SMALL, "--device", "cpu", *flags])


def _spawn(*flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fastgan.train", *SMALL, "--device", "cpu", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _weights(run: Path) -> dict[str, str]:
    """SHA-256 of each file of the newest checkpoint."""
    newest = max((p for p in (run / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in newest.glob("model.safetensors")}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of six epochs by the default recipe, averaged generator and two groupings included."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert _train("--run-dir", str(run), *SIX_EPOCHS) == 0
    return run


def test_the_run_folder_holds_what_is_promised(finished: Path) -> None:
    found = {str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file()}
    for name in ("run.json", "metrics.jsonl", "prior.json", "losses.png", "prior.png", "confusion.png", "report.html"):
        assert name in found
    assert {"samples/epoch-0003.png", "samples/epoch-0006.png"} <= found
    assert len(list((finished / "checkpoints").iterdir())) == 2
    settings = json.loads((finished / "run.json").read_text())
    assert settings["settings"]["network"]["width"] == 8
    assert settings["environment"]["versions"]["torch"] == torch.__version__.split("+")[0]


def test_metrics_are_flat_rows_and_end_with_an_evaluation(finished: Path) -> None:
    rows = _rows(finished)
    assert all(not isinstance(value, (dict, list)) for row in rows for value in row.values())
    last = rows[-1]
    for key in ("nmi", "ent", "prior_error", "cluster_accuracy", "diversity", "kmeans_pixels_accuracy"):
        assert 0 <= last[key] < 100
    assert last["images_seen"] == 6 * 18 * 64
    assert [row["epoch"] for row in rows if "nmi" in row] == [3, 6]
    logged = [row["images_seen"] for row in rows if "d_loss" in row]
    assert logged == sorted(set(logged))


def test_prior_json_adds_up(finished: Path) -> None:
    prior = json.loads((finished / "prior.json").read_text())
    for key in ("probabilities", "cluster_sizes", "true_frequencies_by_class"):
        assert sum(prior[key]) == pytest.approx(1.0, abs=1e-5)
    assert sorted(prior["matched_class"]) == list(range(10))


@pytest.mark.slow
def test_killed_at_epoch_three_and_resumed_ends_with_the_same_weights(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    process = _spawn("--run-dir", str(run), *SIX_EPOCHS)
    third = run / "checkpoints" / f"{3 * 18 * 64:012d}"
    deadline = time.monotonic() + 120
    while not third.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert third.exists()
    process = _spawn("--resume", "--run-dir", str(run))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert _weights(run) == _weights(finished)
    rows = [row for row in _rows(run) if "d_loss" in row]
    expected = [row for row in _rows(finished) if "d_loss" in row]
    assert [{k: r[k] for k in LOSSES} for r in rows] == [{k: r[k] for k in LOSSES} for r in expected]
    regrouped, also = ({r["epoch"]: r["regrouped"] for r in _rows(f) if "regrouped" in r} for f in (run, finished))
    assert regrouped == also and list(regrouped) == [1, 2, 5] and min(regrouped.values()) > 0


@pytest.mark.slow
def test_sigterm_finishes_the_step_saves_and_can_be_continued_in_mid_epoch(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    process = _spawn("--run-dir", str(run), *SIX_EPOCHS)
    log = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "--resume --run-dir" in output
    assert _train("--resume", "--run-dir", str(run)) == 0
    assert _weights(run) == _weights(finished)


def test_a_corrupt_newest_checkpoint_is_reported_and_the_previous_is_used(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "corrupt"
    assert _train("--run-dir", str(run), *SIX_EPOCHS, "--eval-every", "6") == 0
    newest = max((run / "checkpoints").iterdir(), key=lambda p: int(p.name))
    model = bytearray((newest / "model.safetensors").read_bytes())
    model[len(model) // 2] ^= 1
    (newest / "model.safetensors").write_bytes(model)
    capsys.readouterr()
    assert _train("--resume", "--run-dir", str(run)) == 0
    printed = capsys.readouterr().err
    assert "SHA-256" in printed
    assert "resumed from" in printed
    assert _weights(run) == _weights(finished)


def test_resuming_a_complete_run_says_so_and_changes_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes(), _weights(finished)
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(finished)]) == 0
    assert "--epochs" in capsys.readouterr().out
    assert ((finished / "metrics.jsonl").read_bytes(), _weights(finished)) == before


def test_resume_refuses_other_settings_and_takes_more_epochs(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(finished), "--seed", "4"]) == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.skipif(platform.system() != "Linux", reason="DALI is for Linux")
def test_transforms_by_dali_are_recorded_and_reported_on_resume(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run on a CPU; run.json records the backend, and a change on resuming is reported."""
    run = tmp_path / "dali"
    assert _train("--augment", "dali", "--epochs", "1", "--run-dir", str(run)) == 0
    assert "transforms by dali" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["environment"]["transforms"] == "dali (bilinear)"
    copied = tmp_path / "copied"
    shutil.copytree(finished, copied)
    flags = ["--resume", "--run-dir", str(copied), "--epochs", "7", "--augment", "dali"]
    assert command_line.run_command(train.main, flags) == 0
    assert "transformed by torchvision (bicubic), and from here on by dali (bilinear)" in capsys.readouterr().err
    kept = json.loads((copied / "run.json").read_text())
    assert kept["settings"]["epochs"] == 7 and kept["settings"]["augment"] == "dali" and not kept["settings"]["resume"]
    assert kept["environment"]["transforms"] == "torchvision (bicubic)"
    (again,) = kept["environment"]["resumed"]
    assert again["images_seen"] == 6 * 18 * 64 and again["transforms"] == "dali (bilinear)"
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(copied)]) == 0
    assert "complete after 7 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("prior", ["uniform", "true"])
def test_a_fixed_prior_stays_and_a_variant_without_contrast_runs(tmp_path: Path, prior: str) -> None:
    run = tmp_path / prior
    flags = ("--prior", prior, "--contrastive-weight", "0", "--epochs", "2", "--run-dir", str(run))
    assert _train(*flags) == 0
    values = json.loads((run / "prior.json").read_text())
    if prior == "uniform":
        assert values["probabilities"] == pytest.approx([0.1] * 10)
    else:
        assert values["probabilities"] == pytest.approx(values["true_frequencies_by_class"], abs=1e-6)
    assert _rows(run)[0]["contrastive_loss"] == 0


def test_amp_and_the_papers_transform_train_on_a_cpu(tmp_path: Path) -> None:
    flags = ("--amp", "--epochs", "2", "--transform.kind", "paper", "--run-dir", str(tmp_path / "amp"))
    assert _train(*flags) == 0


@pytest.mark.slow
def test_more_codes_than_classes_and_another_size(tmp_path: Path) -> None:
    run = tmp_path / "wide"
    assert _train("--classes", "13", "--image-size", "28", "--epochs", "1", "--run-dir", str(run)) == 0
    assert len(json.loads((run / "prior.json").read_text())["probabilities"]) == 13


def test_evaluate_and_sample_read_a_run(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    assert command_line.run_command(evaluate.main, [str(finished), "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    again, last = json.loads(figures.read_text()), _rows(finished)[-1]
    assert again["nmi"] == pytest.approx(last["nmi"], abs=1e-9)
    assert again["cluster_accuracy"] == last["cluster_accuracy"]
    before = figures.read_bytes()
    for place in (figures, tmp_path, figures / "x.json"):  # refused before the work
        assert command_line.run_command(evaluate.main, [str(finished), "--json", str(place)]) == 2
    assert figures.read_bytes() == before and "--json" in capsys.readouterr().err
    assert "NMI" in printed and "codes that Q confuses" in printed
    assert all(pair["first"] < pair["second"] and pair["confusion"] > 0.05 for pair in again["merge_candidates"])
    out = tmp_path / "seven.png"
    assert command_line.run_command(sample.main, [str(finished), "--code", "7", "--count", "5", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert command_line.run_command(sample.main, [str(finished), "--code", "10"]) == 2
    assert "codes 0 to 9" in capsys.readouterr().err
    assert command_line.run_command(sample.main, [str(tmp_path / "nowhere")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "pretrained"), [(engine.Step, "0"), (engine.PretrainingStep, "2")])
def test_a_loss_that_is_not_finite_ends_the_run_without_a_checkpoint(
    kind: Any, pretrained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = kind.__call__, []

    def poisoned(self: Any, *views: torch.Tensor) -> torch.Tensor:
        losses: torch.Tensor = real(self, *views)
        calls.append(1)
        return losses * math.nan if len(calls) * 64 > 1500 else losses

    monkeypatch.setattr(kind, "__call__", poisoned)
    monkeypatch.setattr(outlook, "describe", lambda *_, **__: [])  # it makes steps of its own, which would count
    run = tmp_path / "nan"
    flags = ("--epochs", "3", "--pretrain-epochs", pretrained, "--save-every", "1", "--log-every", "64000")
    assert _train(*flags, "--run-dir", str(run)) == 1
    printed = capsys.readouterr().err
    assert DivergenceError.__name__ not in printed
    assert "d_loss is nan" in printed
    assert [p.name for p in (run / "checkpoints").iterdir()] == [f"{18 * 64:012d}"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--batch-size", "100000"), "--batch-size"),
        (("--split", "51"), "--split"),
        (("--temperature", "0"), "--temperature"),
        (("--learning-rate", "-1"), "--learning-rate"),
        (("--classes", "1"), "--classes"),
        (("--no-such-flag", "1"), "--no-such-flag"),
        (("--dataset", "mnist", "--data-dir", "{here}"), "fetch"),
        (("--run-dir", "{here}/file"), "--run-dir"),
        (("--prior", "true", "--classes", "12"), "--prior true"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    flags: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    assert _train(*(flag.format(here=tmp_path) for flag in flags)) == 2
    printed = capsys.readouterr().err.strip()
    assert named in printed
    assert len(printed.splitlines()) == 1


def test_a_run_is_not_overwritten(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _weights(finished)
    assert _train("--run-dir", str(finished)) == 2
    assert "--resume" in capsys.readouterr().err
    assert _weights(finished) == before


def test_dry_run_prints_the_settings_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _train("--dataset", "mnist", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["image_size"] == 28
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ranks", "local", "how"), [(2, 2, " --standalone --nproc-per-node 2 -m "), (4, 2, ".run ... -m "), (1, 1, "")]
)
def test_the_resume_command_names_the_ranks(monkeypatch: pytest.MonkeyPatch, ranks: int, local: int, how: str) -> None:
    """Complete for ranks on one machine; for several machines the rest is unknown."""
    if ranks > 1:
        names = {"RANK": 0, "WORLD_SIZE": ranks, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": local}
        for name, value in names.items():
            monkeypatch.setenv(name, str(value))
    message = train_lines.again(Path("runs/my run"))
    assert message.endswith("-m fastgan.train --resume --run-dir 'runs/my run'")
    assert how in message and ("torch.distributed.run" in message) == (ranks > 1)
