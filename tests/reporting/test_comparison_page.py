"""compare.html: what it shows of several runs, that nothing in it is taken for HTML, and how a browser takes it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from test_choice_of_k import KIND_N, reading, split

from fastgan import page, train
from fastgan.config import command_line
from fastgan.data.image_set import ImageSet
from fastgan.evaluation.choice_of_k import Level
from fastgan.evaluation.diagnosis import Finding
from fastgan.evaluation.run_reading import RunReading
from fastgan.reporting import comparison_charts, comparison_page

SMALL = "--network.width 4 --network.hidden 16 --network.embedding 8 --device cpu --grouping.at 1 --threads 1"
HOSTILE = "<img src=x onerror=alert(1)>"


def images(*, named: bool = False, size: int = 16) -> ImageSet:
    """600 noisy images of six shades; with labels, one class of which is called as no class should be."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(40, (600, 1, size, size), generator=draw)
    shades = (40 * KIND_N).view(-1, 1, 1, 1) + noise
    names = (HOSTILE, "b", "c", "d", "e", "f") if named else None
    return ImageSet("shades", shades.to(torch.uint8), KIND_N if named else None, 6 if named else 0, class_names=names)


def moved(count: int) -> torch.Tensor:
    """The kinds with the first `count` images of kind 0 given to kind 1."""
    codes_N = KIND_N.clone()
    codes_N[torch.nonzero(KIND_N == 0)[:count, 0]] = 1
    return codes_N


def rendered(readings: list[RunReading], shown: ImageSet | None = None) -> str:
    return comparison_page.render(comparison_page.collect(readings, shown or images()))


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<body>")[2]).split())


def test_two_runs_beside_each_other() -> None:
    found = comparison_page.collect([reading(KIND_N, 6), reading(moved(5), 6, 1)], images())
    (pair,) = found.pairs
    assert len(pair.same) == 6 and not pair.only_first and not pair.only_second
    assert (pair.moved, pair.left_out) == (5, 0)
    (line,) = pair.moves
    assert (line.first, line.second, line.both) == ("A\xa00", "B\xa01", 5) and len(line.pictures) == 5
    assert found.suggestion is None and found.chart is None and not found.matrix, "one K, two runs"
    shown = text(comparison_page.render(found))
    assert "595 of 600 images (99.2%) keep their group" in shown and "High agreement" in shown
    assert "How many kinds" not in shown


def test_the_surest_images_come_first_and_every_picture_has_a_text() -> None:
    sure_N = torch.linspace(0, 1, 600)
    one = dataclasses.replace(reading(KIND_N, 6), confidences_N=sure_N)
    found = comparison_page.collect([one, reading(KIND_N, 6, 1)], images())
    first = found.pairs[0].same[0]
    surest = torch.nonzero(int(first.first.split("\xa0")[1]) == KIND_N)[:, 0].max()
    assert first.pictures[0].text.startswith(f"Image {int(surest)}, in groups")


def test_several_k_get_a_suggestion_a_chart_and_a_matrix() -> None:
    readings = [reading(KIND_N // 2, 3), reading(KIND_N, 6), reading(split(2, 0), 12, views=0.6)]
    found = comparison_page.collect(readings, images())
    assert found.suggestion is not None and found.suggestion.classes == 6
    assert [row[0] for row in found.matrix] == ["A", "B", "C"] and found.matrix[0][1][0] is None
    assert found.matrix[0][1][2] == found.matrix[2][1][0]
    shown = text(comparison_page.render(found))
    assert "Suggested: K = 6" in shown and "different numbers of groups" in shown
    (lone,) = [group for group in found.pairs[0].only_second if group.name == "B\xa00"]
    assert lone.where == "a part of group 0"


def test_settings_that_differ_are_shown_and_the_others_are_not() -> None:
    first = dataclasses.replace(reading(KIND_N, 6), settings={"seed": 0, "network": {"width": 4}, "run_dir": "a"})
    second = dataclasses.replace(reading(KIND_N, 6, 1), settings={"seed": 1, "network": {"width": 4}, "run_dir": "b"})
    assert comparison_page.collect([first, second], images()).settings == [("--seed", ["0", "1"])]


def test_figures_stand_side_by_side_and_what_no_run_has_is_left_out() -> None:
    first = dataclasses.replace(reading(KIND_N, 6), row={"nmi": 0.5, "confidence": 0.9})
    found = dict(comparison_page.collect([first, reading(KIND_N, 6, 1)], images()).figures)
    assert found["NMI of code and judged class (1 is perfect), last evaluation"] == ["0.500", "–"]
    assert not any(name.startswith("ENT") for name in found)


def test_a_run_that_says_little_is_told_before_anything_else() -> None:
    readings = [reading(KIND_N, 6), reading(KIND_N, 6, hardly=Finding("Hardly trained", "", ""))]
    shown = text(rendered(readings))
    assert "k6-seed0 is hardly trained (100,000 images shown)" in shown
    assert "This says nothing yet: B is hardly trained." in shown
    assert "have the same --seed 0 and K" in shown and "High agreement" not in shown


def test_names_of_runs_classes_and_settings_are_text() -> None:
    first = dataclasses.replace(reading(KIND_N, 6), name=HOSTILE, settings={"split": f"{HOSTILE}"})
    html = rendered([first, reading(KIND_N, 6, 1)], images(named=True))
    assert HOSTILE not in html and "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "(mostly &lt;img" in html
    assert "script" not in re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]  # type: ignore[index]
    assert not re.findall(r'(?:src|href)="(?!data:)', html), "nothing from elsewhere"


def test_a_thousand_groups_and_thirty_runs_render() -> None:
    many = torch.arange(600)  # of 1,000 codes, one an image
    html = rendered([reading(many, 1000), reading(many.flip(0), 1000, 1)])
    assert len(html) < 1_500_000
    found = comparison_page.collect([reading(KIND_N, 6, seed) for seed in range(30)], images())
    assert found.runs[26][0] == "A2" and len(found.pairs) == 29
    assert len(comparison_page.render(found)) < 5_000_000


@pytest.mark.parametrize("seeds", [None, 0.9])
def test_the_chart_is_svg_and_the_same_each_time(seeds: float | None) -> None:
    levels = [
        Level(k, 2, seeds, 0.9, float(k), float(k), None, None if k == 80 else 0.8) for k in (2, 5, 10, 20, 40, 80)
    ]
    drawn = comparison_charts.stability_chart(levels, 10, "dark")
    assert drawn == comparison_charts.stability_chart(levels, 10, "dark")
    assert xml.etree.ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn != comparison_charts.stability_chart(levels, None, "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1300])
def test_anyone_can_read_it_on_any_screen(tmp_path: Path, browser: Any, width: int, scheme: str) -> None:
    """With every part open: axe-core and the console say nothing, every picture is there, the page is not too wide."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    readings = [reading(KIND_N // 2, 3), reading(moved(5), 6), reading(split(2, 0), 12, views=0.6)]
    (tmp_path / "page.html").write_text(rendered(readings, images(named=True)), encoding="utf-8")
    said: list[str] = []
    context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": width, "height": 844})
    shown = context.new_page()
    shown.on("console", lambda message: said.append(message.text))
    shown.goto((tmp_path / "page.html").as_uri())
    shown.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true; })")
    wrong = axe.Axe().run(shown).response["violations"]
    empty = "[...document.images].filter(image => !image.naturalWidth || !image.clientWidth)"
    found = shown.evaluate(f"[document.images.length, {empty}.length]")
    too_wide = shown.evaluate("document.documentElement.scrollWidth - innerWidth")
    context.close()
    assert [(each["id"], each["nodes"][0]["html"]) for each in wrong] == []
    assert said == [] and found[0] > 30 and found[1] == 0 and too_wide <= 0


# --- the command ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tiny runs on the same 256 digits, and one on others."""
    place = tmp_path_factory.mktemp("compare")
    pixels = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    for name, part in (("same", pixels[:256]), ("other", pixels[256:512])):
        np.savez(place / f"{name}.npz", images=part)
    found = []
    for name, data, classes, seed in (
        ("a", "same", 3, 0),
        ("b", "same", 3, 1),
        ("c", "same", 5, 0),
        ("d", "other", 3, 0),
    ):
        flags = (
            f"--dataset npz --data-dir {place / data}.npz --image-size 8 --classes {classes} --seed {seed} --epochs 1"
        )
        found.append(place / name)
        assert (
            command_line.run_command(train.main, [*SMALL.split(), *flags.split(), "--run-dir", str(place / name)]) == 0
        )
    return found


def test_the_command_writes_beside_the_report_and_leaves_it_alone(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    report = (runs[0] / "report.html").read_bytes()
    argv = [*map(str, runs[:3]), "--device", "cpu", "--threads", "1"]
    assert command_line.run_command(page.main, argv) == 0
    assert f"wrote {runs[0] / 'compare.html'}" in capsys.readouterr().out
    html = (runs[0] / "compare.html").read_text(encoding="utf-8")
    assert "3 runs compared" in html and "hardly trained" in html
    assert (runs[0] / "report.html").read_bytes() == report
    assert command_line.run_command(page.main, argv) == 0, "it is renewed"


def test_runs_on_other_images_are_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run_command(page.main, [str(runs[0]), str(runs[3]), "--device", "cpu", "--threads", "1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{runs[3]}: was trained on other images (256 images then, 256 now" in said
    assert f"train --like {runs[0]} --seed 1" in said
    assert not (runs[3] / "compare.html").exists()


def test_a_run_named_twice_or_that_is_none_is_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run_command(page.main, [str(runs[0]), str(runs[0])]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert command_line.run_command(page.main, [str(runs[0]), str(runs[0].parent / "none")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_out_is_checked_as_every_output(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(runs[0]), str(runs[1]), "--device", "cpu", "--threads", "1", "--out"]
    there = tmp_path / "there.html"
    there.write_text("mine", encoding="utf-8")
    assert command_line.run_command(page.main, [*argv, str(there)]) == 2
    assert there.read_text(encoding="utf-8") == "mine" and "add --force" in capsys.readouterr().err
    assert command_line.run_command(page.main, [*argv, str(there), "--force"]) == 0
    assert "2 runs compared" in there.read_text(encoding="utf-8")


def test_a_run_that_kept_no_digest_is_known_by_its_images(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of earlier versions did not record which images they were trained on."""
    for name, run in (("same", runs[1]), ("other", runs[3])):
        shutil.copytree(run, tmp_path / name)
        settings = tmp_path / name / "run.json"
        settings.write_text(settings.read_text(encoding="utf-8").replace('"images":', '"pictures":'), encoding="utf-8")
    argv = ["--device", "cpu", "--threads", "1", "--out", str(tmp_path / "out.html"), "--force"]
    assert command_line.run_command(page.main, [str(runs[0]), str(tmp_path / "same"), *argv]) == 0
    assert command_line.run_command(page.main, [str(runs[0]), str(tmp_path / "other"), *argv]) == 2
    assert "other images" in capsys.readouterr().err
