"""From image files to a trained run and its results, with the commands of a user."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from own_images import natural_patches, youtube_faces_tree
from PIL import Image

from fastgan import cluster, export, sample, train
from fastgan.config import command_line
from fastgan.reporting import html_report

TINY = (
    "--device cpu --network.width 8 --network.hidden 32 --network.embedding 16 --finer-codes 4 --batch-size 16 "
    "--epochs 2 --grouping.at 1"
)
# Of each data set: its flags, what makes its files, the side of its images, its classes, and a part of its files.
CASES: dict[str, tuple[str, Any, int, tuple[str, ...], str]] = {
    "youtube-faces": (
        "--dataset youtube-faces --identities 3 --image-size 32",
        youtube_faces_tree,
        32,
        ("Person_A", "Person_B", "Person_C"),
        "aligned_images_DB/Person_B/2",
    ),
    "folder": (
        "--dataset folder --labels-from-folders --classes 3",
        natural_patches,
        64,
        ("china", "flower", "hopper"),
        "flower",
    ),
}


def run(command: Callable[[Sequence[str]], int], *flags: object) -> None:
    assert command_line.run_command(command, [str(flag) for flag in flags]) == 0


def labelled(table: Path) -> dict[str, tuple[int, float]]:
    """Code and confidence by file."""
    with table.open(encoding="utf-8", newline="") as file:
        return {row["path"]: (int(row["class"]), float(row["confidence"])) for row in csv.DictReader(file)}


# torch.export.load, on the weights that it has read.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_from_files_to_classes(name: str, here: Path, tmp_path: Path) -> None:
    flags, build, side, classes, part = CASES[name]
    build(here)
    out = tmp_path / "run"
    run(train.main, *flags.split(), *TINY.split(), "--data-dir", here, "--run-dir", out)
    report = (out / html_report.NAME).read_text(encoding="utf-8")
    assert all(each in report for each in classes) and "3 real classes, which training never saw" in report

    run(cluster.main, out)
    of_the_run = labelled(out / "assignments.csv")
    assert set(of_the_run) == {str(path) for path in here.rglob("*.jpg")}
    assert {code for code, _ in of_the_run.values()} <= {0, 1, 2}
    run(cluster.main, out, here / part, "--out", tmp_path / "part.csv", "--sort-into", tmp_path / "sorted")
    of_the_part = labelled(tmp_path / "part.csv")
    assert set(of_the_part) == {str(path) for path in (here / part).iterdir() if path.suffix == ".jpg"}
    assert len(list((tmp_path / "sorted").rglob("*.jpg"))) == len(of_the_part)
    for file, (_, confidence) in of_the_part.items():  # of the same pixels, in a batch of another size
        assert confidence == pytest.approx(of_the_run[file][1], abs=1e-4)

    run(sample.main, out, "--count", 2, "--out", tmp_path / "grid.png", "--singles", tmp_path / "singles")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.mode == "RGB"
    singles = sorted((tmp_path / "singles").glob("*.png"))
    assert len(singles) == 6
    with Image.open(singles[0]) as single:
        assert (single.size, single.mode) == ((side, side), "RGB")

    run(export.main, out)
    generator, labeller = (torch.export.load(out / "export" / f"{n}.pt2").module() for n in ("generator", "labeller"))
    with torch.no_grad():
        drawn = generator(torch.zeros(3, 62), torch.eye(3))
        probabilities, _ = labeller(((drawn + 1) * 127.5).round().to(torch.uint8))
    assert drawn.shape == (3, 3, side, side)
    assert torch.allclose(probabilities.sum(1), torch.ones(3), atol=1e-5)
