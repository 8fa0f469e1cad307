"""Charts of a comparison of runs: agreement and stability by the number of classes, as SVG for both themes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler

from fastgan.evaluation.choice_of_k import Level
from fastgan.evaluation.diagnosis import AGREE
from fastgan.reporting import plots

MOST_TICKS = 9  # numbers of classes below the axis, so that they do not collide on a phone


def stability_chart(levels: Sequence[Level], suggested: int | None, theme: str) -> bytes:
    """Curves over K, as SVG: agreement of seeds, of views, and how cleanly each K is split by the next.

    Args:
        levels: the smallest K first, at least two. suggested: marked by a line, None for none.
    """
    ink = plots.INK[theme]
    ours: Any = {f"{name}.color": ink for name in ("text", "xtick", "ytick")} | {
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "axes.prop_cycle": cycler(linestyle=["-", "--", ":"], color=list(plots.COLOURS[:3]), marker=["o", "s", "^"]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "fastgan",  # the same chart has the same bytes
    }
    with plt.rc_context(ours):
        figure, axes = plt.subplots(figsize=(5.6, 3.6), constrained_layout=True)
        _draw(axes, levels, suggested, ink)
        figure.legend(loc="outside upper left", ncols=1, frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return file.getvalue()


def _draw(axes: Any, levels: Sequence[Level], suggested: int | None, ink: str) -> None:
    seeds = [(level.classes, level.seeds) for level in levels if level.seeds is not None]
    curves = {
        "runs of one K with each other": seeds,
        "images with transforms of them": [(level.classes, level.views) for level in levels],
        "share of images that the next K splits cleanly": [
            (level.classes, level.nested) for level in levels if level.nested is not None
        ],
    }
    for name, points in curves.items():
        if points:
            axes.plot(*zip(*points, strict=True), label=name)
        else:
            axes.plot([], [])  # keeps every curve's colour and marker
    axes.axhline(AGREE, color=ink, linewidth=0.8, alpha=0.6)
    lowest = min(value for points in curves.values() for _, value in points)
    axes.text(1, AGREE, f"high: {AGREE}", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8)
    if suggested is not None:
        axes.axvline(suggested, color=ink, linewidth=0.8, linestyle=(0, (1, 2)))
    counts = [level.classes for level in levels]
    if counts[-1] >= 4 * counts[0]:
        axes.set_xscale("log")
    every = -(-len(counts) // MOST_TICKS)
    axes.set_xticks(counts[::every], [str(count) for count in counts[::every]])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="K, number of classes", ylabel="agreement", ylim=(min(0.0, lowest), 1.03))
