"""The charts of a run: what they show, and that no words of theirs lie on each other."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from fastgan.reporting import labels, plots
from fastgan.reporting.labels import LOSS_NAMES
from fastgan.reporting.lettering import chart_names

ROWS = [{"images_seen": 100 * i, "confidence": 0.2 * i, "effective_classes": 3.0} for i in (1, 2, 3)]
LOSSES = [
    {"images_seen": 20_000 * i} | {key: 1.0 / i + place for place, key in enumerate(LOSS_NAMES)} for i in range(1, 6)
]
FIGURES = [{"images_seen": 50_000 * i, "confidence": 0.9} | dict.fromkeys(labels.FIGURES, 0.2 * i) for i in (1, 2)]
LONG = [
    "猫写真の猫",
    "a very long name of a class",
    "犬",
    "b$x$",
    "<img>",
    "Erythroblast",
    "Monocyte",
    "WWWWWWWWWWWWWW",
]
KINDS = [2, 10, 20, 21, 40, 100]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in this order, instead of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, _: figures.append(figure))
    monkeypatch.setattr(plots, "_svg", lambda figure: figures.append(figure) or b"")
    return figures


def ticks(axis: Axis) -> list[Text]:
    """The labels of an axis that are drawn: matplotlib makes others, outside its limits."""
    low, high = sorted(axis.get_view_interval())
    places = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [label for place, label in places if low - 1e-9 <= place <= high + 1e-9]


def words(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that a figure shows, and its box in pixels."""
    figure.draw_without_rendering()
    shown = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        shown += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
        shown += [*ticks(axes.xaxis), *ticks(axes.yaxis)]
    return [(text.get_text(), text.get_window_extent()) for text in shown if text.get_text().strip()]


def check_words(figure: Figure) -> list[str]:
    """No two texts lie on each other, and all lie in the figure; returns them."""
    found = words(figure)
    for (one, a), (other, b) in itertools.combinations(found, 2):
        shared = Bbox.intersection(a, b)
        assert shared is None or min(shared.width, shared.height) < 1, (one, other)
    for text, box in found:
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, text
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, text
    return [text for text, _ in found]


def legend_of_evaluations(rows: list[dict[str, Any]], path: Path, made: list[Figure]) -> list[str]:
    """The names of the curves in the lowest panel of losses.png."""
    plots.plot_losses(rows, path)
    return [str(line.get_label()) for line in made[-1].axes[-1].lines]


def test_without_labels_the_confidence_is_shown(tmp_path: Path, made: list[Figure]) -> None:
    assert legend_of_evaluations(ROWS, tmp_path, made) == ["Q's mean confidence"]
    labelled = [{**row, "nmi": 0.5} for row in ROWS]
    assert legend_of_evaluations(labelled, tmp_path, made) == ["NMI"]
    assert legend_of_evaluations([], tmp_path, made) == []


def test_each_loss_has_a_panel_a_scale_and_words(tmp_path: Path, made: list[Figure]) -> None:
    """Those that a recipe leaves at 0 have none, and pretraining has no generator's."""
    first: dict[str, Any] = {"images_seen": 5_000, "contrastive_loss": 3.0, "agreement_loss": 0.0}
    rows = [first, *({**row, "agreement_loss": 0.0} for row in LOSSES)]
    plots.losses_chart(rows, "light", 10)
    plots.plot_losses([*rows, *FIGURES], tmp_path, 10)
    for figure in made:
        texts = check_words(figure)
        assert "discriminator" in texts and "agreement" not in texts
        assert "1.39 is a draw with the generator; near 0 the discriminator has won" in texts
        assert "0: Q reads the code off each generated image; a guess costs 2.30 (ln 10)" in texts
        limits = [axes.get_ylim() for axes in figure.axes[:5]]
        assert len(set(limits)) == 5
        assert len({axes.get_xlim() for axes in figure.axes[:5]}) == 1  # the same images below each other
        draw = figure.axes[0].lines[1].get_ydata()
        assert draw[0] == pytest.approx(1.386, abs=1e-3)  # type: ignore[index]
    assert "100,000" in check_words(made[0])
    assert {"NMI", "ENT", "clustering accuracy", "prior error"} <= set(check_words(made[1]))


@pytest.mark.parametrize("count", [1, 2, 60])
def test_few_and_many_rows(count: int, tmp_path: Path, made: list[Figure]) -> None:
    rows = [{"images_seen": 1_000_000 * i} | dict.fromkeys(LOSS_NAMES, 0.1 * i) for i in range(1, count + 1)]
    plots.losses_chart(rows, "dark", 1000)
    plots.plot_losses(rows, tmp_path)
    plots.figures_chart([*rows, *FIGURES], "dark")
    for figure in made:
        check_words(figure)


@pytest.mark.parametrize("classes", KINDS)
def test_many_codes_fit_into_the_prior_s_chart(classes: int, tmp_path: Path, made: list[Figure]) -> None:
    names = [LONG[i % len(LONG)] + str(i) * (i >= len(LONG)) for i in range(classes)]
    shown = chart_names(names)
    share = torch.arange(1.0, classes + 1) / sum(range(classes + 1))
    written = [shown.label(code, name) for code, name in enumerate(names)]
    bars = dict.fromkeys(("prior", "real images by Q", "true, of its class"), share.tolist())
    plots.prior_chart(bars, written, "light", shown.families)
    plots.plot_prior(share, share.flip(0), share, tmp_path)
    for figure, codes in zip(made, (written, [str(code) for code in range(classes)]), strict=True):
        assert set(codes) <= set(check_words(figure))
        (axes,) = figure.axes
        assert bool(axes.patches) == (classes <= plots.MOST_BARS)  # bars, and beyond that points
        assert figure.get_figheight() < 20
        names_in_order = [text.get_text() for text in figure.legends[0].get_texts()]
        assert names_in_order[0] == "prior" and names_in_order[-1] == "uniform"


def confusion(classes: int, made: list[Figure], names: Sequence[str] | None, tmp_path: Path) -> list[str]:
    counts_KC = torch.full((classes, classes), 7) + torch.diag(torch.full((classes,), 12_345))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_confusion(counts_KC, torch.arange(classes).flip(0), tmp_path, names)
        return check_words(made[-1])


@pytest.mark.parametrize("classes", KINDS)
def test_a_count_matrix_has_its_numbers_up_to_twenty(classes: int, tmp_path: Path, made: list[Figure]) -> None:
    names = [LONG[i % len(LONG)] + str(i) * (i >= len(LONG)) for i in range(classes)]
    for given in (None, names):
        texts = confusion(classes, made, given, tmp_path)
        numbered = classes <= plots.MOST_NUMBERED
        assert (texts.count("12,352") == classes) == numbered
        assert any("no numbers above 20" in text for text in texts) != numbered
        assert any("class number n" in text for text in texts) <= (given is not None)
        assert max(made[-1].get_size_inches()) < 20
        if numbered:  # each number within its cell
            axes = made[-1].axes[0]
            cell = axes.get_window_extent().width / classes
            assert all(text.get_window_extent().width < cell for text in axes.texts if re.match(r"\d", text.get_text()))


def test_files_and_svg_are_written(tmp_path: Path) -> None:
    plots.plot_losses([*LOSSES, *FIGURES], tmp_path / "losses.png", 4)
    plots.plot_prior(torch.full((4,), 0.25), None, None, tmp_path / "prior.png")
    plots.plot_confusion(torch.ones(4, 4).long(), torch.arange(4), tmp_path / "confusion.png", ["a", "b", "c", "d"])
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.convert("RGB").getpixel((picture.width - 1, picture.height - 1)) == (255, 255, 255)
            assert picture.width > 700
    for theme in ("light", "dark"):
        one, other = (plots.losses_chart(LOSSES, theme, 4) for _ in range(2))
        assert one == other and b"<svg" in one
