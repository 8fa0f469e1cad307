"""Statistics of a sweep's runs: means, standard deviations and paired gains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from fastgan.sweep.methods import METHOD_NAMES, display_name


@dataclass(frozen=True)
class Merit:
    """A figure of merit: its name, whether higher is better, and the number of decimals shown."""

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


@dataclass(frozen=True)
class Interval:
    """A confidence interval of one figure's mean over seeds: mean ± half_width, of n seeds."""

    mean: float
    half_width: float
    n: int


def summarise(rows: Iterable[Row]) -> dict[tuple[str, int], dict[str, Cell]]:
    """The figures that at least one run has, for every (method, epoch), in the table's order."""
    runs = checked_rows(rows)
    summary: dict[tuple[str, int], dict[str, Cell]] = {}
    for method in methods_of(runs):
        own = [row for row in runs if row["run"]["method"] == method]
        for epoch in sorted({epoch for row in own for epoch in epochs_of(row)}):
            cells = summary[method, epoch] = {}
            for key, merit in MERITS.items():
                values = [value for row in own if (value := figure_of(row, epoch, key)) is not None]
                if values:
                    cells[key] = cell_of(values, merit)
    return summary


def cell_of(values: list[float], merit: Merit) -> Cell:
    """One figure over the runs that have it, at least one."""
    worst = min(values) if merit.higher_is_better else max(values)
    return Cell(fmean(values), _std(values), worst, len(values))


def gains(
    rows: Iterable[Row], method: str = "elastic", over: str = "uniform", epoch: int | None = None
) -> dict[str, Gain]:
    """Paired differences, `method` minus `over`, on every (split, seed) that both have; empty without pairs.

    Args:
        epoch: left out, the last epoch that both runs of at least one pair have.
    """
    pairs = pairs_of(checked_rows(rows), method, over)
    if epoch is None:
        epoch = _last_common_epoch(pairs)
    if epoch is None:
        return {}
    found = {}
    for key, merit in MERITS.items():
        both = [(figure_of(mine, epoch, key), figure_of(other, epoch, key)) for mine, other in pairs]
        differences = [a - b for a, b in both if a is not None and b is not None]
        if differences:
            better = sum(d > 0 if merit.higher_is_better else d < 0 for d in differences)
            found[key] = Gain(fmean(differences), _std(differences), len(differences), better)
    return found


CONFIDENCE = 0.95


def intervals(rows: Iterable[Row]) -> list[tuple[str, int, dict[str, Interval]]]:
    """(method, last epoch, intervals of its figures) of every method that was run with two seeds or more.

    A seed's value is its mean over the splits on which every seed of the method has the figure, so that seeds do not
    differ by their splits. Student's t with n - 1 degrees of freedom, two-sided, at CONFIDENCE.
    """
    runs, found = checked_rows(rows), []
    for method in methods_of(runs):
        own = [row for row in runs if row["run"]["method"] == method]
        epoch = max((epoch for row in own for epoch in epochs_of(row)), default=0)
        cells = {key: cell for key in MERITS if (cell := _interval(own, epoch, key)) is not None}
        if cells:
            found.append((method, epoch, cells))
    return found


def _interval(own: list[Row], epoch: int, key: str) -> Interval | None:
    """The interval of one figure of a method's runs; None for fewer than two seeds or no split in common."""
    values: dict[int, dict[Any, float]] = {}
    for row in own:
        if (value := figure_of(row, epoch, key)) is not None:
            values.setdefault(row["run"]["seed"], {})[row["run"]["split"]] = value
    shared = set.intersection(*map(set, values.values())) if values else set()
    if len(values) < 2 or not shared:
        return None
    means = [fmean(of_seed[split] for split in shared) for of_seed in values.values()]
    wide = float(student.ppf((1 + CONFIDENCE) / 2, len(means) - 1))
    return Interval(fmean(means), wide * stdev(means) / math.sqrt(len(means)), len(means))


def checked_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows sorted by method, split and seed.

    Raises:
        ValueError: no rows, another format, the same run twice, or runs of different sweeps.
    """
    runs = list(rows)
    if not runs:
        raise ValueError("no runs to tabulate: the sweep has no finished run")
    if other := {repr(row.get("format")) for row in runs} - {"1"}:
        raise ValueError(f"this version reads runs of format 1, not {', '.join(sorted(other))}")
    runs.sort(key=_identity)
    for before, row in zip(runs, runs[1:], strict=False):
        if _identity(before) == _identity(row):
            raise ValueError("method {}, split {}, seed {} occurs twice: keep one".format(*_identity(row)))
    sweeps = sorted({(str(row["run"]["dataset"]), str(row["run"]["recipe"])) for row in runs})
    if len(sweeps) > 1:
        names = ", ".join(f"{dataset} with recipe {recipe}" for dataset, recipe in sweeps)
        raise ValueError(f"runs of different sweeps cannot share a table: {names}")
    return runs


def _identity(row: Row) -> tuple[str, int, int]:
    run = row["run"]
    return run["method"], run["split"], run["seed"]


def methods_of(runs: list[Row]) -> list[str]:
    """The methods of the runs in the table's order: the known ones, then the others by name."""
    known = list(METHOD_NAMES)
    return sorted(
        {row["run"]["method"] for row in runs}, key=lambda m: (known.index(m) if m in known else len(known), m)
    )


def epochs_of(row: Row) -> list[int]:
    """The epochs after which a run was evaluated."""
    return sorted(int(epoch) for epoch in row["evaluations"])


def figure_of(row: Row, epoch: int, key: str) -> float | None:
    """One figure of a run after an epoch; None where it is missing, null or not finite."""
    return _finite(row["evaluations"].get(str(epoch), {}).get(key))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _std(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def pairs_of(runs: list[Row], method: str, over: str) -> list[tuple[Row, Row]]:
    """The runs of both methods with the same split and seed."""
    by_identity = {_identity(row): row for row in runs}
    found = [(row, by_identity.get((over, *_identity(row)[1:]))) for row in runs if row["run"]["method"] == method]
    return [(mine, other) for mine, other in found if other is not None]


def _last_common_epoch(pairs: list[tuple[Row, Row]]) -> int | None:
    return max((epoch for mine, other in pairs for epoch in {*epochs_of(mine)} & {*epochs_of(other)}), default=None)


def compared_with_uniform(runs: list[Row]) -> list[tuple[str, int, dict[str, Gain]]]:
    """(method, last common epoch, gains at that epoch) of every other method that has pairs with uniform."""
    found = []
    for method in methods_of(runs):
        epoch = None if method == "uniform" else _last_common_epoch(pairs_of(runs, method, "uniform"))
        if epoch is not None:
            found.append((method, epoch, gains(runs, method, "uniform", epoch)))
    return found


def mean_times(runs: list[Row]) -> list[tuple[str, float, int, int, str]]:
    """(name, mean seconds, n, epochs, device): one entry for each method, device and length of training."""
    seconds: dict[tuple[str, str, int], list[float]] = {}
    for row in runs:
        value = _finite(row.get("train_seconds"))
        device = row.get("environment", {}).get("device") or "an unknown device"
        if value is not None:
            seconds.setdefault((row["run"]["method"], device, row["run"]["epochs"]), []).append(value)
    order = sorted(seconds, key=lambda key: (methods_of(runs).index(key[0]), key))
    return [(display_name(key[0]), fmean(seconds[key]), len(seconds[key]), key[2], key[1]) for key in order]
