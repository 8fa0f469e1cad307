"""The table of the worlds: each method's figures on each data set, and how sure the difference to the best rival is.

A figure is of held-out real images where the data set has them, else of the images trained on; a row's last evaluation
counts. Means are over splits and seeds; a figure that a row lacks leaves it out, and n says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import ttest_rel

from fastgan.errors import ConfigError
from fastgan.sweep import results
from fastgan.sweep.worlds import METHODS, OURS, WORLDS

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A column: its heading, the keys of a row's last evaluation in the order of preference, decimals, direction."""

    name: str
    keys: tuple[str, ...]
    decimals: int = 3
    higher_is_better: bool = True


def _real(name: str) -> tuple[str, ...]:
    return f"held_out_{name}", f"cluster_{name}"


FIGURES = (
    Figure("accuracy", _real("accuracy")),
    Figure("macro", _real("macro_accuracy")),
    Figure("rarest", _real("rarest_recall")),
    Figure("NMI", _real("nmi")),
    Figure("AMI", _real("ami")),
    Figure("ARI", _real("ari")),
    Figure("prior error", ("cluster_prior_error",), 4, False),
    Figure("share error", ("cluster_share_error",), 4, False),
    Figure("NMI of samples", ("nmi",)),
    Figure("ENT", ("ent",), 3, False),
    Figure("Fréchet", ("frechet_distance",), 2, False),
    Figure("diversity", ("diversity",)),
    Figure("seconds", ("train_seconds",), 0, False),
    Figure("GB", ("peak_memory_gb",), 1, False),
)
COMPARED = "NMI"
FEWEST_PAIRS = 3  # for a paired t-test
LEGEND = (
    "mean ± standard deviation (worst), over n runs. accuracy, macro (mean of the classes' recalls), rarest (recall of "
    "the rarest class), NMI, AMI, ARI: of real images, held out where the data set has others than those trained on. "
    "prior error, share error: root mean square difference to the true class frequencies of the learned prior and of "
    "the cluster sizes. NMI of samples, ENT, Fréchet, diversity: of generated images, under the judge. seconds: of "
    "training, imports and evaluation apart. GB: the process's peak memory."
)


def write_worlds(folder: Path) -> str:
    """The tables of all worlds below `folder`, as Markdown; also written there as worlds.md.

    Raises:
        ConfigError: if no run is finished, or a row is damaged.
    """
    tables = []
    for name in WORLDS:
        if (folder / name / "sweep.json").exists() and (rows := results.read_rows(folder / name)):
            tables.append(as_markdown(name, rows))
    if not tables:
        raise ConfigError(f"--table: no run in {folder} is finished; leave --table out to train some")
    text = "\n\n".join([*tables, LEGEND])
    (folder / "worlds.md").write_text(text + "\n", encoding="utf-8")
    return text


def as_markdown(name: str, rows: list[Row]) -> str:
    """The table of one world: a line for each method, the best mean of each figure in bold."""
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row["run"]["method"]].append(row)
    methods = [method for method in METHODS if method in by_method]
    found = {
        (m, f.name): [x for row in by_method[m] if (x := value(row, f)) is not None] for m in methods for f in FIGURES
    }
    shown = [f for f in FIGURES if any(found[method, f.name] for method in methods)]
    best = {f.name: _best(f, [fmean(found[m, f.name]) for m in methods if found[m, f.name]]) for f in shown}
    lines = [f"### {WORLDS[name].title}", "", _line(["method", "n", *(f.name for f in shown)])]
    lines.append(_line(["---"] * (len(shown) + 2)))
    for method in methods:
        cells = [_cell(f, found[method, f.name], best[f.name]) for f in shown]
        lines.append(_line([method, str(len(by_method[method])), *cells]))
    machines = sorted({f"{row['environment']['device']}" for row in rows})
    lines += ["", *_tests(by_method, methods), f"Made on: {'; '.join(machines)}."]
    return "\n".join(lines)


def value(row: Row, figure: Figure) -> float | None:
    """A figure of a row's last evaluation, None where it has none; memory is the row's own."""
    last = row["evaluations"][max(row["evaluations"], key=int)] | {"peak_memory_gb": row.get("peak_memory_gb")}
    numbers = (last.get(key) for key in figure.keys)
    return next((float(x) for x in numbers if x is not None and math.isfinite(x)), None)


def _best(figure: Figure, means: list[float]) -> float:
    return max(means) if figure.higher_is_better else min(means)


def _cell(figure: Figure, values: list[float], best: float) -> str:
    if not values:
        return ""
    mean, decimals = fmean(values), figure.decimals
    text = f"{mean:.{decimals}f}"
    text = f"**{text}**" if mean == best else text
    if len(values) == 1:
        return text
    worst = min(values) if figure.higher_is_better else max(values)
    return f"{text} ± {stdev(values):.{decimals}f} ({worst:.{decimals}f})"


def _tests(by_method: dict[str, list[Row]], methods: list[str]) -> list[str]:
    """Our NMI against each rival's on the same splits and seeds: mean difference, wins, and a paired t-test."""
    figure = next(f for f in FIGURES if f.name == COMPARED)

    def values(method: str) -> dict[tuple[int | None, int], float]:
        return {
            (r["run"]["split"], r["run"]["seed"]): x for r in by_method[method] if (x := value(r, figure)) is not None
        }

    lines = []
    ours = values(OURS) if OURS in by_method else {}
    for method in methods:
        theirs = values(method)
        pairs = [(ours[key], theirs[key]) for key in sorted(ours, key=str) if key in theirs]
        if method == OURS or not pairs:
            continue
        gain, wins = fmean(a - b for a, b in pairs), sum(a > b for a, b in pairs)
        sure = ""
        if len(pairs) >= FEWEST_PAIRS and len({a - b for a, b in pairs}) > 1:
            sure = f", p = {ttest_rel(*zip(*pairs, strict=True)).pvalue:.2g} (paired t-test, two-sided)"
        lines.append(f"{COMPARED} against {method}: {gain:+.3f}, better in {wins} of {len(pairs)}{sure}.")
    return [*lines, ""] if lines else []


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
