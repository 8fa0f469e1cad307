"""A sweep's results folder and its flags: bad input is one line that names the file or flag, and nothing is lost."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from fastgan import reproduce
from fastgan.config import command_line, train_command
from fastgan.config.commands import ReproduceConfig
from fastgan.config.presets import preset
from fastgan.config.validation import validate
from fastgan.errors import ConfigError
from fastgan.reproduce import runs_of
from fastgan.sweep import results
from fastgan.sweep.methods import METHODS, parse_methods, parse_numbers, with_method
from fastgan.sweep.results import Results, RunKey, read_rows

KEY = RunKey("elastic", 1, 0)
ROW: dict[str, Any] = {"evaluations": {"20": {"nmi": 0.8, "ent": 0.4, "train_seconds": 9.0}}}
FLAGS = ("--dataset", "mnist", "--splits", "1", "--methods", "elastic")


def folder_with_a_row(tmp_path: Path) -> Path:
    Results(tmp_path, dataset="mnist", recipe="default", epochs=20).write(KEY, ROW)
    return tmp_path / "rows" / f"{KEY.name}.json"


def said_by(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> str:
    """The one line of error of a call, which must end with exit code 2."""
    assert command_line.run_command(reproduce.main, [*FLAGS, "--results", str(folder), *flags]) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ") and "\n" not in printed
    return printed


def test_the_runs_of_a_sweep_are_on_the_same_images(tmp_path: Path) -> None:
    arguments: Any = {"dataset": "mnist", "recipe": "default", "epochs": 20}
    first, images = Results(tmp_path, **arguments), {"count": 70_000, "digest": "ab"}
    first.check_images(images)
    Results(tmp_path, **arguments).check_images(images)
    with pytest.raises(ConfigError, match="on other images .70000 then, 70000 now.; give the former --data-dir"):
        Results(tmp_path, **arguments).check_images(images | {"digest": "cd"})


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: "\x00\xff",
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"mnist"', '"digits"'),
        lambda text: text.replace('"split": 1', '"split": 2'),
        lambda text: text.replace('"evaluations"', '"evaluation"'),
        lambda text: text.replace('"epochs": 20', '"epochs": 5'),
        lambda text: text.replace("0.8", '"much"'),
        lambda text: text.replace('"20"', '"last"'),
    ],
)
def test_a_bad_row_is_named_and_kept(
    damage: Any, table: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_with_a_row(tmp_path)
    changed = damage(path.read_text(encoding="utf-8"))
    path.write_text(changed, encoding="latin-1")
    kept = path.read_bytes()
    assert str(path) in said_by(capsys, tmp_path, *(["--table"] if table else []))
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--dataset", "digits"), "dataset mnist, not digits"),
        (("--recipe", "paper"), "recipe default, not paper"),
        (("--epochs", "5"), "epochs 20, not 5"),
    ],
)
def test_a_folder_of_another_sweep_is_refused(
    flags: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder_with_a_row(tmp_path)
    kept = path.read_bytes()
    printed = said_by(capsys, tmp_path, *flags)
    assert "sweep.json" in printed and named in printed and path.read_bytes() == kept


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}'])
def test_a_damaged_sweep_file_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_with_a_row(tmp_path)
    (tmp_path / "sweep.json").write_text(text)
    assert str(tmp_path / "sweep.json") in said_by(capsys, tmp_path)


def test_a_table_of_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sweep.json: not found" in said_by(capsys, tmp_path / "none", "--table")
    assert not (tmp_path / "none").exists()


def test_a_row_is_never_overwritten(tmp_path: Path) -> None:
    path = folder_with_a_row(tmp_path)
    kept = path.read_bytes()
    found = Results(tmp_path, dataset="mnist", recipe="default", epochs=20)
    found.write(KEY, {"evaluations": {"20": {"nmi": 0.0}}})
    assert path.read_bytes() == kept
    assert [p.name for p in (tmp_path / "rows").iterdir()] == [path.name], "nothing is left beside it"


def test_a_file_system_without_links_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(results.os, "link", no_links)
    path = folder_with_a_row(tmp_path)
    kept = path.read_bytes()
    Results(tmp_path, dataset="mnist", recipe="default", epochs=20).write(KEY, {"evaluations": {}})
    assert path.read_bytes() == kept and [p.name for p in (tmp_path / "rows").iterdir()] == [path.name]


def test_many_may_open_a_new_folder_at_once(tmp_path: Path) -> None:
    failed: list[Exception] = []

    def open_it() -> None:
        try:
            Results(tmp_path / "new", dataset="mnist", recipe="default", epochs=20)
        except (ConfigError, OSError) as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    found = Results(tmp_path, dataset="mnist", recipe="default", epochs=20)
    found.write(KEY, {"evaluations": {"20": {"nmi": math.nan, "ent": math.inf}}, "losses": [[math.nan, 1.0]]})
    row = json.loads((tmp_path / "rows" / f"{KEY.name}.json").read_text())
    assert row["evaluations"]["20"] == {"nmi": None, "ent": None} and row["losses"] == [[None, 1.0]]
    assert len(read_rows(tmp_path)) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert "--results" in said_by(capsys, tmp_path / "file")


# --- flags ---


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--methods", "elastic,infogan"), "--methods infogan: not known"),
        (("--methods", ""), "--methods : not known"),
        (("--splits", "0"), "--splits 0: must be"),
        (("--splits", "51"), "--splits 51: must be"),
        (("--splits", "5-3"), "--splits 5-3: must be"),
        (("--splits", "a"), "--splits a: must be"),
        (("--splits", ""), "--splits : must be"),
        (("--splits", "1-"), "--splits 1-: must be"),
        (("--seeds", "-1"), "--seeds"),
        (("--seeds", "0-9999999"), "--seeds 0-9999999: must be"),
        (("--epochs", "0"), "--epochs 0"),
        (("--recipe", "papers"), "--recipe"),
    ],
)
def test_a_bad_flag_is_named(
    flags: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in said_by(capsys, tmp_path / "new", *flags)
    assert not (tmp_path / "new").exists(), "nothing is left behind"


def test_numbers_and_methods() -> None:
    assert parse_numbers("splits", "1-3,7, 2", 1, 50) == [1, 2, 3, 7]
    assert parse_numbers("splits", "1-50", 1, 50) == list(range(1, 51))
    assert parse_methods("all") == list(METHODS) and len(METHODS) == 5
    assert parse_methods("elastic, uniform") == ["uniform", "elastic"]


def test_the_whole_table_is_250_runs() -> None:
    runs = runs_of(ReproduceConfig())
    assert len(runs) == 250 and len({key.name for key in runs}) == 250
    for key, config in runs.items():
        assert (config.split, config.seed, config.epochs, config.eval_every) == (key.split, key.seed, 20, 5)
        assert (config.prior, config.learns_from_real) == METHODS[key.method]
        assert (config.finer_codes > 0, config.prior_pull > 0) == (METHODS[key.method][1],) * 2


def test_the_papers_recipe() -> None:
    """Only the paper's settings: its transform, bicubic, and no averaged generator; flags still apply."""
    paper = preset("mnist", "paper")
    assert paper.transform.kind == "paper" and paper.transform.interpolation == "bicubic"
    assert (paper.transform.rotation, paper.transform.zoom, paper.transform.shift) == (20.0, (0.9, 1.1), 0.0)
    assert (paper.average_decay, paper.learning_rate, paper.temperature, paper.batch_size) == (0.0, 2e-4, 0.1, 64)
    assert (paper.contrastive_weight, paper.contrastive_temperature, paper.prior) == (10.0, 1.0, "learned")
    assert with_method(paper, "elastic") == paper and validate(paper) == paper
    runs = runs_of(ReproduceConfig(recipe="paper", splits="1", methods="elastic"))
    assert next(iter(runs.values())).transform == paper.transform
    parsed = train_command.train_config(["--dataset", "mnist", "--recipe", "paper", "--average-decay", "0.5"], None)  # type: ignore[arg-type]
    assert parsed.transform.kind == "paper" and parsed.average_decay == 0.5 and parsed.recipe == "paper"
    with pytest.raises(ConfigError, match="--recipe"):
        preset("mnist", "authors")
