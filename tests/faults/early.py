"""Runs that are told to stop before their first step: case 3b."""

from __future__ import annotations

import shutil
import signal
from functools import partial
from pathlib import Path

from faults import Result, children, hooks

# Where the signal comes, and whether the run's folder has its settings by then.
PLACES = (("reading", False), ("building", False), ("judge", True), ("first steps", True))


def told_to_stop(count: int, folder: Path) -> Result:
    """A signal at each place, to a new run and to a resumed one; the run then ends as if nothing had happened."""
    whole, result = children.uninterrupted(), Result()
    for number in range(count):
        (place, begun), sent = PLACES[number % len(PLACES)], (signal.SIGTERM, signal.SIGINT)[number % 2]
        sent = sent if number < len(PLACES) else (signal.SIGINT, signal.SIGTERM)[number % 2]
        run, resumed = folder / f"run-{number}", number % 8 >= 6
        argv = [*children.TINY, "--run-dir", str(run)]
        log = run.with_suffix(".log")
        if resumed:
            children.run(argv, log, partial(hooks.stop_before, children.EPOCH + 2, signal.SIGTERM))
            argv = ["--resume", "--run-dir", str(run)]
        ended = children.run(argv, log, partial(hooks.stop_at, place, sent))
        how = f"--resume --run-dir {run}" if begun or resumed else "the same command starts again"
        wrong = ended.complaint(128 + sent, "stopped; ", how)
        if begun or resumed:
            again = children.resume(run).complaint(0)
        else:
            again = "left a folder behind" if run.exists() else children.run(argv, log).complaint(0)
        result.count(wrong, again, children.differs(run, whole))
        shutil.rmtree(run, ignore_errors=True)
    result.note = (
        "while images are read, networks built, the judge trained, the first steps compiled; one in four resumed"
    )
    return result
