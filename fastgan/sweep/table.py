"""The table of a sweep: what each method reaches on imbalanced MNIST, over splits and seeds, beside the article.

A row is a finished run as its JSON file holds it: `run` (dataset, recipe, method, split, seed, epochs), `evaluations`
by epoch, `train_seconds` and `environment`. A figure that is null, missing or not finite leaves its run out of that
figure, and n says so. Rows are sorted and sums are exact, so the order of the files changes nothing.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

METHOD_NAMES = {
    "uniform": "uniform InfoGAN",
    "ground-truth": "ground-truth InfoGAN",
    "gumbel-softmax": "Gumbel-Softmax",
    "ground-truth-contrastive": "ground-truth + contrastive",
    "elastic": "Elastic-InfoGAN",
}
"""The methods in the order of the table, and the names to show; any other comes after them under its own name."""


@dataclass(frozen=True)
class Merit:
    """A figure of merit: its name, which way is better, and how many decimals tell two methods apart."""

    name: str
    higher_is_better: bool
    decimals: int = 3


MERITS = {
    "ent": Merit("ENT", False),
    "nmi": Merit("NMI", True),
    "prior_error": Merit("prior error", False, 4),
    "cluster_accuracy": Merit("clustering accuracy", True),
    "diversity": Merit("diversity", True),
}
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
WIDTH = 120
MARKERS = "osD^vPX*"

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One figure of a method after an epoch, over its n runs; std is None for one run."""

    mean: float
    std: float | None
    worst: float
    n: int


@dataclass(frozen=True)
class Gain:
    """Differences of one figure, method minus the other, over n pairs; `better` counts strictly better pairs.

    The differences keep the figure's own sign: for ENT and prior error a negative mean is a gain.
    """

    mean: float
    std: float | None
    n: int
    better: int


def summarise(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, Cell]]:
    """Every (method, epoch), in the table's order, with the figures that at least one run has."""
    runs = _checked(rows)
    summary: dict[tuple[str, int], dict[str, Cell]] = {}
    for method in _methods(runs):
        own = [row for row in runs if row["run"]["method"] == method]
        for epoch in sorted({epoch for row in own for epoch in _epochs(row)}):
            cells = summary[method, epoch] = {}
            for key, merit in MERITS.items():
                values = [value for row in own if (value := _figure(row, epoch, key)) is not None]
                if values:
                    worst = min(values) if merit.higher_is_better else max(values)
                    cells[key] = Cell(statistics.fmean(values), _std(values), worst, len(values))
    return summary


def gains(
    rows: Iterable[Row], method: str = "elastic", over: str = "uniform", epoch: int | None = None
) -> dict[str, Gain]:
    """Paired differences, `method` minus `over`, on the (split, seed) that both have; none without pairs.

    Without `epoch`, the last one that the two runs of some pair both have.
    """
    pairs = _pairs(_checked(rows), method, over)
    if epoch is None:
        epoch = _last_common_epoch(pairs)
    if epoch is None:
        return {}
    found = {}
    for key, merit in MERITS.items():
        both = [(_figure(mine, epoch, key), _figure(other, epoch, key)) for mine, other in pairs]
        differences = [a - b for a, b in both if a is not None and b is not None]
        if differences:
            better = sum(d > 0 if merit.higher_is_better else d < 0 for d in differences)
            found[key] = Gain(statistics.fmean(differences), _std(differences), len(differences), better)
    return found


def as_text(rows: Iterable[Row]) -> str:
    """Plain aligned columns, at most 120 wide: a block a method, its epochs below each other."""
    runs = _checked(rows)
    blocks: dict[str, list[list[list[str]]]] = {}
    for (method, epoch), cells in summarise(runs).items():
        shown = [_cell_parts(key, cells.get(key)) for key in MERITS]
        blocks.setdefault(method, []).append([[str(epoch)], *shown])
    lines = [_title(runs), "", *_aligned(["mean", "std", "worst", "n"], blocks), ""]
    lines += [*textwrap.wrap(LEGEND, WIDTH), *textwrap.wrap(ARTICLE_LINE, WIDTH)]
    lines += ["", TIMES]
    for name, seconds, n, epochs, device in _times(runs):
        lines += textwrap.wrap(f"  {name}: {seconds:.2f} s, {epochs} epochs, n {n}, on {device}", WIDTH)
    lines += ["", *textwrap.wrap(GAINS, WIDTH)]
    differences = {
        method: [[[str(epoch)], *(_gain_parts(key, found.get(key)) for key in MERITS)]]
        for method, epoch, found in _compared(runs)
    }
    lines += _aligned(["mean", "std", "better"], differences) if differences else ["  no pairs"]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(rows: Iterable[Row]) -> str:
    """The same as GitHub tables."""
    runs = _checked(rows)
    names = [merit.name for merit in MERITS.values()]
    main = []
    for (method, epoch), cells in summarise(runs).items():
        parts = [_cell_parts(key, cells.get(key)) for key in MERITS]
        main.append([_name(method), str(epoch), *(f"{m} ± {s}, worst {w}, n {n}" for m, s, w, n in parts)])
    times = [[name, f"{s:.2f}", str(epochs), str(n), device] for name, s, n, epochs, device in _times(runs)]
    differences = []
    for method, epoch, found in _compared(runs):
        signed = [_gain_parts(key, found.get(key)) for key in MERITS]
        differences.append([_name(method), str(epoch), *(f"{m} ± {s}, better in {b}" for m, s, b in signed)])
    return "\n\n".join(
        [
            _escaped(_title(runs)),
            _markdown_table(["method", "epoch", *names], main),
            LEGEND,
            ARTICLE_LINE,
            TIMES + ":",
            _markdown_table(["method", "train seconds", "epochs", "n", "device"], times),
            GAINS,
            _markdown_table(["method", "epoch", *names], differences) if differences else "No pairs.",
        ]
    )


def plot(rows: Iterable[Row], path: Path) -> None:
    """NMI and ENT over epochs as a PNG, replaced in one go: the mean a line, each run a faint dot, the article a band.

    Methods stand a little beside each other at each epoch, so that their dots do not cover one another.
    """
    runs = _checked(rows)
    summary = summarise(runs)
    methods = _methods(runs)
    looks = list(dict.fromkeys([*METHOD_NAMES, *methods]))  # a method looks the same whichever others are there
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("nmi", "ent"), strict=True):
        mean, spread = ARTICLE[key]
        edges = [ARTICLE_EPOCH - 0.9, ARTICLE_EPOCH + 0.9]
        axes.fill_between(edges, mean - spread, mean + spread, color="grey", alpha=0.2, linewidth=0)
        axes.plot(edges, [mean, mean], color="dimgrey", linewidth=2, label="article, Elastic-InfoGAN (mean and spread)")
        for i, method in enumerate(methods):
            aside = 0.25 * (i - (len(methods) - 1) / 2)
            look = looks.index(method)
            style = {"color": f"C{look}", "marker": MARKERS[look % len(MARKERS)]}
            own = [row for row in runs if row["run"]["method"] == method]
            points = [(e + aside, v) for row in own for e in _epochs(row) if (v := _figure(row, e, key)) is not None]
            means = [(e + aside, cells[key].mean) for (m, e), cells in summary.items() if m == method and key in cells]
            if points:
                axes.plot(*zip(*points, strict=True), linestyle="", alpha=0.25, markersize=4, **style)
                axes.plot(*zip(*means, strict=True), label=_name(method), linewidth=1.8, markersize=6, **style)
        better = "higher" if MERITS[key].higher_is_better else "lower"
        ticks = sorted({epoch for _, epoch in summary} | {ARTICLE_EPOCH})
        axes.set(xlabel="epoch", ylabel=f"{MERITS[key].name} ({better} is better)", xticks=ticks)
        axes.grid(axis="y", color="0.9", zorder=0)
    # A method may have one of the two figures only: the legend takes each name once, from either.
    named = {name: line for axes in figure.axes for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)


def _checked(rows: Iterable[Row]) -> list[Row]:
    """The rows sorted by method, split and seed; ValueError for none, for duplicates and for mixed sweeps."""
    runs = list(rows)
    if not runs:
        raise ValueError("no runs to tabulate: the sweep has no finished run")
    if other := {repr(row.get("format")) for row in runs} - {"1"}:
        raise ValueError(f"runs of format 1 are read, not {', '.join(sorted(other))}")
    runs.sort(key=_identity)
    for before, row in zip(runs, runs[1:], strict=False):
        if _identity(before) == _identity(row):
            raise ValueError("method {}, split {}, seed {} is there twice: keep one".format(*_identity(row)))
    sweeps = sorted({(str(row["run"]["dataset"]), str(row["run"]["recipe"])) for row in runs})
    if len(sweeps) > 1:
        names = ", ".join(f"{dataset} with recipe {recipe}" for dataset, recipe in sweeps)
        raise ValueError(f"runs of different sweeps do not share a table: {names}")
    return runs


def _identity(row: Row) -> tuple[str, int, int]:
    run = row["run"]
    return run["method"], run["split"], run["seed"]


def _methods(runs: list[Row]) -> list[str]:
    known = list(METHOD_NAMES)
    return sorted(
        {row["run"]["method"] for row in runs}, key=lambda m: (known.index(m) if m in known else len(known), m)
    )


def _name(method: str) -> str:
    return METHOD_NAMES.get(method, method)


def _epochs(row: Row) -> list[int]:
    return sorted(int(epoch) for epoch in row["evaluations"])


def _figure(row: Row, epoch: int, key: str) -> float | None:
    return _finite(row["evaluations"].get(str(epoch), {}).get(key))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _std(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _pairs(runs: list[Row], method: str, over: str) -> list[tuple[Row, Row]]:
    """The runs of both methods with the same split and seed."""
    by_identity = {_identity(row): row for row in runs}
    found = [(row, by_identity.get((over, *_identity(row)[1:]))) for row in runs if row["run"]["method"] == method]
    return [(mine, other) for mine, other in found if other is not None]


def _last_common_epoch(pairs: list[tuple[Row, Row]]) -> int | None:
    return max((epoch for mine, other in pairs for epoch in {*_epochs(mine)} & {*_epochs(other)}), default=None)


def _compared(runs: list[Row]) -> list[tuple[str, int, dict[str, Gain]]]:
    """Every other method that has pairs with uniform: its name, the last common epoch, and its gains there."""
    found = []
    for method in _methods(runs):
        epoch = None if method == "uniform" else _last_common_epoch(_pairs(runs, method, "uniform"))
        if epoch is not None:
            found.append((method, epoch, gains(runs, method, "uniform", epoch)))
    return found


def _times(runs: list[Row]) -> list[tuple[str, float, int, int, str]]:
    """(name, mean seconds, n, epochs, device) of each method, apart for each device and length of training."""
    seconds: dict[tuple[str, str, int], list[float]] = {}
    for row in runs:
        value = _finite(row.get("train_seconds"))
        device = row.get("environment", {}).get("device") or "an unknown device"
        if value is not None:
            seconds.setdefault((row["run"]["method"], device, row["run"]["epochs"]), []).append(value)
    order = sorted(seconds, key=lambda key: (_methods(runs).index(key[0]), key))
    return [(_name(key[0]), statistics.fmean(seconds[key]), len(seconds[key]), key[2], key[1]) for key in order]


def _title(runs: list[Row]) -> str:
    run = runs[0]["run"]
    return f"{run['dataset']}, recipe {run['recipe']}: {len(runs)} run{'s' if len(runs) > 1 else ''}"


def _cell_parts(key: str, cell: Cell | None) -> list[str]:
    """Mean, standard deviation, worst and n as they are shown."""
    if cell is None:
        return ["-", "-", "-", "0"]
    return [*(_number(key, value) for value in (cell.mean, cell.std, cell.worst)), str(cell.n)]


def _gain_parts(key: str, gain: Gain | None) -> list[str]:
    """Mean difference with its sign, standard deviation, and better/n."""
    if gain is None:
        return ["-", "-", "0/0"]
    return [_number(key, gain.mean, "+"), _number(key, gain.std), f"{gain.better}/{gain.n}"]


def _number(key: str, value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}z.{MERITS[key].decimals}f}"


def _aligned(parts: list[str], blocks: dict[str, list[list[list[str]]]]) -> list[str]:
    """A heading of two lines, then for each block its name and its lines: an epoch and the parts of each figure."""
    heads = ["", *(merit.name for merit in MERITS.values())]
    lines = [[["epoch"], *([parts] * len(MERITS))], *(line for block in blocks.values() for line in block)]
    widths = [[max(len(line[i][j]) for line in lines) for j in range(len(lines[0][i]))] for i in range(len(heads))]

    def group(i: int, texts: list[str]) -> str:
        return " ".join(text.rjust(width) for text, width in zip(texts, widths[i], strict=True)).rjust(len(heads[i]))

    # Two blanks between figures where they fit: three digits of n leave room for one.
    total = sum(len(group(i, lines[0][i])) for i in range(len(heads)))
    gap = "  " if total + 2 * len(MERITS) <= WIDTH else " "
    first = gap.join(head.ljust(len(group(i, lines[0][i]))) for i, head in enumerate(heads))
    shown = [first, gap.join(group(i, texts) for i, texts in enumerate(lines[0]))]
    for method, block in blocks.items():
        shown += textwrap.wrap(_name(method), WIDTH)
        shown += [gap.join(group(i, texts) for i, texts in enumerate(line)) for line in block]
    return shown


def _markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    every = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(_escaped(text) for text in line) + " |" for line in every)


def _escaped(text: str) -> str:
    """A name from a file can neither end a cell nor begin raw HTML."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<")
