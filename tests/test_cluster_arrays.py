"""Arrays in a file labelled by a trained run: by index, in a table of their own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastgan import ElasticInfoGAN, cluster
from fastgan.config.command_line import run_command

PIXELS = (load_digits().images[:40] * (255 / 16)).astype(np.uint8)


@pytest.fixture(params=[".npz", ".npy"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Images in a file; in a .npz file with labels, which do not matter here."""
    path = tmp_path / f"more{request.param}"
    if request.param == ".npz":
        np.savez(path, images=PIXELS, labels=np.zeros(40, int))
    else:
        np.save(path, PIXELS)
    return path


def test_arrays_in_a_file_are_listed_by_index(tiny_run: Path, file: Path) -> None:
    for _ in range(2):  # the table of an earlier call is renewed
        assert run_command(cluster.main, [str(tiny_run), str(file)]) == 0
        header, *rows = csv.reader((tiny_run / "assignments-more.csv").read_text().splitlines())
        assert header[0] == "index" and [row[0] for row in rows] == [str(i) for i in range(40)]
    model = ElasticInfoGAN.load(tiny_run, device="cpu")
    codes = model.predict(PIXELS)
    assert [int(row[1]) for row in rows] == codes.tolist() == model.predict(file).tolist()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sort-into", "sorted"], "--sort-into: is for a folder of image files, and {} holds arrays; leave it out"),
        (
            ["--labels-from-folders"],
            "--labels-from-folders: is for a folder of image files, and {} holds arrays; leave",
        ),
    ],
)
def test_what_needs_files_is_refused(
    flags: list[str], message: str, tiny_run: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tiny_run.iterdir())
    assert run_command(cluster.main, [str(tiny_run), str(file), *flags]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message.format(file)}")
    assert sorted(tiny_run.iterdir()) == before


def test_a_file_that_is_none_is_refused(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(cluster.main, [str(tiny_run), str(tmp_path / "none.npz")]) == 2
    assert "none.npz: no such file; name the .npz or .npy file with your images" in capsys.readouterr().err
    (tmp_path / "text.npz").write_text("hello")
    assert run_command(cluster.main, [str(tiny_run), str(tmp_path / "text.npz")]) == 2
    assert "text.npz: not a readable .npz or .npy file" in capsys.readouterr().err
    assert not [path for name in ("none", "text") for path in tiny_run.glob(f"assignments-{name}*")]
