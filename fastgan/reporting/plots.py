"""Charts of a run: losses and figures over images seen, the prior, the count matrix.

The same figures are PNG files of the run folder, on white, and SVG of the page, on a transparent ground, a theme each.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first: no display is needed
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

from fastgan.reporting.labels import FIGURES, GOOD_FIGURES, LOSS_NAMES, good_loss, has_losses  # noqa: E402
from fastgan.reporting.lettering import chart_names  # noqa: E402
from fastgan.reporting.palette import GROUND, INK, SOFT, STYLES, ink_on  # noqa: E402

# It warns of every family that lacks the weight asked for.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

DPI = 150  # of the PNG files
WIDTH = 5.0  # inches of the page's charts
PANEL = 1.45  # inches that the panel of one loss takes, words included
MOST_BARS = 20  # codes that have bars; more have points, which need less room
MOST_NUMBERED = 20  # codes and classes of a count matrix with its numbers in it
DRAWS = {"d_loss": 2 * math.log(2), "g_loss": math.log(2)}  # losses where D cannot tell real from generated


def plot_losses(rows: list[dict[str, Any]], path: Path, classes: int | None = None) -> None:
    """Each loss over images seen and, below, the figures of each evaluation.

    Args:
        classes: K, for what a guess would cost.
    """
    with _themed("light"):
        keys = _drawn_losses(rows)
        high = max(math.ceil(len(keys) / 2), 1)
        figure = Figure(figsize=(11, PANEL * high + 3.0), layout="constrained")
        grid = figure.add_gridspec(high + 1, 2, height_ratios=[*[1.0] * high, 1.8])
        for i, key in enumerate(keys):
            _draw_loss(figure.add_subplot(grid[i // 2, i % 2]), rows, key, classes, "light")
        axes = figure.add_subplot(grid[high, :])
        _draw_figures(axes, rows, "light")
        axes.set(xlabel="real images seen")
        _few_ticks(axes, 7)
        if axes.lines:  # below the curves' axes, so that it covers none
            figure.legend(loc="outside lower left", ncols=4, frameon=False)
        _save(figure, path)


def _drawn_losses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The losses that the recipe uses: those that are not always 0."""
    return [key for key in LOSS_NAMES if any(row.get(key) for row in rows)]


def _draw_loss(axes: Any, rows: Sequence[Mapping[str, Any]], key: str, classes: int | None, theme: str) -> None:
    """One loss over images seen, on a scale of its own, with what good looks like above it."""
    # Pretraining's rows have no loss of the generator's side.
    points = [(row["images_seen"], row[key]) for row in rows if row.get(key) is not None]
    style = STYLES[0]
    dot = style.marker if len(points) < 3 else None  # a line of one or two points is hardly visible
    axes.plot(*zip(*points, strict=True), color=style.colour, linewidth=1.2, marker=dot)
    if key in DRAWS:
        axes.axhline(DRAWS[key], color=SOFT[theme], linewidth=0.8, linestyle=":")
    _entitle(axes, LOSS_NAMES[key], good_loss(key, classes), theme)
    axes.set(xlim=(0, 1.03 * rows[-1]["images_seen"]))  # the same images below each other
    axes.yaxis.set_major_locator(MaxNLocator(4))
    _few_ticks(axes)


def _draw_figures(axes: Any, rows: Sequence[Mapping[str, Any]], theme: str) -> None:
    """The figures of each evaluation over images seen; without labels only Q's mean confidence."""
    evaluated = [row for row in rows if row.get("confidence") is not None]
    for (key, name), style in zip(FIGURES.items(), STYLES, strict=True):
        points = [(row["images_seen"], row[key]) for row in evaluated if row.get(key) is not None]
        if points:
            _curve(axes, points, name, style)
    axes.set(xlim=(0, None), ylim=(0, None))
    good = GOOD_FIGURES
    if not axes.lines and evaluated:
        _curve(axes, [(row["images_seen"], row["confidence"]) for row in evaluated], "Q's mean confidence", STYLES[0])
        axes.set(ylim=(0, 1.05))
        good = "how sure Q is, which is not how right it is"
    _entitle(axes, "evaluations", good if axes.lines else "", theme)


def _curve(axes: Any, points: Sequence[tuple[float, float]], name: str, style: Any) -> None:
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
    axes.plot(*zip(*points, strict=True), label=name, markersize=4, linewidth=1.4, **look)


def _entitle(axes: Any, title: str, words: str, theme: str) -> None:
    """A title and, between it and the axes, a smaller line of words."""
    axes.set_title(title, loc="left", fontsize=10, pad=16 if words else 6)
    if words:
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
        axes.annotate(words, (0, 1), (0, 5), fontsize=8, color=SOFT[theme], in_layout=False, **place)


def _few_ticks(axes: Any, most: int = 5) -> None:
    """At most so many marks of images seen, with separators of thousands."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plot_prior(prior_K: Tensor, sizes_K: Tensor | None, true_K: Tensor | None, path: Path) -> None:
    """The class prior beside the shares of real images by Q's code and the frequencies of the matched classes."""
    known = {"prior": prior_K, "real images by Q": sizes_K, "true, of the matched class": true_K}
    bars = {name: values.tolist() for name, values in known.items() if values is not None}
    with _themed("light"):
        figure = _prior_figure(bars, [str(code) for code in range(len(prior_K))], "light", width=6.5)
        _save(figure, path)


def _prior_figure(
    bars: Mapping[str, Sequence[float]], labels: Sequence[str], theme: str, width: float = WIDTH
) -> Figure:
    """Shares by code, which run down, so that many fit the width."""
    count, few = len(labels), len(labels) <= MOST_BARS
    row = 0.14 * (len(bars) + 1) if few else 0.17
    figure = Figure(figsize=(width, 1.3 + row * count), layout="constrained")
    axes, thick = figure.add_subplot(), 0.8 / len(bars)
    for i, ((name, values), style) in enumerate(zip(bars.items(), STYLES, strict=False)):
        per_cent = [100 * value for value in values]
        if few:
            places = [k + (i - (len(bars) - 1) / 2) * thick for k in range(count)]
            drawn = axes.barh(places, per_cent, thick, label=name, color=style.colour, hatch=style.hatch, linewidth=0)
            for bar in drawn:
                bar.set_edgecolor(GROUND[theme])  # of the hatch
        else:
            axes.plot(per_cent, range(count), style.marker, label=name, color=style.colour, markersize=4, clip_on=False)
    axes.axvline(100 / count, color=SOFT[theme], linewidth=1, linestyle="--", label="uniform")
    axes.set(xlim=(0, None), ylim=(count - 0.4, -0.6), yticks=range(count), xlabel="per cent", ylabel="code")
    if not few:
        axes.grid(axis="y", linewidth=0.3, color=SOFT[theme])
    for label in axes.set_yticklabels(labels, fontsize=9 if few else 8):
        label.set_parse_math(False)  # a dollar sign would start a formula
    axes.xaxis.set_major_locator(MaxNLocator(5))
    handles, names = axes.get_legend_handles_labels()
    last = names.index("uniform")  # lines come before bars, and the one to compare with is no series
    order = [*(i for i in range(len(names)) if i != last), last]
    words = [handles[i] for i in order], [names[i] for i in order]
    figure.legend(*words, loc="outside upper left", ncols=2, frameon=False)
    return figure


def plot_confusion(counts_KC: Tensor, order_K: Tensor, path: Path, names: Sequence[str] | None = None) -> None:
    """M: the judge's classes of each code's images, codes sorted by the class that they stand for.

    Args:
        names: of the classes; left out, their numbers.
    """
    rows, classes = order_K.argsort(), counts_KC.shape[1]
    shown = chart_names(list(names or map(str, range(classes))))
    with _themed("light", shown.families):
        drawn = [shown.drawn[name] for name in names or map(str, range(classes))]
        no_font = "; #n: class number n" if shown.numbered else ""
        _save(_confusion_figure(counts_KC[rows].numpy(), rows.tolist(), drawn, no_font), path)


def _confusion_figure(counts_KC: Any, codes: Sequence[int], names: Sequence[str], remark: str = "") -> Figure:
    """The count matrix; its numbers are left out where it has more than MOST_NUMBERED rows or columns."""
    high, wide = counts_KC.shape
    share_KC = counts_KC / np.maximum(counts_KC.sum(1, keepdims=True), 1)
    numbered = max(high, wide) <= MOST_NUMBERED
    cell = 0.5 if numbered else 0.15 if max(high, wide) <= 2 * MOST_NUMBERED else 0.1
    size = (max(5.5, min(cell * wide, 16.0) + 2.0), max(3.2, min(cell * 0.7 * high, 18.0) + 1.8))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(share_KC, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # Such small cells have no room for a line of letters each, nor have columns.
    every = 1 if numbered else 2 if max(high, wide) <= 2 * MOST_NUMBERED else 5
    axes.set(xlabel="class seen by the judge", ylabel="code")
    axes.set_yticks(range(0, high, every), [str(code) for code in codes[::every]])
    upright = numbered and sum(map(len, names)) * 0.09 < 0.8 * cell * wide
    ticks = axes.set_xticks(range(0, wide, every), names[::every], rotation=0 if upright else 90)
    for tick in ticks:
        tick.label1.set_parse_math(False)  # a dollar sign would start a formula
    words = "counts" if numbered else f"no numbers above {MOST_NUMBERED} codes or classes"
    _entitle(axes, "Generated images: code and judged class", words + remark, "light")
    figure.colorbar(picture, label="share of the code's images")
    if numbered:
        for i, j in np.ndindex(high, wide):
            ink = ink_on(to_hex(picture.cmap(share_KC[i, j])))
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": ink}
            # Measuring hundreds of them for the layout would take seconds.
            axes.text(j, i, f"{counts_KC[i, j]:,}", in_layout=False, **look)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI)


def losses_chart(rows: Sequence[dict[str, Any]], theme: str, classes: int | None = None) -> bytes:
    """Each loss over images seen, in a panel of its own, as SVG.

    Args:
        classes: K, for what a guess would cost.
    """
    with _themed(theme):
        return _svg(_losses_figure([row for row in rows if has_losses(row)], theme, classes))


def _losses_figure(rows: Sequence[dict[str, Any]], theme: str, classes: int | None) -> Figure:
    keys = _drawn_losses(rows)
    figure = Figure(figsize=(WIDTH, 0.4 + PANEL * max(len(keys), 1)), layout="constrained")
    for i, key in enumerate(keys):
        axes = figure.add_subplot(len(keys), 1, i + 1)
        _draw_loss(axes, rows, key, classes, theme)
    if keys:
        axes.set(xlabel="real images seen")
    return figure


def figures_chart(rows: Sequence[dict[str, Any]], theme: str) -> bytes:
    """The figures of each evaluation over images seen, as SVG. Without labels: only the mean confidence."""
    with _themed(theme):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.add_subplot()
        _draw_figures(axes, rows, theme)
        axes.set(xlabel="real images seen")
        _few_ticks(axes)
        if axes.lines:
            figure.legend(loc="outside lower left", ncols=2, frameon=False)
        return _svg(figure)


def prior_chart(
    bars: Mapping[str, Sequence[float]], labels: Sequence[str], theme: str, families: Sequence[str] = ()
) -> bytes:
    """Shares by code, a bar for each name in `bars`, as SVG; points where there are more than MOST_BARS codes.

    Args:
        families: of the fonts that have the labels' letters, the first choice first; none for matplotlib's own.
    """
    with _themed(theme, families):
        return _svg(_prior_figure(bars, labels, theme))


@contextmanager
def _themed(theme: str, families: Sequence[str] = ()) -> Iterator[None]:
    """Within, figures are made and saved in the colours of a theme."""
    ink = INK[theme]
    ours: Any = {f"{name}.color": ink for name in ("text", "xtick", "ytick")} | {
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.6,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "svg.hashsalt": "fastgan",  # the same chart has the same bytes
    }
    with plt.rc_context(ours | ({"font.family": [*families]} if families else {})):
        yield


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
