"""The table of a sweep: the results of each method on imbalanced MNIST, over splits and seeds, beside the article's.

A row is the content of a finished run's JSON file: `run` (dataset, recipe, method, split, seed, epochs), `evaluations`
by epoch, `train_seconds` and `environment`. A figure that is null, missing or not finite does not count, as n shows.
Rows are sorted and sums are exact, so the order of the files does not matter.

Columns are aligned here, since tabulate needs a width of 163 for the same numbers, and neither it nor rich supports
headings over groups of columns.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fastgan.errors import ConfigError
from fastgan.runs import run_folder
from fastgan.sweep import results
from fastgan.sweep.methods import METHOD_NAMES, display_name
from fastgan.sweep.statistics import (
    CONFIDENCE,
    MERITS,
    Cell,
    Gain,
    Interval,
    Row,
    checked_rows,
    compared_with_uniform,
    epochs_of,
    figure_of,
    intervals,
    mean_times,
    methods_of,
    summarise,
)
from fastgan.text import pluralize

LEGEND = (
    "Lower is better for ENT and prior error, higher for the others; diversity is relative to the real class (1: as "
    "varied as real images). std: sample standard deviation, - for one run; worst: by the figure's direction; n: runs."
)

# The article that re-ran the authors' code on imbalanced MNIST: Elastic-InfoGAN, mean and spread.
ARTICLE = {"ent": (0.525, 0.300), "nmi": (0.750, 0.135)}
ARTICLE_EPOCH = 20
ARTICLE_LINE = (
    "article, re-run of the authors' Elastic-InfoGAN on imbalanced MNIST after 20 epochs over 19 splits: "
    "ENT 0.525 ± 0.300, NMI 0.750 ± 0.135; 896.10 s for one run on its GPU"
)
TIMES = "mean train seconds a run, by device (times of different devices do not compare)"
GAINS = (
    "paired gain over uniform InfoGAN, on the same split and seed, at the last common epoch: the difference as it is "
    "(below 0 is better for ENT and prior error), and in how many of the n pairs it is better (better/n)"
)
SEEDS = (
    f"{CONFIDENCE:.0%} confidence interval of the mean over seeds at the last epoch (Student's t; a seed counts once, "
    "as its mean over the splits that all of the method's seeds have; n: seeds)"
)
WIDTH = 120
MARKERS = "osD^vPX*"


def as_text(rows: Iterable[Row]) -> str:
    """Plain aligned columns, at most 120 characters wide: a block for each method, with a line for each epoch."""
    runs = checked_rows(rows)
    blocks: dict[str, list[list[list[str]]]] = {}
    for (method, epoch), cells in summarise(runs).items():
        shown = [_cell_parts(key, cells.get(key)) for key in MERITS]
        blocks.setdefault(method, []).append([[str(epoch)], *shown])
    lines = [_title(runs), "", *_aligned(["mean", "std", "worst", "n"], blocks), ""]
    lines += [*textwrap.wrap(LEGEND, WIDTH), *textwrap.wrap(ARTICLE_LINE, WIDTH)]
    lines += ["", TIMES]
    for name, seconds, n, epochs, device in mean_times(runs):
        lines += textwrap.wrap(f"  {name}: {seconds:.2f} s, {epochs} epochs, n {n}, on {device}", WIDTH)
    lines += ["", *textwrap.wrap(SEEDS, WIDTH)]
    over_seeds = {
        method: [[[str(epoch)], *(_interval_parts(key, found.get(key)) for key in MERITS)]]
        for method, epoch, found in intervals(runs)
    }
    lines += _aligned(["mean", "±", "n"], over_seeds) if over_seeds else ["  no method has two seeds"]
    lines += ["", *textwrap.wrap(GAINS, WIDTH)]
    differences = {
        method: [[[str(epoch)], *(_gain_parts(key, found.get(key)) for key in MERITS)]]
        for method, epoch, found in compared_with_uniform(runs)
    }
    lines += _aligned(["mean", "std", "better"], differences) if differences else ["  no pairs"]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Iterable[Row]) -> str:
    """The same table in GitHub Markdown."""
    runs = checked_rows(rows)
    names = [merit.name for merit in MERITS.values()]
    main = []
    for (method, epoch), cells in summarise(runs).items():
        parts = [_cell_parts(key, cells.get(key)) for key in MERITS]
        main.append([display_name(method), str(epoch), *(f"{m} ± {s}, worst {w}, n {n}" for m, s, w, n in parts)])
    times = [[name, f"{s:.2f}", str(epochs), str(n), device] for name, s, n, epochs, device in mean_times(runs)]
    over_seeds = []
    for method, epoch, cells_of in intervals(runs):
        parts = [_interval_parts(key, cells_of.get(key)) for key in MERITS]
        over_seeds.append([display_name(method), str(epoch), *(f"{m} ± {half}, n {n}" for m, half, n in parts)])
    differences = []
    for method, epoch, found in compared_with_uniform(runs):
        signed = [_gain_parts(key, found.get(key)) for key in MERITS]
        differences.append([display_name(method), str(epoch), *(f"{m} ± {s}, better in {b}" for m, s, b in signed)])
    return "\n\n".join(
        [
            _escaped(_title(runs)),
            markdown_table(["method", "epoch", *names], main),
            LEGEND,
            ARTICLE_LINE,
            TIMES + ":",
            markdown_table(["method", "train seconds", "epochs", "n", "device"], times),
            SEEDS,
            markdown_table(["method", "epoch", *names], over_seeds) if over_seeds else "No method has two seeds.",
            GAINS,
            markdown_table(["method", "epoch", *names], differences) if differences else "No pairs.",
        ]
    )


def plot(rows: Iterable[Row], path: Path) -> None:
    """NMI and ENT over epochs as a PNG, written atomically: means as lines, runs as faint dots, the article as a band.

    At each epoch methods are shifted slightly, so that their dots do not overlap.
    """
    runs = checked_rows(rows)
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("nmi", "ent"), strict=True):
        _plot_figure(axes, key, runs)
    # A method may be in only one of the two plots: the legend shows each name once, from either.
    named = {name: line for axes in figure.axes for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)


def _plot_figure(axes: Any, key: str, runs: list[Row]) -> None:
    """One plot over epochs: the article's band, and each method's runs and means."""
    summary, methods = summarise(runs), methods_of(runs)
    looks = list(dict.fromkeys([*METHOD_NAMES, *methods]))  # a method has the same style in every plot
    mean, spread = ARTICLE[key]
    edges = [ARTICLE_EPOCH - 0.9, ARTICLE_EPOCH + 0.9]
    axes.fill_between(edges, mean - spread, mean + spread, color="grey", alpha=0.2, linewidth=0)
    axes.plot(edges, [mean, mean], color="dimgrey", linewidth=2, label="article, Elastic-InfoGAN (mean and spread)")
    for i, method in enumerate(methods):
        aside = 0.25 * (i - (len(methods) - 1) / 2)
        look = looks.index(method)
        style = {"color": f"C{look}", "marker": MARKERS[look % len(MARKERS)]}
        own = [row for row in runs if row["run"]["method"] == method]
        points = [(e + aside, v) for row in own for e in epochs_of(row) if (v := figure_of(row, e, key)) is not None]
        means = [(e + aside, cells[key].mean) for (m, e), cells in summary.items() if m == method and key in cells]
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", alpha=0.25, markersize=4, **style)
            axes.plot(*zip(*means, strict=True), label=display_name(method), linewidth=1.8, markersize=6, **style)
    better = "higher" if MERITS[key].higher_is_better else "lower"
    ticks = sorted({epoch for _, epoch in summary} | {ARTICLE_EPOCH})
    axes.set(xlabel="epoch", ylabel=f"{MERITS[key].name} ({better} is better)", xticks=ticks)
    axes.grid(axis="y", color="0.9", zorder=0)


def _title(runs: list[Row]) -> str:
    run = runs[0]["run"]
    return f"{run['dataset']}, recipe {run['recipe']}: {len(runs)} run{'s' if len(runs) > 1 else ''}"


def _cell_parts(key: str, cell: Cell | None) -> list[str]:
    """Mean, standard deviation, worst and n, as text."""
    if cell is None:
        return ["-", "-", "-", "0"]
    return [*(_number(key, value) for value in (cell.mean, cell.std, cell.worst)), str(cell.n)]


def _interval_parts(key: str, interval: Interval | None) -> list[str]:
    """Mean, half width and number of seeds, as text."""
    if interval is None:
        return ["-", "-", "0"]
    return [_number(key, interval.mean), _number(key, interval.half_width), str(interval.n)]


def _gain_parts(key: str, gain: Gain | None) -> list[str]:
    """Mean difference with its sign, standard deviation, and better/n, as text."""
    if gain is None:
        return ["-", "-", "0/0"]
    return [_number(key, gain.mean, "+"), _number(key, gain.std), f"{gain.better}/{gain.n}"]


def _number(key: str, value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}z.{MERITS[key].decimals}f}"


def _aligned(parts: list[str], blocks: dict[str, list[list[list[str]]]]) -> list[str]:
    """Two heading lines, then for each block its method and one line per epoch with the parts of each figure."""
    heads = ["", *(merit.name for merit in MERITS.values())]
    lines = [[["epoch"], *([parts] * len(MERITS))], *(line for block in blocks.values() for line in block)]
    widths = [[max(len(line[i][j]) for line in lines) for j in range(len(lines[0][i]))] for i in range(len(heads))]

    def group(i: int, texts: list[str]) -> str:
        return " ".join(text.rjust(width) for text, width in zip(texts, widths[i], strict=True)).rjust(len(heads[i]))

    # Two spaces between figures if they fit; when n has three digits there is room for only one.
    total = sum(len(group(i, lines[0][i])) for i in range(len(heads)))
    gap = "  " if total + 2 * len(MERITS) <= WIDTH else " "
    first = gap.join(head.ljust(len(group(i, lines[0][i]))) for i, head in enumerate(heads))
    shown = [first, gap.join(group(i, texts) for i, texts in enumerate(lines[0]))]
    for method, block in blocks.items():
        shown += textwrap.wrap(display_name(method), WIDTH)
        shown += [gap.join(group(i, texts) for i, texts in enumerate(line)) for line in block]
    return shown


def markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in GitHub Markdown."""
    every = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(_escaped(text) for text in line) + " |" for line in every)


def _escaped(text: str) -> str:
    """Escape a name from a file, so that it cannot end a cell or start raw HTML."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<")


def _made_by(rows: list[dict[str, Any]]) -> str:
    """The precisions and transforms that the rows were made with, so that a mixture is visible."""
    counts: Counter[str] = Counter()
    for row in rows:
        precision = run_folder.precision_of(row)
        transforms = row.get("environment", {}).get("transforms") or "unnamed or no transforms"
        counts[f"{precision}, {transforms}"] += 1
    return "made in: " + "; ".join(f"{kind} ({pluralize(count, 'row')})" for kind, count in sorted(counts.items()))


def write_table(folder: Path) -> str:
    """The table of a results folder, as text; also written into the folder as text, Markdown and a picture.

    Raises:
        ConfigError: if no run is finished.
    """
    rows = results.read_rows(folder)
    if not rows:
        raise ConfigError(f"--table: no run in {folder} is finished; leave --table out to train some")
    made = _made_by(rows)
    text = f"{as_text(rows)}\n\n{made}"
    (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "table.md").write_text(f"{as_markdown(rows)}\n\n{made}\n", encoding="utf-8")
    plot(rows, folder / "table.png")
    return text
