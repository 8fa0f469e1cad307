"""Folders as labels of a run that had none: figures of cluster and evaluate, and clear refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from own_images import put, speckled

from fastgan import cluster, evaluate, page, train
from fastgan.config.command_line import run_command

FLAGS = "--dataset folder --image-size 8 --channels 1 --classes 2 --network.width 4 --network.hidden 8 --device cpu"
FLAGS += " --network.embedding 4 --epochs 1 --grouping.at --batch-size 8 --augment torchvision"


@pytest.fixture
def folder_run(here: Path, tmp_path: Path) -> Path:
    """A run on forty images in two subfolders, without labels."""
    for number in range(40):
        speckled(here / ("cat" if number % 4 else "dog") / f"{number}.png", number)
    run = tmp_path / "run"
    assert run_command(train.main, [*FLAGS.split(), "--data-dir", str(here), "--run-dir", str(run)]) == 0
    return run


def test_cluster_prints_a_table_and_with_labels_how_far_it_is_right(
    folder_run: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run_command(cluster.main, [str(folder_run)]) == 0
    plain = capsys.readouterr().out
    assert "  class     images   share  confidence\n" in plain and "accuracy" not in plain
    table = (folder_run / "assignments.csv").read_bytes()
    for images in ([], [str(here)]):
        assert run_command(cluster.main, [str(folder_run), *images, "--labels-from-folders"]) == 0
        said = capsys.readouterr()
        assert "labels from folders: 2 classes with so many images each: cat 30, dog 10" in said.err
        assert "  mostly\n" in said.out and "  cat (" in said.out and "clustering accuracy of the real" in said.out
        assert (folder_run / "assignments.csv").read_bytes() == table


def test_evaluate_scores_a_run_by_its_folders(
    folder_run: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {}
    for name, flags in (("without", []), ("with", ["--labels-from-folders"])):
        out = tmp_path / f"{name}.json"
        capsys.readouterr()
        assert run_command(evaluate.main, [str(folder_run), "--json", str(out), *flags]) == 0
        figures[name] = json.loads(out.read_text())
        assert ("labels from folders: 2 classes" in capsys.readouterr().err) == bool(flags)
    assert "cluster_accuracy" not in figures["without"] and 0.5 <= figures["with"]["cluster_accuracy"] <= 1
    assert figures["with"]["confidence"] == figures["without"]["confidence"]


def test_the_report_shows_folders_as_classes_only_where_they_are_asked_for(
    folder_run: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for name, flags in (("without", []), ("with", ["--labels-from-folders"])):
        out = tmp_path / f"{name}.html"
        capsys.readouterr()
        assert run_command(page.main, [str(folder_run), "--out", str(out), *flags]) == 0
        said[name] = out.read_text()
        assert ("labels from folders: 2 classes" in capsys.readouterr().err) == bool(flags)
    assert "2 real classes, which training never saw" in said["with"] and "unlabelled" in said["without"]
    counted = tmp_path / "figures.json"
    assert run_command(evaluate.main, [str(folder_run), "--json", str(counted), "--labels-from-folders"]) == 0
    accuracy = f"{json.loads(counted.read_text())['cluster_accuracy']:.4f}"
    row = re.search(r"clustering accuracy of the real images by Q.*?(\d\.\d+)", said["with"], re.DOTALL)
    assert row is not None and row[1] == accuracy
    assert "clustering accuracy of the real images" not in said["without"]
    assert "No NMI and ENT of generated images" in said["with"] and "the images have no labels" in said["without"]


def test_so_does_the_comparison(folder_run: Path, here: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    words = [*FLAGS.split(), "--data-dir", str(here), "--run-dir", str(second), "--seed", "1"]
    assert run_command(train.main, words) == 0
    for flags, shown in (([], False), (["--labels-from-folders"], True)):
        assert run_command(page.main, [str(folder_run), str(second), *flags]) == 0
        assert ("mostly" in (folder_run / "compare.html").read_text()) == shown


def test_where_there_are_no_folders_of_classes_it_is_refused(
    folder_run: Path, tiny_run: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    why = f"error: --labels-from-folders: {tiny_run} was trained on digits, whose images lie in no folders of classes; "
    assert run_command(evaluate.main, [str(tiny_run), "--labels-from-folders"]) == 2
    assert capsys.readouterr().err == f"{why}leave the flag out\n"
    assert run_command(page.main, [str(tiny_run), "--labels-from-folders"]) == 2
    assert capsys.readouterr().err == f"{why}leave the flag out\n"
    assert run_command(cluster.main, [str(tiny_run), "--labels-from-folders", "--out", str(tmp_path / "t.csv")]) == 2
    assert capsys.readouterr().err == f"{why}leave the flag out or name a folder of images after the run's\n"
    out = ["--out", str(tmp_path / "t.csv"), "--labels-from-folders"]
    assert run_command(cluster.main, [str(tiny_run), str(here), *out]) == 0  # folders of other images
    assert "cat 30, dog 10" in capsys.readouterr().err
    put(here / "loose.png", 3)
    assert run_command(cluster.main, [str(tiny_run), str(here), *out, "--force"]) == 2
    assert "--labels-from-folders: loose.png lies in" in capsys.readouterr().err
