"""PYTHONPATH=tests python -m faults [--long] [--save] [--only CASE ...]: the table of faults survived."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

# One thread, as in the tests: set before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

from bench.measure import machine, slug
from faults import table

RESULTS = Path(__file__).parents[2] / "bench" / "results"


def main() -> int:
    """Print the table; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="PYTHONPATH=tests python -m faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="200 kills, 200 bit flips, 10,000 inputs a reader, ...")
    parser.add_argument("--save", action="store_true", help="write bench/results/faults-<machine>.txt as well")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases: numbers, or the names of readers")
    asked = parser.parse_args()
    known = {case.name.removeprefix(table.FUZZ): case for case in table.CASES}
    if unknown := set(asked.only or ()) - set(known):
        parser.error(f"--only {' '.join(sorted(unknown))}: no such case; there are {', '.join(known)}")
    if asked.save and asked.only:
        parser.error("--save keeps the whole table; leave --only out")
    with tempfile.TemporaryDirectory(prefix="fastgan-faults-cache-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        cases = [known[name] for name in asked.only] if asked.only else table.CASES
        lines, lost = table.print_table(cases, long=asked.long)
    about = machine()
    command = " ".join(["PYTHONPATH=tests python -m faults", *sys.argv[1:]])
    told = [command, "", *lines, "", *(f"{key}: {value}" for key, value in about.items())]
    if asked.save:
        path = RESULTS / f"faults-{slug(about)}.txt"
        path.write_text("\n".join(told) + "\n", encoding="utf-8")
        print(f"kept in {path}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
