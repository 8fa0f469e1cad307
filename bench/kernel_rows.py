"""The rows of the kernels' tables: each op of `kernels`, its specification, what torch.compile makes of it, its rivals.

ours: what `kernels` runs on this device (Triton on CUDA, the fast plain version on a CPU). specification: reference.py
as it is. plain: NT-Xent as one would write it, F.cross_entropy of the masked similarities; "bf16" under autocast,
"tf32" under torch.set_float32_matmul_precision("high"), "ieee" under "highest". compiled: under torch.compile.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from bench.timing import DEVICE

CUDA = DEVICE.type == "cuda"
D = 128
PLAIN_MOST = 16_384  # images beyond which the plain version's similarity matrices are not worth their memory
METRIC_MOST = 256  # pytorch-metric-learning's memory grows with the third power
Precision = Literal["bf16", "tf32", "ieee"]
Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One way to compute an op.

    process: rows of one name share a process, and what breaks it; rows of others are made ready at the same time.
    ours: the row that this one is compared with.
    needs: a module that may not be installed.
    most: the first number of the largest size for which the row is worth its memory.
    """

    name: str
    process: str
    build: Callable[..., Call]
    precision: Precision = "ieee"
    ours: str = "ours"
    needs: str | None = None
    most: int | None = None

    @property
    def phase(self) -> str:
        """When a GPU times it, of bench_kernels.PHASES."""
        if self.needs:
            return "rows of libraries"
        return "compiled rows" if self.process.startswith("compiled") else "rows that need no compiler"


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """torch's own float32 products in this precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _through(
    function: Callable[..., Tensor], *leaves: Tensor, upstream: Tensor | None = None, compiled: bool = False
) -> Call:
    """Forward and backward of a function of leaves, which are differentiated."""
    leaves = tuple(leaf.detach().clone().requires_grad_() for leaf in leaves)
    called = torch.compile(function, dynamic=False) if compiled else function

    def call() -> object:
        return torch.autograd.grad(called(*leaves), leaves, upstream)

    return call


def _gumbel(make: Callable[[int, int], Callable[[Tensor], Tensor]], compiled: bool = False) -> Callable[..., Call]:
    """The shared prior, of a function for so many rows and classes."""

    def build(rows: int, classes: int) -> Call:
        function = make(rows, classes)
        logits, upstream = torch.randn(classes, device=DEVICE), torch.randn(rows, classes, device=DEVICE)
        return _through(function, logits, upstream=upstream, compiled=compiled)

    return build


def _by_counters(op: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[int, int], Callable[[Tensor], Tensor]]:
    def make(rows: int, classes: int) -> Callable[[Tensor], Tensor]:
        counters = {"seed": torch.tensor(1, device=DEVICE), "offset": torch.tensor(2, device=DEVICE)}
        return lambda logits: op(logits, temperature=0.1, batch_size=rows, **counters)[0]

    return make


def _torchs(rows: int, classes: int) -> Callable[[Tensor], Tensor]:
    return lambda logits: F.gumbel_softmax(logits.expand(rows, classes), tau=0.1)


def _gumbel_rows() -> list[Row]:
    from kernels.gumbel_softmax import reference

    specification = _by_counters(reference.gumbel_softmax)
    return [
        Row("ours", "ours", _gumbel(_by_counters(kernels.gumbel_softmax))),
        Row("F.gumbel_softmax", "torch", _gumbel(_torchs)),
        Row("specification", "torch", _gumbel(specification)),
        Row("F.gumbel_softmax compiled", "compiled", _gumbel(_torchs, True)),
        Row("specification compiled", "compiled, too", _gumbel(specification, True)),
    ]


def plain_nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent as one would write it without a thought of its memory."""
    count = len(a)
    unit = F.normalize(torch.cat((a, b)), eps=1e-8)
    itself = torch.eye(2 * count, dtype=torch.bool, device=a.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    return F.cross_entropy(logits, torch.arange(2 * count, device=a.device).roll(count))


def _plain(precision: Precision) -> Callable[[Tensor, Tensor], Tensor]:
    def plain(a: Tensor, b: Tensor) -> Tensor:
        with torch.autocast(a.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return plain_nt_xent(a, b, 0.5)

    return plain


def _ours(precision: Precision) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: kernels.nt_xent(a, b, temperature=0.5, precision=precision)


def _specification(a: Tensor, b: Tensor) -> Tensor:
    from kernels.nt_xent import reference

    return reference.nt_xent(a, b, temperature=0.5)


def _lightly() -> Callable[[Tensor, Tensor], Tensor]:
    from lightly.loss import NTXentLoss

    return NTXentLoss(temperature=0.5)


def _metric_learning() -> Callable[[Tensor, Tensor], Tensor]:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(temperature=0.5))


def _inf_cl() -> Callable[[Tensor, Tensor], Tensor]:
    cal_flash_loss = importlib.import_module("inf_cl").cal_flash_loss

    def one_direction_twice(a: Tensor, b: Tensor) -> Tensor:  # another loss: a row for time and memory only
        scale = torch.tensor(2.0, device=DEVICE)
        given: dict[str, Any] = {"scale": scale, "head_dim": D}  # its third positional argument is the labels
        return (cal_flash_loss(a, b, **given) + cal_flash_loss(b, a, **given)).mean()

    return one_direction_twice


def _views(make: Callable[[], Callable[[Tensor, Tensor], Tensor]], compiled: bool = False) -> Callable[[int], Call]:
    """Temperature 0.5, float32 embeddings of length D."""

    def build(count: int) -> Call:
        return _through(make(), *torch.randn(2, count, D, device=DEVICE), compiled=compiled)

    return build


def _nt_xent_rows() -> list[Row]:
    precisions: tuple[Precision, ...] = ("tf32", "bf16", "ieee") if CUDA else ("ieee",)
    ours, plain, compiled = list[Row](), list[Row](), list[Row]()
    for precision in precisions:
        suffix = f" {precision}" if CUDA else ""
        about: dict[str, Any] = {"precision": precision, "ours": f"ours{suffix}"}
        ours.append(Row(f"ours{suffix}", "ours", _views(partial(_ours, precision)), **about))
        about["most"] = PLAIN_MOST
        for row, rows in ((f"plain{suffix}", plain), (f"plain{suffix} compiled", compiled)):
            made = rows is compiled
            process = f"compiled{suffix}" if made else "torch"
            rows.append(Row(row, process, _views(partial(_plain, precision), made), **about))
    default = precisions[0]
    suffix = f" {default}" if CUDA else ""
    beside: dict[str, Any] = {"precision": default, "ours": f"ours{suffix}"}
    ieee = " ieee" if CUDA else ""
    name, metric, inf_cl = f"lightly{suffix}", f"pytorch-metric-learning{suffix}", "inf_cl (another loss)"
    return [
        *ours,
        *plain,
        Row(f"specification{ieee}", "torch", _views(lambda: _specification), ours=f"ours{ieee}", most=PLAIN_MOST),
        Row(name, "lightly", _views(_lightly), needs="lightly", most=PLAIN_MOST, **beside),
        Row(metric, "metric", _views(_metric_learning), needs="pytorch_metric_learning", most=METRIC_MOST, **beside),
        *([Row(inf_cl, "inf_cl", _views(_inf_cl), needs="inf_cl", **beside)] if CUDA else []),
        *compiled,
    ]


def _adam(shadow: torch.dtype | None) -> Callable[[int], Call]:
    """One step on so many parameters in float32, or with bfloat16 copies and gradients."""

    def build(count: int) -> Call:
        weight = torch.nn.Parameter(torch.randn(count, device=DEVICE))
        optimizer = kernels.FusedAdam([weight], lr=1e-4, shadow_dtype=shadow)
        leaf = weight if shadow is None else optimizer.shadow_parameters()[weight]
        leaf.grad = torch.randn_like(leaf)
        return optimizer.step

    return build


def _torchs_adam(count: int) -> Call:
    weight = torch.nn.Parameter(torch.randn(count, device=DEVICE))
    weight.grad = torch.randn_like(weight)
    options: dict[str, Any] = {"fused": True} | ({"capturable": True} if CUDA else {})
    return torch.optim.Adam([weight], lr=1e-4, **options).step


def rows(op: str) -> list[Row]:
    """The rows of an op's table, in its order."""
    if op == "gumbel_softmax":
        return _gumbel_rows()
    if op == "nt_xent":
        return _nt_xent_rows()
    return [
        Row("ours", "ours", _adam(None)),
        Row("ours, bfloat16 copies", "ours", _adam(torch.bfloat16)),
        Row("torch.optim.Adam(fused=True)", "torch", _torchs_adam),
    ]
