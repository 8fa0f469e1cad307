"""Real images labelled by a trained run: the table, folders of files, and files sorted by class."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan import cluster
from fastgan.config import command_line
from fastgan.data import loading
from fastgan.inference import labelling, sorting, trained_run
from fastgan.runtime.outputs import MARKER
from fastgan.tasks import cluster as task

CPU = torch.device("cpu")
HEADER = ["class", "confidence", "second_class", "second_confidence"]


def run(*flags: object) -> int:
    return command_line.run_command(cluster.main, [str(flag) for flag in flags])


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images in three subfolders whose files have the same names."""
    random = np.random.default_rng(0)
    for i in range(12):
        place = tmp_path / "images" / "abc"[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + i, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"digit {i // 3}.png")
    return tmp_path / "images"


def test_the_runs_own_images_are_listed_by_index_without_labels(tiny_run: Path) -> None:
    assert run(tiny_run) == 0
    header, rows = table(tiny_run / "assignments.csv")
    loaded = trained_run.load(tiny_run, CPU)
    images = loading.load(loaded.config).images
    assert header == ["index", *HEADER]
    assert [row[0] for row in rows] == [str(i) for i in range(len(images))]
    codes, confidences = labelling.assign(loaded.networks, images, loaded.config, CPU)
    assert [int(row[1]) for row in rows] == codes.tolist()
    assert torch.allclose(torch.tensor([float(row[2]) for row in rows]), confidences, atol=1e-6)
    assert all(row[1] != row[3] and float(row[2]) >= float(row[4]) >= 0 for row in rows)
    assert all(float(row[2]) + float(row[4]) <= 1 + 2e-6 for row in rows)


def test_a_folder_is_listed_by_path(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "new" / "table.csv"
    assert run(tiny_run, folder, "--out", out) == 0
    header, rows = table(out)
    assert header == ["path", *HEADER]
    assert [row[0] for row in rows] == [str(folder / f"{abc}" / f"digit {i}.png") for abc in "abc" for i in range(4)]
    assert [path.name for path in out.parent.iterdir()] == ["table.csv"]


def test_decoded_images_are_kept_where_the_flag_says(
    tiny_run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kept = tmp_path / "table.csv", tmp_path / "kept"
    before = sorted(folder.rglob("*"))
    assert run(tiny_run, folder, "--out", out, "--cache-dir", kept) == 0
    assert len(list((kept / "folders").rglob("*.npy"))) == 1 and sorted(folder.rglob("*")) == before
    capsys.readouterr()
    out.unlink()
    assert run(tiny_run, folder, "--out", out, "--cache-dir", out.parent / "images" / "a" / "digit 0.png") == 2
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed and "--cache-dir" in printed and "cannot be written" in printed and not out.exists()


def test_the_runs_table_is_renewed_for_the_same_folder_only(
    tiny_run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of other images, or one that was named, needs --force."""
    own, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(tiny_run, own, ignore=shutil.ignore_patterns("*.csv"))
    shutil.copytree(folder, other)
    kept = own / "assignments.csv"
    assert run(own, folder / "a") == run(own, folder / "a") == run(own, folder) == 0  # all of them lie in that folder
    before = kept.read_bytes()
    for images in (other, folder / "a", None):
        assert run(own, *([] if images is None else [images])) == 2 and kept.read_bytes() == before
        assert "lists other images than" in capsys.readouterr().err
    assert run(own, other, "--force") == 0 and str(other) in kept.read_text()
    kept.write_text("thesis")
    assert run(own) == 2 and kept.read_text() == "thesis"
    assert run(own, "--force") == run(own) == 0 and "index" in kept.read_text().partition("\n")[0]
    out = tmp_path / "table.csv"
    assert run(own, "--out", out) == 0 and run(own, "--out", out) == 2
    assert "add --force" in capsys.readouterr().err
    assert run(own, "--out", out, "--force") == 0


def test_sorted_files_are_not_read_beside_the_originals(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    """Unless their folder is the one that is named."""
    whole, into = tmp_path / "table.csv", tmp_path / "images" / "sorted"
    assert run(tiny_run, folder / "a", "--sort-into", into, "--out", tmp_path / "a.csv") == 0
    assert run(tiny_run, folder, "--out", whole) == 0 and len(table(whole)[1]) == 12
    assert run(tiny_run, into, "--out", tmp_path / "sorted.csv") == 0 and len(table(tmp_path / "sorted.csv")[1]) == 4


def test_bad_files_are_named_or_left_out(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "b" / "bad.png").write_bytes(b"nothing of the kind")
    out = tmp_path / "table.csv"
    assert run(tiny_run, folder, "--out", out) == 2 and not out.exists()
    assert run(tiny_run, folder, "--out", out, "--skip-bad") == 0
    assert len(table(out)[1]) == 12


def test_files_are_sorted_and_names_that_clash_get_a_number(tiny_run: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "digit 1-2.png").write_bytes((folder / "a" / "digit 1.png").read_bytes())
    out, sorted_into = tmp_path / "table.csv", tmp_path / "by" / "class"
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert run(tiny_run, folder, "--out", out, "--sort-into", sorted_into) == 0
    _, rows = table(out)
    classes = {f"class-{int(code):02d}" for _, code, *_ in rows}
    others = {sorting.LIST, MARKER}
    assert {p.name for p in sorted_into.iterdir()} == classes | others
    found = [path for path in sorted_into.rglob("*") if path.is_file() and path.name not in others]
    assert len(found) == len(rows) == 13
    for name, code, *_ in rows:
        same = [path for path in found if path.samefile(name)]
        assert len(same) == 1 and same[0].parent.name == f"class-{int(code):02d}"
        assert same[0].name.startswith(Path(name).stem) and same[0].suffix == ".png"
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before


def test_a_sorted_folder_is_replaced_with_force(
    tiny_run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, into = tmp_path / "table.csv", tmp_path / "sorted"
    flags = [tiny_run, folder, "--out", out, "--sort-into", into]
    assert run(*flags) == 0 and run(*flags) == 2
    assert "add --force to replace" in capsys.readouterr().err
    (folder / "c" / "digit 3.png").rename(folder / "c" / "another.png")
    assert run(*flags, "--force") == 0
    names = [path.name for path in into.rglob("*.png")]
    assert len(names) == 12 and "another.png" in names
    (into / "mine.txt").write_text("thesis")
    out.unlink()
    assert run(*flags, "--force") == 2 and not out.exists() and (into / "mine.txt").read_text() == "thesis"
    assert "mine.txt, which was not sorted there" in capsys.readouterr().err


def test_where_there_are_no_links_files_are_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    paths = sorted(folder.rglob("*.png"))[:5]
    (tmp_path / "link.png").symlink_to(paths[4])
    monkeypatch.setitem(sorting.WAYS, "hard link", refused)
    assert sorting.sort_into(tmp_path / "soft", paths, [0, 0, 1, 1, 0]).how == {"symbolic link": 5}
    assert all(path.is_symlink() and path.read_bytes() for path in (tmp_path / "soft").rglob("*.png"))
    monkeypatch.setitem(sorting.WAYS, "symbolic link", refused)
    made = sorting.sort_into(tmp_path / "hard", [*paths[:4], tmp_path / "link.png"], [0, 0, 0, 0, 0])
    assert made.how == {"copy": 5}
    copies = sorted((tmp_path / "hard").rglob("*.png"))
    assert len(copies) == 5 and not any(path.is_symlink() or os.path.samefile(path, paths[0]) for path in copies)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_links_are_told_to_be_the_same_files_and_gone_files_are_told(
    how: str,
    tiny_run: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def after_labelling(path: Path, *_: object) -> None:
        (folder / "a" / "digit 0.png").unlink()

    monkeypatch.setattr(task, "write_table", after_labelling)
    assert (
        run(tiny_run, folder, "--out", tmp_path / "out.csv", "--sort-into", tmp_path / "sorted", "--sort-as", how) == 0
    )
    said = capsys.readouterr()
    assert f"11 {'hard links' if how == 'link' else 'copies'}" in said.out
    assert ("editing it edits the original; --sort-as copy" in said.out) == (how == "link")
    assert "digit 0.png had gone meanwhile" in said.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("{here}/nowhere",), "is not a run folder"),
        (("{run}", "{here}/nowhere", "--out", "{here}/t.csv"), "no such folder"),
        (("{run}", "{here}/empty", "--out", "{here}/t.csv"), "holds no images"),
        (("{run}", "{here}/broken", "--out", "{here}/t.csv"), "bad.png: "),
        (("{run}", "{here}/disguised", "--out", "{here}/t.csv"), "other.png: "),
        (("{run}", "--out", "{here}/file/x.csv"), "--out"),
        (("{run}", "--out", "{here}"), "--out"),
        (("{run}", "--sort-into", "{here}/new"), "--sort-into: sorts image files"),
        (("{run}", "{here}/images", "--sort-into", "{here}/broken"), "not empty"),
        (("{run}", "{here}/images", "--sort-into", "{here}/file"), "is no folder; name a new one"),
        (("{run}", "{here}/images", "--sort-into", "{here}/images/sorted"), "name one outside"),
        (("{run}", "{here}/images", "--sort-into", "{here}/file/sorted"), "--sort-into"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(
    tiny_run: Path,
    folder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("in the way")
    for name in ("empty", "broken", "disguised"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "bad.png").write_bytes((folder / "a" / "digit 0.png").read_bytes()[:200])
    (tmp_path / "disguised" / "other.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n")
    capsys.readouterr()
    argv = [flag.format(here=tmp_path, run=tiny_run) for flag in flags]
    assert run(*argv) == 2
    printed = [line for line in capsys.readouterr().err.splitlines() if "decoded 12 images" not in line]
    assert len(printed) == 1 and named in printed[0]
    assert list(tmp_path.rglob(".*")) == []
