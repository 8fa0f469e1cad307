"""Training steps a second: fastgan against the loop that a reader of the paper would write.

    pytest bench/ [--save-results] [--avx2]

With --avx2 it is measured as on a processor that has AVX2 and nothing wider.

Rows: naive (PIL transforms in a DataLoader with the best of 0, 1 and 2 workers), naive_step (the same on one batch that
stays on the device), ours_fp32, ours_amp and ours_amp_compile (fetching and transforms included). All of them are
timed in turns, each in a process of its own; pytest-benchmark's table repeats the same measurements.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

import pytest

from bench.conftest import Results
from bench.measure import Samples, figures, machine, measure, ratio, slug
from bench.rows import DEVICE, NAMES, WORKERS, load_images
from fastgan.runtime import precision

ROUNDS, STEPS = (5, 100) if DEVICE.type == "cuda" else (5, 8)
WARMUP = 5
COLUMNS = ("median_ms", "p20_ms", "p80_ms", "step_ms", "loading_ms", "images_per_s", "peak_mib", "times")

Measured = tuple[dict[str, Samples], dict[str, dict[str, Any]]]  # of each row: its samples, and what is reported


class ReplayedClock:
    """Hands measured durations to pytest-benchmark: it stands still until it is told how long a step took."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, durations: Iterator[float]) -> None:
        self.now += next(durations)


CLOCK = ReplayedClock()


def _run(names: list[str]) -> tuple[dict[str, Samples], dict[str, Any]]:
    """The samples of each row, and what is to be known about all of them."""
    config, images, kind = load_images()
    about: dict[str, Any] = {"data": kind, "batch_size": config.batch_size, "rounds": ROUNDS, **machine()}
    rows = {name: (name, 0) for name in names if name != "naive"}
    tried = {f"naive {n}": ("naive", n) for n in WORKERS} if "naive" in names else {}
    samples = measure(tried | rows, ROUNDS, STEPS, WARMUP)
    failed = {label: sample.failed for label, sample in samples.items() if sample.failed is not None}
    about |= {"failed": failed} if failed else {}
    fell_back = [sample.about["compile"] for sample in samples.values() if sample.about.get("compile")]
    about |= {"compile": fell_back[0]} if fell_back else {}
    if tried:
        each = [samples.pop(name) for name in tried]
        medians = [math.inf if sample.failed else statistics.median(sample.total) for sample in each]
        best = medians.index(min(medians))
        about |= {"workers": WORKERS[best], "naive_ms_by_workers": [round(1e3 * m, 2) for m in medians]}
        samples = {"naive": each[best], **samples}
    return samples, about


def _table(rows: dict[str, dict[str, Any]], about: dict[str, Any]) -> str:
    lines = [f"{'row':18}" + "".join(f"{column:>13}" for column in COLUMNS)]
    for name, row in rows.items():
        lines.append(f"{name:18}" + "".join(f"{row[c]:13.2f}" if c in row else f"{'-':>13}" for c in COLUMNS))
    if "naive" in rows:
        spread = [f"{name} {row['least']:.2f} to {row['most']:.2f}" for name, row in rows.items() if name != "naive"]
        lines.append(f"times: naive's median over the row's; in single rounds {', '.join(spread)}")
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in about.items())])


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest, twins_agree: None, results: Results) -> Measured:
    """The chosen rows, measured once."""
    chosen = {item.callspec.params.get("row") for item in request.session.items if hasattr(item, "callspec")}
    samples, about = _run([name for name in NAMES if name in chosen])
    chosen_precision = precision.fastest(DEVICE)
    about["amp"] = chosen_precision.name
    if chosen_precision.note:
        about["amp"] += f" ({chosen_precision.note}; rows in bfloat16 are left out: seconds a step)"
    about["peak_mib"] = "of the device" if DEVICE.type == "cuda" else "of the process, torch included, workers not"
    reported: dict[str, dict[str, Any]] = {}
    whole = {name: sample for name, sample in samples.items() if sample.failed is None}
    for name, sample in whole.items():
        reported[name] = figures(sample, about["batch_size"]) | {"peak_mib": sample.about["peak_mib"]}
        if "naive" in whole:
            reported[name] |= ratio(whole["naive"], sample)
    results.add(f"step-{slug(about)}", _table(reported, about), {"about": about, "rows": reported})
    return samples, {name: {**about, **row} for name, row in reported.items()}


@pytest.mark.parametrize("row", NAMES)
@pytest.mark.benchmark(group="step", timer=CLOCK)
def test_step(row: str, benchmark: Any, measured: Measured) -> None:
    samples, reported = measured
    if row not in reported:
        pytest.fail(f"{row}: {samples[row].failed}")
    benchmark.name = row
    benchmark.extra_info.update(reported[row])
    benchmark.pedantic(CLOCK.run, args=(iter(samples[row].total),), rounds=len(samples[row].total))
