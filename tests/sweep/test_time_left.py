"""The time that a sweep has left, against figures worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgan.sweep import time_left
from fastgan.sweep.results import Results, RunKey

EPYC = "AMD EPYC (2 threads)"


def _row(method: str, seconds: float | None, device: str = EPYC) -> dict[str, Any]:
    return {"run": {"method": method}, "train_seconds": seconds, "environment": {"device": device}}


ROWS = [_row("elastic", 100), _row("elastic", 300), _row("uniform", 50), _row("uniform", 7, "NVIDIA H200")]
ELASTIC, UNIFORM, OTHER = (RunKey(method, 9, 0) for method in ("elastic", "uniform", "gumbel-softmax"))


@pytest.mark.parametrize(
    ("left", "at_once", "expected"),
    [
        ([ELASTIC], 1, 200.0),
        ([ELASTIC, UNIFORM], 1, 250.0),
        ([ELASTIC, UNIFORM], 2, 125.0),
        ([ELASTIC], 4, 200.0),  # one run cannot be shared out
        ([OTHER], 1, 150.0),  # the mean of 100, 300 and 50: no run of it is finished
        ([], 1, None),
    ],
)
def test_means_of_each_method_on_this_device(left: list[RunKey], at_once: int, expected: float | None) -> None:
    assert time_left.seconds(ROWS, left, EPYC, at_once) == expected


def test_nothing_is_claimed_of_another_device_or_without_times() -> None:
    assert time_left.seconds(ROWS, [ELASTIC], "another", 1) is None
    assert time_left.seconds([_row("elastic", None)], [ELASTIC], EPYC, 1) is None


def test_in_words_from_a_results_folder(tmp_path: Path) -> None:
    found = Results(tmp_path, dataset="mnist", recipe="paper", epochs=20)
    assert time_left.in_words(tmp_path, [UNIFORM], EPYC, 1) == ""
    row = {"evaluations": {"20": {"nmi": 0.5}}, "train_seconds": 7200.0, "environment": {"device": EPYC}}
    found.write(RunKey("elastic", 1, 0), row)
    assert time_left.in_words(tmp_path, [UNIFORM, ELASTIC], EPYC, 1) == "about 4.0 h of training left"
    (tmp_path / "rows" / "elastic-split02-seed0.json").write_text("{", encoding="utf-8")
    assert time_left.in_words(tmp_path, [UNIFORM], EPYC, 1) == "", "a damaged row does not end the sweep"
