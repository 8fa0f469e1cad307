"""Many steps: case 24."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from faults import Result, children, hooks

BATCH, EPOCH = 16, 73  # steps an epoch, of the digits of split 1
GROWTH = (
    6 * 1024
)  # KiB that resident memory may grow by after the warm-up: some 4 MiB are taken once, at times after it


def many_steps(count: int, folder: Path) -> Result:
    """`count` steps with checkpoints, groupings and rows: memory, open files and threads after the first fifth."""
    result = Result()
    run, log = folder / "run", folder / "resources"
    epochs = -(-count // EPOCH)
    argv = [*children.TINY, "--batch-size", str(BATCH), "--epochs", str(epochs), "--eval-every", str(epochs)]
    argv += ["--save-every", str(max(epochs // 40, 1)), "--run-dir", str(run)]
    child = children.start(argv, folder / "log", partial(hooks.watch_resources, log, max(count // 100, 1)))
    ended = child.wait(60 + count * 0.5)
    if ended.code != 0:
        result.count(ended.complaint(0))
        return result
    rows = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    steps = rows[-1][0]
    warm = max(1, len(rows) // 5)
    before, after = rows[: warm + 1], rows[warm + 1 :]
    for column, name, room in ((1, "KiB resident", GROWTH), (2, "open files", 0), (3, "threads", 0)):
        most, first = max(row[column] for row in after), max(row[column] for row in before)
        result.count(most > first + room and f"{name} grew from {first:,} to {most:,}")
    resident = [row[1] / 1024 for row in after]
    result.note = (
        f"resident memory, open files and threads over {steps:,} steps; after step {rows[warm][0]:,} resident memory "
        f"between {min(resident):.1f} and {max(resident):.1f} MiB, {rows[-1][2]} files, {rows[-1][3]} threads"
    )
    return result
