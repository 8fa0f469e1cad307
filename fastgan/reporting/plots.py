"""Plots of a run: curves of the losses and figures, the prior, the count matrix."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first: no display is needed
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

from fastgan.reporting.labels import FIGURES, LOSS_NAMES, has_losses

# It warns of every family that lacks the weight asked for.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def plot_losses(rows: list[dict[str, Any]], path: Path) -> None:
    """Losses over images seen and, below, the figures of each evaluation."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, constrained_layout=True)
    _draw_losses(top, rows)
    _draw_figures(bottom, rows)
    top.set_title("Losses", loc="left")
    bottom.set_title("Evaluations", loc="left")
    for axes in (top, bottom):
        if axes.lines:  # above the curves, so that it covers none
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2)
    _save(figure, path)


def _draw_losses(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Losses over images seen."""
    logged = [row for row in rows if has_losses(row)]
    dot = "." if len(logged) < 3 else None  # a line of one or two points is hardly visible
    for key, name in LOSS_NAMES.items():
        # A loss that the recipe does not use has no curve, and pretraining has no generator's.
        points = [(row["images_seen"], row[key] or 0.0) for row in logged if key in row]
        if any(value for _, value in points):
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1, marker=dot)
    axes.set(ylabel="loss")


def _draw_figures(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """The figures of each evaluation over images seen; without labels only Q's mean confidence."""
    evaluated = [row for row in rows if "confidence" in row]
    for key, name in FIGURES.items():
        points = [(row["images_seen"], row[key]) for row in evaluated if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="real images seen", ylabel="figure", ylim=(0, None))
    if not axes.lines and evaluated:
        points = [(row["images_seen"], row["confidence"]) for row in evaluated]
        axes.plot(*zip(*points, strict=True), marker="o", label="Q's mean confidence")
        axes.set(ylim=(0, 1.05))


def plot_prior(prior_K: Tensor, sizes_K: Tensor | None, true_K: Tensor | None, path: Path) -> None:
    """The class prior beside the shares of real images by Q's code and the frequencies of the matched classes."""
    bars = [("prior", prior_K), ("real images that Q assigns", sizes_K), ("true, of the matched class", true_K)]
    shown = [(name, values.tolist()) for name, values in bars if values is not None]
    figure, axes = plt.subplots(figsize=(max(6.0, 0.6 * len(prior_K)), 4.2), constrained_layout=True)
    width = 0.8 / len(shown)
    for i, (name, values) in enumerate(shown):
        axes.bar([k + (i - (len(shown) - 1) / 2) * width for k in range(len(values))], values, width, label=name)
    axes.axhline(1 / len(prior_K), color="grey", linewidth=0.8, linestyle="--", label="uniform")
    axes.set(xlabel="code", ylabel="probability", title="Class prior", xticks=range(len(prior_K)))
    figure.legend(loc="outside lower center", ncols=2)
    _save(figure, path)


def plot_confusion(counts_KC: Tensor, order_K: Tensor, path: Path) -> None:
    """M: the judge's classes of each code's images, codes sorted by the class that they stand for."""
    rows = order_K.argsort()
    share = counts_KC[rows].double()
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    figure, axes = plt.subplots(figsize=(5.5, 5), constrained_layout=True)
    picture = axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(
        xlabel="class seen by the judge",
        ylabel="code",
        title="Generated images: code and judged class",
        xticks=range(counts_KC.shape[1]),
        yticks=range(len(rows)),
        yticklabels=rows.tolist(),
    )
    figure.colorbar(picture, label="share of the code's images")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


# Charts of report.html: SVG, once for each theme, on a transparent background.
INK = {"light": "#1b1f24", "dark": "#e4e7eb"}
# Those of Okabe and Ito's colours, which colour-blind readers can tell apart, that suit both themes.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")


def losses_chart(rows: Sequence[dict[str, Any]], theme: str) -> bytes:
    """Losses over images seen, as SVG."""
    return _chart(lambda axes: _draw_losses(axes, rows), theme, xlabel="real images seen")


def figures_chart(rows: Sequence[dict[str, Any]], theme: str) -> bytes:
    """The figures of each evaluation over images seen, as SVG. Without labels: only the mean confidence."""
    return _chart(lambda axes: _draw_figures(axes, rows), theme)


def prior_chart(
    bars: Mapping[str, Sequence[float]], labels: Sequence[str], theme: str, families: Sequence[str] = ()
) -> bytes:
    """Shares by code, a bar for each name in `bars`, as SVG: codes run down the page, so that many fit its width.

    Args:
        families: of the fonts that have the labels' letters, the first choice first; none for matplotlib's own.
    """
    count, height = len(labels), 0.8 / len(bars)

    def draw(axes: Any) -> None:
        for i, (name, values) in enumerate(bars.items()):
            places = [k + (i - (len(bars) - 1) / 2) * height for k in range(count)]
            axes.barh(places, [100 * value for value in values], height, label=name, color=COLOURS[i])
        axes.axvline(100 / count, color="grey", linewidth=1, linestyle="--", label="uniform")
        axes.set(ylim=(count - 0.4, -0.6), yticks=range(count))
        for label in axes.set_yticklabels(labels):
            label.set_parse_math(False)  # a dollar sign would start a formula

    with plt.rc_context({"font.family": [*families]} if families else {}):
        return _chart(draw, theme, height=1.3 + 0.14 * count * (len(bars) + 1), xlabel="per cent", ylabel="code")


def _chart(draw: Callable[[Any], None], theme: str, height: float = 3.3, **labels: str) -> bytes:
    ink = INK[theme]
    ours: Any = {f"{name}.color": ink for name in ("text", "xtick", "ytick")} | {
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "axes.prop_cycle": cycler(linestyle=["-", "--"]) * cycler(color=COLOURS),  # six losses, four colours
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "fastgan",  # the same chart has the same bytes
    }
    with plt.rc_context(ours):
        figure, axes = plt.subplots(figsize=(5, height), constrained_layout=True)
        draw(axes)
        axes.set(**labels)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper left", ncols=2, frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return file.getvalue()
