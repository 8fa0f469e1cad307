"""python -m fastgan.cluster --names: the table, the lines and the folders with the names of groups."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan import cluster
from fastgan.config import command_line


def run(*flags: object) -> int:
    return command_line.run_command(cluster.main, [str(flag) for flag in flags])


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """All classes of the run but the last have one of two names."""
    path = tmp_path / "names.json"
    named = {str(code): "a/b <i>" if code % 2 else "even" for code in range(9)}
    path.write_text(json.dumps({"classes": 10, "names": named}))
    return path


def test_the_table_gains_the_names_and_the_lines_count_them_together(
    tiny_run: Path, names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.csv"
    assert run(tiny_run, "--names", names, "--out", out) == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    called = {9: ""} | {code: "a/b <i>" if code % 2 else "even" for code in range(9)}
    assert list(rows[0])[-1] == "name" and all(row["name"] == called[int(row["class"])] for row in rows)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert lines[0].endswith("name") and len(lines) <= 4
    even = next(line for line in lines if line.endswith("  even"))
    count = sum(row["name"] == "even" for row in rows)
    assert "0+2+4+6+8" in even and f" {count:,} " in even


def test_files_are_sorted_into_folders_of_these_names(tiny_run: Path, names: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(12):
        Image.fromarray(draw.integers(0, 256, (20, 16), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    into, out = tmp_path / "sorted", tmp_path / "table.csv"
    flags = [tiny_run, tmp_path / "images", "--names", names, "--out", out, "--sort-into", into]
    assert run(*flags) == 0 and run(*flags, "--force") == 0
    folder = {"even": "even", "a/b <i>": "a_b _i_", "": "class-09"}
    with out.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert (into / folder[row["name"]] / Path(row["path"]).name).samefile(row["path"])
    assert {path.name for path in into.iterdir() if path.is_dir()} <= set(folder.values())


def test_bad_names_are_one_line_before_the_work(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.json").write_text('{"classes": 3, "names": {}}')
    assert run(tiny_run, "--names", tmp_path / "names.json", "--out", tmp_path / "t.csv") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--names" in line and "of a run with 3 classes" in line and not (tmp_path / "t.csv").exists()
