"""How long the rest of a sweep will take, from the runs that are finished."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fastgan.errors import ConfigError
from fastgan.sweep.results import RunKey, read_rows
from fastgan.text import in_time


def seconds(rows: Iterable[dict[str, Any]], left: Sequence[RunKey], device: str | None, at_once: int) -> float | None:
    """Seconds of training that are left, from the mean of each method's finished runs on this device.

    A method without a finished run counts as the mean of all. None where no run is finished, or none is left.

    Args:
        rows: of the finished runs. left: the runs that are not. device: as rows name it. at_once: how many run at a
            time.
    """
    spent: dict[str, list[float]] = {}
    for row in rows:
        if row.get("train_seconds") is not None and row.get("environment", {}).get("device") == device:
            spent.setdefault(row["run"]["method"], []).append(row["train_seconds"])
    if not spent or not left:
        return None
    mean = {method: fmean(times) for method, times in spent.items()}
    of_all = fmean(time for times in spent.values() for time in times)
    return sum(mean.get(key.method, of_all) for key in left) / max(1, min(at_once, len(left)))


def in_words(folder: Path, left: Sequence[RunKey], device: str | None, at_once: int) -> str:
    """The same of a results folder in words, such as "about 3.2 h of training left"; empty where nothing is known.

    Nothing either where a row is damaged: who reads the folder next is told, and the runs go on.
    """
    try:
        found = seconds(read_rows(folder), left, device, at_once)
    except ConfigError:
        return ""
    return "" if found is None else f"about {in_time(found)} of training left"
