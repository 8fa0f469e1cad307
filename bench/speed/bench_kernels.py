"""Each kernel, forward and backward, beside its specification, what torch.compile makes of that, and its rivals.

    pytest bench/speed/bench_kernels.py [--save-results]

ours: what `kernels` runs on this device (Triton on CUDA, the fast plain version on a CPU). specification: reference.py
as it is; compiled: under torch.compile. Rivals: F.gumbel_softmax, lightly, pytorch-metric-learning, inf_cl, torch's
fused Adam; one that is not installed is left out with a word. No figure without green twins.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from bench.conftest import Results
from bench.measure import machine, slug
from bench.rows import DEVICE, ROOT
from bench.timing import Timing, compare

CUDA = DEVICE.type == "cuda"
GUMBEL_SIZES = (
    ((64, 10), (4096, 128), (4096, 1000), (1_000_000, 128)) if CUDA else ((64, 10), (4096, 128), (65_536, 16))
)
NT_XENT_SIZES = (64, 256, 1024, 4096, 16_384, 32_768) if CUDA else (64, 256, 1024, 4096)
# The paper's 13,342,348, as a multiple of 16: the gradient of one weight of any other size would be copied.
ADAM_SIZES = (13_342_352, 100_000_000) if CUDA else (13_342_352,)
D = 128
PLAIN_MOST = 16_384  # images beyond which the plain version's similarity matrices are not worth their memory
Candidates = dict[str, Callable[[], object]]


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


def _installed(name: str, absent: list[str]) -> bool:
    if importlib.util.find_spec(name) is None:
        absent.append(name)
        return False
    return True


def _through(function: Callable[..., Tensor], *leaves: Tensor, upstream: Tensor | None = None) -> Callable[[], object]:
    """Forward and backward of a function of leaves, which are differentiated."""
    leaves = tuple(leaf.detach().clone().requires_grad_() for leaf in leaves)

    def call() -> object:
        return torch.autograd.grad(function(*leaves), leaves, upstream)

    return call


def gumbel_candidates(rows: int, classes: int) -> Candidates:
    """The shared prior, temperature 0.1."""
    from kernels.gumbel_softmax import reference

    logits, upstream = torch.randn(classes, device=DEVICE), torch.randn(rows, classes, device=DEVICE)
    counters: dict[str, Any] = {"seed": torch.tensor(1, device=DEVICE), "offset": torch.tensor(2, device=DEVICE)}

    def ours(logits: Tensor) -> Tensor:
        return kernels.gumbel_softmax(logits, temperature=0.1, batch_size=rows, **counters)[0]

    def specification(logits: Tensor) -> Tensor:
        return reference.gumbel_softmax(logits, temperature=0.1, batch_size=rows, **counters)[0]

    def torchs(logits: Tensor) -> Tensor:
        return F.gumbel_softmax(logits.expand(rows, classes), tau=0.1)

    functions = {"ours": ours, "specification": specification, "F.gumbel_softmax": torchs}
    functions["specification compiled"] = torch.compile(specification, dynamic=False)
    functions["F.gumbel_softmax compiled"] = torch.compile(torchs, dynamic=False)
    return {name: _through(function, logits, upstream=upstream) for name, function in functions.items()}


def nt_xent_candidates(count: int, absent: list[str]) -> Candidates:
    """Temperature 0.5, D = 128, float32 embeddings."""
    from kernels.nt_xent import reference

    views = torch.randn(2, count, D, device=DEVICE)

    def plain(a: Tensor, b: Tensor) -> Tensor:
        return reference.nt_xent(a, b, temperature=0.5)

    found: Candidates = {}
    for precision in ("bf16", "tf32", "ieee") if CUDA else ("ieee",):
        name = f"ours {precision}" if CUDA else "ours"

        def ours(a: Tensor, b: Tensor, precision: Any = precision) -> Tensor:
            return kernels.nt_xent(a, b, temperature=0.5, precision=precision)

        found[name] = _through(ours, *views)
    if count <= PLAIN_MOST:
        found["specification"] = _through(plain, *views)
        found["specification compiled"] = _through(torch.compile(plain, dynamic=False), *views)
    if count <= PLAIN_MOST and _installed("lightly", absent):
        from lightly.loss import NTXentLoss

        found["lightly"] = _through(NTXentLoss(temperature=0.5), *views)
    if count <= 256 and _installed("pytorch_metric_learning", absent):  # its memory grows with the third power
        from pytorch_metric_learning.losses import NTXentLoss as MetricNTXent
        from pytorch_metric_learning.losses import SelfSupervisedLoss

        found["pytorch-metric-learning"] = _through(SelfSupervisedLoss(MetricNTXent(temperature=0.5)), *views)
    if CUDA and _installed("inf_cl", absent):
        from inf_cl import cal_flash_loss

        def one_direction_twice(a: Tensor, b: Tensor) -> Tensor:  # another loss: a row for time and memory only
            scale = torch.tensor(2.0, device=DEVICE)
            given: dict[str, Any] = {"scale": scale, "head_dim": D}  # its third positional argument is the labels
            return (cal_flash_loss(a, b, **given) + cal_flash_loss(b, a, **given)).mean()

        found["inf_cl (another loss)"] = _through(one_direction_twice, *views)
    return found


def adam_candidates(count: int) -> Candidates:
    """One step on `count` parameters in float32, and with bfloat16 copies and gradients."""
    found: Candidates = {}
    for shadow in (None, torch.bfloat16):
        weight = torch.nn.Parameter(torch.randn(count, device=DEVICE))
        optimizer = kernels.FusedAdam([weight], lr=1e-4, shadow_dtype=shadow)
        leaf = weight if shadow is None else optimizer.shadow_parameters()[weight]
        leaf.grad = torch.randn_like(leaf)
        found["ours" if shadow is None else "ours, bfloat16 copies"] = optimizer.step
    weight = torch.nn.Parameter(torch.randn(count, device=DEVICE))
    weight.grad = torch.randn_like(weight)
    options: dict[str, Any] = {"fused": True} | ({"capturable": True} if CUDA else {})
    found["torch.optim.Adam(fused=True)"] = torch.optim.Adam([weight], lr=1e-4, **options).step
    return found


def _rows(timings: dict[str, Timing], work: float, unit: str) -> list[str]:
    """Lines of a table; `work` is bytes or FLOP a call, counted from the algorithm."""
    lines = []
    for name, timing in timings.items():
        rate = work / timing.median_us * 1e-6 * (1e3 if unit == "GB/s" else 1.0)
        memory = "-" if timing.peak_mib is None else f"{timing.peak_mib:.1f}"
        times = timings["ours" if "ours" in timings else "ours tf32"].median_us
        lines.append(
            f"  {name:30}{timing.median_us:12.1f}{timing.p20_us:12.1f}{timing.p80_us:12.1f}"
            f"{timing.median_us / times:9.2f}{rate:10.3f} {unit:8}{memory:>10}"
            + ("" if timing.captured or not CUDA else "  eager")
        )
    return lines


HEAD = f"  {'':30}{'median us':>12}{'p20':>12}{'p80':>12}{'x ours':>9}{'rate':>10} {'':8}{'peak MiB':>10}"


def _report(
    name: str, tables: dict[str, tuple[dict[str, Timing], float, str]], absent: list[str], results: Results
) -> None:
    """Keep the tables so far: a call for each size, so that what has been timed outlasts an interruption."""
    about = machine()
    lines, values = [], {}
    for title, (timings, work, unit) in tables.items():
        lines += [title, HEAD, *_rows(timings, work, unit)]
        values[title] = {row: vars(timing) for row, timing in timings.items()} | {"work": work, "unit": unit}
    lines += [f"not installed, left out: {', '.join(sorted(set(absent)))}"] if absent else []
    if not CUDA:
        lines.append("left out, since they need CUDA: the Triton kernels (bf16, tf32), inf_cl, and larger sizes")
    lines += ["'eager': timed with its launches, since it cannot be captured in a graph"] if CUDA else []
    lines += [f"{key}: {value}" for key, value in about.items()]
    results.add(
        f"{name}-{slug(about)}", "\n".join([name, *lines]), {"about": about, "tables": values, "absent": absent}
    )


def test_gumbel_softmax(kernels_agree: None, results: Results) -> None:
    tables = {}
    for rows, classes in GUMBEL_SIZES:
        # Forward writes the sample, backward reads it and its gradient.
        work = 3 * 4.0 * rows * classes
        tables[f"{rows} x {classes}, forward and backward"] = (compare(gumbel_candidates(rows, classes)), work, "GB/s")
        _report("gumbel_softmax", tables, [], results)


def test_nt_xent(kernels_agree: None, results: Results) -> None:
    tables, absent = {}, list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rival's affair
        for count in NT_XENT_SIZES:
            work = 6.0 * (2 * count) ** 2 * D
            found = compare(nt_xent_candidates(count, absent))
            tables[f"N = {count}, D = {D}, forward and backward"] = (found, work, "TFLOP/s")
            _report("nt_xent", tables, absent, results)


def test_adam(kernels_agree: None, results: Results) -> None:
    # Reads weights, both moments and gradients, where they lie; writes weights and moments: 28 bytes a parameter.
    tables = {}
    for count in ADAM_SIZES:
        tables[f"{count:,} parameters"] = (compare(adam_candidates(count)), 28.0 * count, "GB/s")
        _report("adam", tables, [], results)
