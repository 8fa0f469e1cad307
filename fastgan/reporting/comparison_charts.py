"""Charts of a comparison of runs: agreement and stability by the number of classes, as SVG for both themes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fastgan.evaluation.choice_of_k import Level
from fastgan.evaluation.diagnosis import AGREE
from fastgan.reporting.palette import INK, SOFT, STYLES

MOST_TICKS = 9  # numbers of classes below the axis, so that they do not collide on a phone


def stability_chart(levels: Sequence[Level], suggested: int | None, theme: str) -> bytes:
    """Curves over K, as SVG: agreement of seeds, of views, and how cleanly each K is split by the next.

    Args:
        levels: the smallest K first, at least two. suggested: marked by a line, None for none.
    """
    ours: Any = {f"{name}.color": INK[theme] for name in ("text", "xtick", "ytick")} | {
        "axes.labelcolor": INK[theme],
        "axes.edgecolor": INK[theme],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "fastgan",  # the same chart has the same bytes
    }
    with plt.rc_context(ours):
        figure = Figure(figsize=(5.6, 3.8), layout="constrained")
        _draw(figure.add_subplot(), levels, suggested, theme)
        figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=9)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()


def _draw(axes: Any, levels: Sequence[Level], suggested: int | None, theme: str) -> None:
    curves = {
        "runs of one K with each other": [(each.classes, each.seeds) for each in levels if each.seeds is not None],
        "images with transforms of them": [(each.classes, each.views) for each in levels],
        "images that the next K splits cleanly, as a share": [
            (each.classes, each.nested) for each in levels if each.nested is not None
        ],
    }
    for style, (name, points) in zip(STYLES, curves.items(), strict=False):
        look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
        if points:
            axes.plot(*zip(*points, strict=True), label=name, markersize=5, linewidth=1.4, **look)
    axes.axhline(AGREE, color=SOFT[theme], linewidth=0.8)
    place = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "bottom", "fontsize": 8}
    axes.text(0.01, AGREE, f"high between runs: {AGREE}", color=SOFT[theme], **place)
    if suggested is not None:
        axes.axvline(suggested, color=SOFT[theme], linewidth=0.8, linestyle=(0, (1, 2)))
    counts = [level.classes for level in levels]
    if counts[-1] >= 4 * counts[0]:
        axes.set_xscale("log")
    every = -(-len(counts) // MOST_TICKS)
    axes.set_xticks(counts[::every], [f"{count:,}" for count in counts[::every]])
    axes.set_xticks([], minor=True)
    lowest = min(value for points in curves.values() for _, value in points)
    axes.set(xlabel="K, number of classes", ylabel="agreement", ylim=(min(0.0, lowest), 1.03))
