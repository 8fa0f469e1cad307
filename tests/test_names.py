"""Folders, files and classes whose names are no text, hold line ends, or need another font: all commands take them."""

from __future__ import annotations

import csv
import html
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan import cluster, evaluate, export, page, sample, train
from fastgan.config import command_line
from fastgan.inference.export_place import FILES
from fastgan.inference.sorting import LIST
from fastgan.runs import run_folder
from fastgan.text import encodable, printable, unescaped

SMALL = ["--network.width", "8", "--network.hidden", "32", "--network.embedding", "16", "--image-size", "16"]
SMALL += ["--epochs", "1", "--grouping.at", "--batch-size", "16", "--classes", "3", "--device", "cpu"]
CLASSES = [b"caf\xe9", b"two\r\nlines", b"q\"u,o'te <b>&amp;", "猫😀👍🏽قطة".encode(), rb"like \u00e9"]
FILES_OF_CLASS = [b"\xff%d.png", b"=cr\r%d.png", b'"%d".png', "%d 猫.png".encode()]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(images, run): both in a folder whose name is no text."""
    here = os.path.join(os.fsencode(tmp_path_factory.mktemp("names")), b"\xe9 'here'")
    random = np.random.default_rng(0)
    try:
        for name in CLASSES:
            os.makedirs(os.path.join(here, b"images", name))
            for i in range(8):
                file = os.path.join(here, b"images", name, FILES_OF_CLASS[i % 4] % i)
                with open(file, "wb") as opened:
                    Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(opened, "PNG")
    except OSError:
        pytest.skip("this file system has only names of text")
    images, run = Path(os.fsdecode(here)) / "images", Path(os.fsdecode(here)) / "run"
    flags = ["--dataset", "folder", "--data-dir", str(images), "--labels-from-folders", "--run-dir", str(run)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert command_line.run_command(train.main, [*flags, *SMALL]) == 0
    return images, run


def files_in(images: Path) -> list[Path]:
    return [path for path in images.rglob("*") if path.is_file()]


def test_training_writes_its_report(named: tuple[Path, Path]) -> None:
    _, run = named
    text = (run / "report.html").read_text(encoding="utf-8")
    for name in map(os.fsdecode, CLASSES):
        assert html.escape(printable(name), quote=False).replace('"', "&#34;").replace("'", "&#39;") in text
    assert printable(str(run)) in html.unescape(text)


def test_run_json_holds_escaped_paths_that_are_read_back(named: tuple[Path, Path]) -> None:
    images, run = named
    kept = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
    assert kept["data_dir"] == encodable(str(images)) and unescaped(kept["run_dir"]) == str(run)
    json.dumps(kept, ensure_ascii=False).encode("utf-8")
    assert run_folder.saved_config(run).data_dir == images


def test_labels_and_sorted_files_find_every_file(named: tuple[Path, Path], tmp_path: Path) -> None:
    images, run = named
    out = tmp_path / os.fsdecode(b"sorted \xe9")
    argv = [run, images, "--out", tmp_path / "table.csv", "--sort-into", out, "--sort-as", "copy"]
    assert command_line.run_command(cluster.main, list(map(str, argv))) == 0
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(unescaped(row["path"])) for row in csv.DictReader(file)} == set(files_in(images))
    with (out / LIST).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert (out / unescaped(row["file"])).read_bytes() == Path(unescaped(row["path"])).read_bytes()


def test_the_other_commands_take_such_a_run(
    named: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = named
    for main, *flags in (
        (page.main,),
        (sample.main, "--singles", str(run / os.fsdecode(b"\xe9"))),
        (export.main,),
        (evaluate.main, "--json", str(tmp_path / "figures.json")),
    ):
        assert command_line.run_command(main, [str(run), *flags]) == 0, capsys.readouterr()
    assert (run / "samples/all-codes.png").exists()
    assert {path.name for path in (run / "export").iterdir()} >= {name for name in FILES if "onnx" not in name}
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["images_seen"] == 32
    said = capsys.readouterr()
    assert (said.out + said.err).encode("utf-8"), "what is printed is text"


def test_resuming_finds_images_and_checkpoints(named: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, run = named
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(run), "--epochs", "2"]) == 0
    assert "resumed from" in capsys.readouterr().err


def test_a_mistake_is_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command_line.run_command(page.main, [os.fsdecode(b"no\r\nrun \xe9\x1b[31m")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"error: no\u000d\u000arun \udce9\u001b[31m: is not a run folder")
