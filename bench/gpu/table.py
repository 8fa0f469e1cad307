"""All 50 splits of one variant on a GPU, and their table: `python -m bench.gpu.table [METHOD [RUNS_AT_ONCE]]`. No tyro.

Rows gather in a folder beside the tree's results (a second call trains what is left), and are kept as one file.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any

from bench.measure import machine, slug
from bench.process import said
from bench.rows import DEVICE, ROOT, load_images
from fastgan.config.commands import ReproduceConfig
from fastgan.reproduce import reproduce
from fastgan.sweep.results import read_rows
from fastgan.sweep.table import write_table

SPLITS = "1-50"


def main(method: str, runs_at_once: int = 1) -> int:
    """Train what is left of the 50 runs of 20 epochs, by the paper's recipe in bfloat16, and keep rows and table."""
    config, _, _ = load_images()
    about = machine()
    name = method if runs_at_once == 1 else f"{method}-{runs_at_once}-at-once"
    folder = ROOT / "runs" / f"paper-{name}-{slug(about)}"
    begin = time.perf_counter()
    how: dict[str, Any] = {"data_dir": config.data_dir, "amp": True, "compile": True, "runs_at_once": runs_at_once}
    asked = ReproduceConfig(splits=SPLITS, methods=method, recipe="paper", results=folder, **how)
    failed = []
    try:
        code = reproduce(asked)
    except Exception as error:  # noqa: BLE001 - whatever it was: the rows before it are a table too
        traceback.print_exc()
        code, failed = 1, [f"failed, and the same command goes on: {said(error)}"]
    seconds = time.perf_counter() - begin
    rows = read_rows(folder) if (folder / "sweep.json").exists() else []
    if not rows:
        print("\n".join([*failed, "no row yet"]))
        return code or 1
    stem = ROOT / "bench" / "results" / f"table-{name}-{slug(about)}"
    table = f"{write_table(folder)}\n\nthis call: {seconds:.1f} s of wall time, compilation and evaluations included"
    print("\n".join([table, *failed]))
    lines = [table, *failed, f"{len(rows)} of 50 runs", *(f"{key}: {value}" for key, value in about.items())]
    stem.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    stem.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return code


if __name__ == "__main__":
    if DEVICE.type != "cuda":
        sys.exit("needs a CUDA GPU")
    given = sys.argv[1:]
    sys.exit(main(given[0] if given else "elastic", int(given[1]) if len(given) > 1 else 1))
