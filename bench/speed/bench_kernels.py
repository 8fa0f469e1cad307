"""Each kernel, forward and backward, beside its specification, what torch.compile makes of that, and its rivals.

    pytest bench/speed/bench_kernels.py [--save-results]

The rows are those of bench/kernel_rows.py: a row of some precision is compared with ours of the same. A rival that is
not installed, or fails, is left out with a word. On a GPU the compiled rows of all ops come after those that need no
compiler, and those of libraries, which take seconds each, last. A table is written after each size, so that an
interruption loses little. No figure without green twins.

light: the larger of the time that a copy takes for the bytes that must be read and written, and that products of the
row's precision take for the FLOP; a GPU's rates are measured first. "tf32" is what float16 products take, if less.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.conftest import Results
from bench.kernel_pool import Pool
from bench.kernel_rows import CUDA, D, Row, rows
from bench.measure import machine, slug
from bench.rows import ROOT
from bench.timing import Timing

GUMBEL_SIZES = (
    ((64, 10), (4096, 128), (4096, 1000), (1_000_000, 128)) if CUDA else ((64, 10), (4096, 128), (65_536, 16))
)
NT_XENT_SIZES = (64, 256, 1024, 4096, 16_384, 32_768) if CUDA else (64, 256, 1024, 4096)
# The paper's 13,342,348, as a multiple of 16: the gradient of one weight of any other size would be copied.
ADAM_SIZES = (13_342_352, 100_000_000) if CUDA else (13_342_352,)
ALONE = 4096  # images beyond which rows of NT-Xent have the device's memory to themselves
OPS = ("gumbel_softmax", "nt_xent", "adam")
# On a GPU compilers and libraries take most of the time.
PHASES = ("rows that need no compiler", "compiled rows", "rows of libraries") if CUDA else ("all rows",)
Light = dict[str, Any]


@pytest.fixture(scope="session")
def kernels_agree() -> None:
    """The kernels' tests pass, or there are no figures; bench/gpu/stages.py says where they just have."""
    if os.environ.get("FASTGAN_AGREED") == "1":
        return
    command = [sys.executable, "-m", "pytest", "tests/kernels", "-q", "-x", "-k", "not philox and not state"]
    command += ["-m", "gpu"] if CUDA else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):
        pytest.fail(f"no figures, since {' '.join(command[1:])} fails:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


@pytest.fixture(scope="session")
def pool(kernels_agree: None) -> Iterator[Pool]:
    found = Pool()
    yield found
    found.close()


@pytest.fixture(scope="session")
def light(pool: Pool) -> Light:
    """What a GPU can do, measured once; or why that is unknown."""
    if not CUDA:
        return {"error": "what others do on a CPU decides it"}
    pool.start(["ours", "torch"])
    return pool.ask("ours", light=True)


@dataclass
class Size:
    """A part of a table: one size's rows, and the work that it asks for, counted from the algorithm."""

    title: str
    size: tuple[int, ...]
    read_and_written: float
    """Bytes."""
    flop: float = 0.0
    alone: bool = False
    """The device's memory may not hold all rows at a time."""
    timings: dict[str, Timing] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def light_us(self, light: Light, row: Row) -> float | None:
        """Microseconds in which the device could do the work, at the row's precision."""
        if "error" in light:
            return None
        products = light["products"]
        rate = max(products[row.precision], products.get("fp16", 0.0) if row.precision == "tf32" else 0.0)
        return 1e6 * max(self.read_and_written / light["copy"], self.flop / rate)


def _line(row: Row, size: Size, light: Light) -> str:
    timing = size.timings[row.name]
    rate, unit = (size.flop, "TFLOP/s") if size.flop else (size.read_and_written * 1e3, "GB/s")
    rate *= 1e-6 / timing.median_us
    ours, fastest = size.timings.get(row.ours), size.light_us(light, row)
    beside = "-" if ours is None else f"{timing.median_us / ours.median_us:.2f}"
    above = "-" if fastest is None else f"{timing.median_us / fastest:.2f}"
    memory = "-" if timing.peak_mib is None else f"{timing.peak_mib:.1f}"
    return (
        f"  {row.name:30}{timing.median_us:12.1f}{timing.p20_us:12.1f}{timing.p80_us:12.1f}{beside:>9}{above:>10}"
        f"{rate:10.3f} {unit:8}{memory:>10}" + ("" if timing.captured or not CUDA else "  eager")
    )


HEAD = (
    f"  {'':30}{'median us':>12}{'p20':>12}{'p80':>12}{'x ours':>9}{'x light':>10}{'rate':>10} {'':8}{'peak MiB':>10}"
)


def _said(light: Light) -> str:
    if "error" in light:
        return f"light: not measured: {light['error']}"
    products = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in light["products"].items())
    return f"light: a copy {light['copy'] / 1e9:,.0f} GB/s; products, TFLOP/s: {products}"


def _report(op: str, in_order: list[Row], sizes: list[Size], absent: list[str], light: Light, results: Results) -> None:
    """Keep the tables so far: a call for each size, so that what has been timed outlasts an interruption."""
    about = machine()
    lines, values = [], {}
    for size in sizes:
        if not size.timings and not size.failed:
            continue
        timed = [row for row in in_order if row.name in size.timings]
        lines += [size.title, HEAD, *(_line(row, size, light) for row in timed)]
        lines += [f"  left out: {name}: {why}" for name, why in size.failed.items()]
        values[size.title] = {
            "rows": {row.name: vars(size.timings[row.name]) | {"light_us": size.light_us(light, row)} for row in timed},
            "left_out": size.failed,
            "bytes": size.read_and_written,
            "flop": size.flop,
        }
    lines += [f"not installed, left out: {', '.join(absent)}"] if absent else []
    if not CUDA:
        lines.append("left out, since they need CUDA: the Triton kernels (bf16, tf32), inf_cl, and larger sizes")
    lines += ["'eager': timed with its launches, since it cannot be captured in a graph"] if CUDA else []
    lines += [_said(light), *(f"{key}: {value}" for key, value in about.items())]
    kept = {"about": about, "light": light, "tables": values, "absent": absent}
    results.add(f"{op}-{slug(about)}", "\n".join([op, *lines]), kept)


def _time(op: str, phase: str, sizes: list[Size], pool: Pool, light: Light, results: Results) -> None:
    """Time the rows of a phase; fails at the end if ours did."""
    in_order = rows(op)
    absent = [row.needs for row in in_order if row.needs and importlib.util.find_spec(row.needs) is None]
    in_order = [row for row in in_order if row.needs not in absent]
    timed = [row for row in in_order if phase in ("all rows", row.phase)]
    pool.start(list(dict.fromkeys(row.process for row in timed)))
    for size in sizes:
        fitting = [row for row in timed if row.most is None or size.size[0] <= row.most]
        groups = [[row] for row in fitting] if size.alone else [fitting]
        for group in filter(None, groups):
            timings, failed = pool.compare(op, group, size.size)
            size.timings |= timings
            size.failed |= failed
            _report(op, in_order, sizes, absent, light, results)
    ours = {f"{size.title}: {name}": why for size in sizes for name, why in size.failed.items() if "ours" in name}
    assert not ours, ours


def sizes_of(op: str) -> list[Size]:
    """The sizes of an op's table."""
    if op == "gumbel_softmax":  # forward writes the sample, backward reads it and its gradient
        return [
            Size(f"{batch} x {classes}, forward and backward", (batch, classes), 3 * 4.0 * batch * classes)
            for batch, classes in GUMBEL_SIZES
        ]
    if op == "nt_xent":  # reads both views, writes their gradients; three products of 2N x D by D x 2N
        return [
            Size(
                f"N = {count}, D = {D}, forward and backward",
                (count,),
                16.0 * count * D,
                6.0 * (2 * count) ** 2 * D,
                alone=count > ALONE,
            )
            for count in NT_XENT_SIZES
        ]
    # Reads weights, both moments and gradients, where they lie; writes weights and moments: 28 bytes a parameter.
    return [Size(f"{count:,} parameters", (count,), 28.0 * count) for count in ADAM_SIZES]


@pytest.fixture(scope="session")
def tables() -> dict[str, list[Size]]:
    """What has been timed, by op."""
    return {op: sizes_of(op) for op in OPS}


@pytest.mark.parametrize(("phase", "op"), [(phase, op) for phase in PHASES for op in OPS])
def test_kernel(op: str, phase: str, tables: dict[str, list[Size]], pool: Pool, light: Light, results: Results) -> None:
    if phase != "all rows" and phase not in {row.phase for row in rows(op)}:
        pytest.skip("none")
    _time(op, phase, tables[op], pool, light, results)
