"""The cases, each with how often it is tried in the short version (`make test`) and in the long one (`make faults`)."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from faults import (
    Result,
    corruption,
    disk,
    divergence,
    early,
    endurance,
    fuzz,
    kills,
    mistakes,
    mnist_files,
    owners,
    pictures,
    ranks,
    resuming,
)

FUZZED = (200, 10_000)  # inputs of each reader
FUZZ = "fuzz "  # how the names of their cases begin
IN_MEMORY = Path("/dev/shm")  # where a file that is synced waits for no disk


@dataclass(frozen=True)
class Case:
    """A number, or the name of a reader that is fuzzed; what is done; the function; tries in short and at length."""

    name: str
    done: str
    run: Callable[[int, Path], Result]
    short: int
    long: int


CASES = (
    Case("1", "SIGKILL at any moment, half inside a save", kills.killed, 4, 200),
    Case("2", "ended within a save, before each of its calls", kills.ended_within_a_save, 40, 40),
    Case("3", "SIGTERM and Ctrl-C while training", kills.told_to_stop, 3, 24),
    Case("3b", "SIGTERM and Ctrl-C before the first step", early.told_to_stop, 8, 32),
    Case("3r", "SIGTERM and Ctrl-C to ranks of one run", ranks.told_to_stop, 2, 6),
    Case("3s", "SIGTERM and Ctrl-C to ranks before the first step", ranks.told_early, 2, 6),
    Case("4", "second signal inside the save", kills.stopped_twice, 1, 12),
    Case("5", "disk full", disk.full_disk, 4, 24),
    Case("6", "run folder not writable", disk.unwritable, 6, 12),
    Case("7", "newest checkpoint cut, empty, missing a file", corruption.damaged, 15, 60),
    Case("8", "single bit flips", corruption.flipped, 60, 200),
    Case("9", "pickle in place of weights", corruption.hostile, 4, 12),
    Case("10", "resume with other settings", resuming.other_settings, 6, 36),
    Case("11", "resume position", resuming.position, 4, 36),
    Case("12", "NaN or infinite loss", divergence.not_finite, 3, 21),
    Case("13", "float16 overflow", divergence.overflow, 2, 10),
    Case("14", "empty, text, truncated images", pictures.damaged, 6, 60),
    Case("15", "RGBA, palette, grey, CMYK, 16 bits", pictures.modes, 8, 80),
    Case("16", "decompression bombs", pictures.bombs, 6, 12),
    Case("17", "mistakes on the command line", mistakes.refused, 28, 31),
    Case("18", "damaged idx files, labels that do not match", mnist_files.damaged, 40, 400),
    Case("19", "archives that lead elsewhere", mnist_files.archives, 1, 1),
    Case("20", "a rank killed or stalled", ranks.lost_rank, 2, 16),
    Case("21", "gradient scale over ranks", ranks.gradient_scale, 2, 8),
    Case("22", "repeated randomness", resuming.repeats, 3, 3),
    Case("23", "MNIST out of reach", mnist_files.out_of_reach, 5, 10),
    Case("24", "many steps", endurance.many_steps, 500, 10_000),
    Case("25", "two processes, one run folder", owners.twice, 6, 36),
    Case("26", "resume on other images of the same number", owners.other_images, 3, 12),
    Case("27", "outputs inside the images", owners.outputs_inside, 1, 3),
    *(Case(f"{FUZZ}{name}", target.done, target.run, *FUZZED) for name, target in fuzz.TARGETS.items()),
)


def tried(case: Case, *, long: bool) -> Result:
    """Run a case in a folder of its own, which is removed."""
    in_memory = case.name.startswith(FUZZ) and os.access(IN_MEMORY, os.W_OK)
    place = Path(tempfile.mkdtemp(prefix="fastgan-faults-", dir=IN_MEMORY if in_memory else None))
    try:
        inner = place / "case"
        inner.mkdir()
        return case.run(case.long if long else case.short, inner)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def row(case: Case, result: Result, seconds: float) -> str:
    """A line of the table, with the note and what was lost below it."""
    line = f"{case.name:<18} {case.done:<47} {result.tried:>6,} {result.survived:>8,} {len(result.lost):>5}"
    line += f" {seconds:>6.0f}"
    below = [result.note] if result.note else []
    below += [f"LOST: {' '.join(lost.split())[:600]}" for lost in result.lost[:5]]
    indent = " " * 19
    wrapped = [textwrap.fill(text, 118, initial_indent=indent, subsequent_indent=indent) for text in below]
    return "\n".join([line, *wrapped])


HEADER = f"{'case':<18} {'what was done':<47} {'tried':>6} {'survived':>8} {'lost':>5} {'s':>6}"


def print_table(cases: Iterable[Case], *, long: bool) -> tuple[list[str], int]:
    """Run the cases, a row printed as each ends; the table's lines, and how many tries were lost."""
    lines, lost = [HEADER], 0
    print(HEADER, flush=True)
    for case in cases:
        begin = time.monotonic()
        try:
            result = tried(case, long=long)
        except Exception as error:  # noqa: BLE001 - the other cases are to be tried all the same
            result = Result(tried=1, lost=[f"the case itself failed: {type(error).__name__}: {error}"])
        lines.append(row(case, result, time.monotonic() - begin))
        lost += len(result.lost)
        print(lines[-1], flush=True)
    return lines, lost
