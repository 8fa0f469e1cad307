"""The table of the worlds: each method's figures on each data set, and how sure the difference to the best rival is.

A figure is of held-out real images where the data set has them, else of the images trained on; a row's last evaluation
counts. Means are over splits and seeds; a figure that a row lacks leaves it out, and n says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scipy.stats import ttest_rel

from fastgan.errors import ConfigError
from fastgan.sweep import results
from fastgan.sweep.statistics import Cell, Merit, Row, cell_of, epochs_of, figure_of, pairs_of
from fastgan.sweep.table import markdown_table
from fastgan.sweep.worlds import METHODS, OURS, WORLDS


@dataclass(frozen=True)
class Figure(Merit):
    """A column; keys: of a row's last evaluation, in the order of preference."""

    keys: tuple[str, ...] = ()


def _real(name: str) -> tuple[str, ...]:
    return f"held_out_{name}", f"cluster_{name}"


FIGURES = (
    Figure("accuracy", True, keys=_real("accuracy")),
    Figure("macro", True, keys=_real("macro_accuracy")),
    Figure("rarest", True, keys=_real("rarest_recall")),
    Figure("NMI", True, keys=_real("nmi")),
    Figure("AMI", True, keys=_real("ami")),
    Figure("ARI", True, keys=_real("ari")),
    Figure("prior error", False, 4, ("cluster_prior_error",)),
    Figure("share error", False, 4, ("cluster_share_error",)),
    Figure("NMI of samples", True, keys=("nmi",)),
    Figure("ENT", False, keys=("ent",)),
    Figure("Fréchet", False, 2, ("frechet_distance",)),
    Figure("diversity", True, keys=("diversity",)),
    Figure("seconds", False, 0, ("train_seconds",)),
    Figure("GB", False, 1, ("peak_memory_gb",)),
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
    own = {method: [row for row in rows if row["run"]["method"] == method] for method in METHODS}
    methods = [method for method in METHODS if own[method]]
    cells: dict[tuple[str, str], Cell] = {}
    for method in methods:
        for figure in FIGURES:
            values = [x for row in own[method] if (x := value(row, figure)) is not None]
            if values:
                cells[method, figure.name] = cell_of(values, figure)
    shown = [figure for figure in FIGURES if any((method, figure.name) in cells for method in methods)]
    lines = [[m, str(len(own[m])), *(_text(figure, m, cells) for figure in shown)] for m in methods]
    devices = sorted({row["environment"]["device"] for row in rows})
    table = markdown_table(["method", "n", *(figure.name for figure in shown)], lines)
    return "\n\n".join([f"### {WORLDS[name].title}", table, *_tests(rows, methods), f"Made on: {'; '.join(devices)}."])


def value(row: Row, figure: Figure) -> float | None:
    """A figure of a row's last evaluation, None where it has none; memory is kept beside the evaluations."""
    epoch = epochs_of(row)[-1]
    values = (figure_of(row, epoch, key) for key in figure.keys)
    return next((x for x in values if x is not None), row.get(figure.keys[0]))


def _text(figure: Figure, method: str, cells: dict[tuple[str, str], Cell]) -> str:
    """A cell: the mean, bold if no method's is better, with the spread and the worst of several runs."""
    cell = cells.get((method, figure.name))
    if cell is None:
        return ""
    means = [each.mean for (_, name), each in cells.items() if name == figure.name]
    bold = "**" if cell.mean == (max if figure.higher_is_better else min)(means) else ""
    mean, worst = (f"{x:.{figure.decimals}f}" for x in (cell.mean, cell.worst))
    spread = "" if cell.std is None else f" ± {cell.std:.{figure.decimals}f} ({worst})"
    return f"{bold}{mean}{bold}{spread}"


def _tests(rows: list[Row], methods: list[str]) -> list[str]:
    """Our NMI against each rival's on the same splits and seeds: mean difference, wins, and a paired t-test."""
    figure = next(f for f in FIGURES if f.name == COMPARED)
    lines = []
    for method in methods:
        pairs = [(value(ours, figure), value(theirs, figure)) for ours, theirs in pairs_of(rows, OURS, method)]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        if method == OURS or not both:
            continue
        differences = [a - b for a, b in both]
        sure = ""
        if len(both) >= FEWEST_PAIRS and len(set(differences)) > 1:
            sure = f", p = {ttest_rel(*zip(*both, strict=True)).pvalue:.2g} (paired t-test, two-sided)"
        wins = f"better in {sum(d > 0 for d in differences)} of {len(both)}"
        lines.append(f"{COMPARED} against {method}: {fmean(differences):+.3f}, {wins}{sure}.")
    return ["\n".join(lines)] if lines else []
