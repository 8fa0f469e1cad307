"""Samples of a trained run: grids, single files, and interpolation between codes and noises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan import sample
from fastgan.config import command_line
from fastgan.inference import sampling, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.images import save_grid
from fastgan.tasks import sample as task

CPU = torch.device("cpu")


def run(*flags: object) -> int:
    return command_line.run_command(sample.main, [str(flag) for flag in flags])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, int]]:
    """The images and columns of each grid that the command writes."""
    calls: list[tuple[torch.Tensor, int]] = []
    real = save_grid

    def spy(images: torch.Tensor, path: Path, columns: int, labels: list[str]) -> None:
        assert len(labels) in (0, len(images) // columns)  # a label a row, where rows are codes
        calls.append((images, columns))
        real(images, path, columns, labels)

    monkeypatch.setattr(task, "save_grid", spy)
    return calls


def test_all_codes_are_drawn_in_rows_and_a_seed_draws_the_same_again(
    tiny_run: Path, tmp_path: Path, drawn: list[Any]
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(tiny_run, "--count", 3, "--seed", seed, "--out", tmp_path / f"{name}.png") == 0
    (first, columns), (again, _), (other, _) = drawn
    assert columns == 3 and first.shape == (30, 1, 16, 16)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_singles_are_the_images_of_the_grid_by_code(tiny_run: Path, tmp_path: Path, drawn: list[Any]) -> None:
    singles = tmp_path / "new" / "singles"
    assert run(tiny_run, "--count", 2, "--out", tmp_path / "grid.png", "--singles", singles) == 0
    assert sorted(p.name for p in singles.glob("*.png")) == [
        f"code-{k:02d}-{i:04d}.png" for k in range(10) for i in (0, 1)
    ]
    with Image.open(singles / "code-07-0001.png") as image:
        assert image.mode == "L"
        found = torch.from_numpy(np.array(image)).float() / 127.5 - 1
    assert torch.allclose(found, drawn[0][0][15, 0], atol=0.5 / 127.5 + 1e-6)


def test_singles_overwrite_nothing(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (tiny_run, "--code", 4, "--count", 2, "--out", tmp_path / "g.png", "--singles", tmp_path)
    assert run(*flags) == 0
    before = (tmp_path / "code-04-0001.png").read_bytes()
    (tmp_path / "code-04-0000.png").unlink()
    assert run(*flags, "--seed", 1, "--force") == 2
    assert "already holds code-04-0001.png" in capsys.readouterr().err
    assert (tmp_path / "code-04-0001.png").read_bytes() == before and not (tmp_path / "code-04-0000.png").exists()


def test_a_picture_is_replaced_only_with_force_and_the_runs_own_is_renewed(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g.png"
    assert run(tiny_run, "--out", out) == 0 and run(tiny_run, "--out", out) == 2
    assert "add --force" in capsys.readouterr().err
    assert run(tiny_run, "--out", out, "--force") == 0
    assert run(tiny_run, "--code", 2) == run(tiny_run, "--code", 2) == run(tiny_run, "--code", 2, "--seed", 5) == 0
    names = {path.name for path in (tiny_run / "samples").glob("code-2*.png")}
    assert {"code-2.png", "code-2-seed5.png"} <= names  # another seed draws other images


def test_between_codes_the_noise_stays_and_the_ends_are_plain_samples(tiny_run: Path, drawn: list[Any]) -> None:
    assert run(tiny_run, "--interpolate", "code", "--code", 3, "--to", 7, "--steps", 5, "--count", 2) == 0
    for code in (3, 7):
        assert run(tiny_run, "--code", code, "--count", 2) == 0
    (rows, columns), (start, _), (end, _) = drawn
    assert columns == 5 and rows.shape == (10, 1, 16, 16)
    assert torch.allclose(rows[0::5], start, atol=1e-5) and torch.allclose(rows[4::5], end, atol=1e-5)
    assert (tiny_run / "samples" / "code-3-to-7.png").is_file()
    loaded = trained_run.load(tiny_run, CPU)
    sampler = Sampler(loaded.generator, loaded.config, CPU, "sample-command")
    half = torch.zeros(1, 10)
    half[0, [3, 7]] = 0.5
    assert torch.allclose(rows[2:3], sampler.draw(sampler.noise(1), half), atol=1e-5)


def test_between_noises_each_row_keeps_its_code_and_all_codes_share_noises(tiny_run: Path, drawn: list[Any]) -> None:
    assert run(tiny_run, "--interpolate", "noise") == 0
    assert run(tiny_run, "--interpolate", "noise", "--code", 6, "--count", 1) == 0
    assert run(tiny_run, "--interpolate", "noise", "--code", 6, "--count", 1, "--seed", 2) == 0
    (rows, columns), (six, _), (other, _) = drawn
    assert columns == 8 and len(rows) == 80
    assert torch.allclose(rows[48:56], six, atol=1e-5)
    assert not torch.allclose(other, six, atol=1e-3) and not torch.allclose(six[0], six[7], atol=1e-3)
    assert (tiny_run / "samples" / "all-codes-noise.png").is_file()


def test_a_spherical_blend_keeps_the_ends_and_the_length() -> None:
    random = torch.Generator().manual_seed(0)
    start, end = torch.randn(4, 62, generator=random), torch.randn(4, 62, generator=random)
    start, end = (7 * x / x.norm(dim=1, keepdim=True) for x in (start, end))
    path = sampling.spherical(start, end, 9)
    assert path.shape == (4, 9, 62) and path.dtype == torch.float32
    assert torch.allclose(path[:, 0], start) and torch.allclose(path[:, -1], end)
    assert torch.allclose(path.norm(dim=2), torch.full((4, 9), 7.0))
    steps = (path[:, 1:] - path[:, :-1]).norm(dim=2)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), rtol=1e-4)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_a_spherical_blend_of_parallel_noises_is_finite(factor: float) -> None:
    start = torch.tensor([[3.0, 4.0]])
    path = sampling.spherical(start, factor * start, 3)
    assert torch.allclose(path[0], torch.stack((start, (1 + factor) / 2 * start, factor * start))[:, 0], atol=1e-6)


def test_the_noise_of_an_image_does_not_depend_on_how_many_are_drawn(tiny_run: Path) -> None:
    loaded = trained_run.load(tiny_run, CPU)
    sampler = Sampler(loaded.generator, loaded.config, CPU, "test")
    many = sampler.noise(1005)
    assert many.shape == (1005, 62) and torch.equal(many[:7], sampler.noise(7))
    assert not torch.equal(many[:5], many[1000:]) and not torch.equal(many[:5], sampler.noise(5, offset=1))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--code", 10), "--code 10: this run has codes 0 to 9"),
        (("--count", 0), "--count 0"),
        (("--interpolate", "code", "--code", 1), "name them with --code and --to"),
        (("--interpolate", "code", "--code", 1, "--to", 11), "--to 11: this run has codes 0 to 9"),
        (("--to", 2), "--to 2: is for --interpolate code only"),
        (("--interpolate", "noise", "--to", 2), "--to 2: is for --interpolate code only"),
        (("--interpolate", "noise", "--steps", 1), "--steps 1: must be at least 2"),
        (("--interpolate", "noise", "--singles", "{here}"), "--singles"),
        (("--interpolate", "sideways"), "--interpolate"),
        (("--out", "{here}/file/x.png"), "--out"),
        (("--out", "{here}/x.nonsense"), "--out"),
        (("--out", "{here}"), "--out"),
        (("--out", "{here}/file.png"), "is there already"),
        (("--singles", "{here}/file", "--out", "{here}/x.png"), "--singles"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(
    tiny_run: Path, tmp_path: Path, flags: tuple[object, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "file.png").touch()
    capsys.readouterr()
    assert run(tiny_run, *(str(flag).format(here=tmp_path) for flag in flags)) == 2
    printed = capsys.readouterr().err.strip()
    assert named in printed and len(printed.splitlines()) == 1
