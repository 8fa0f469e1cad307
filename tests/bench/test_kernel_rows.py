"""The rows of the kernels' tables: who is compared with whom, and what a rival that fails takes with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import kernel_rows
from bench.kernel_pool import Pool
from bench.kernel_rows import Row, products
from bench.kernel_worker import Worker
from bench.speed import bench_kernels
from bench.speed.bench_kernels import Size
from kernels.nt_xent import reference

CPU = torch.device("cpu")
# Answers as bench.kernel_worker does; by its row's name it raises, ends, or hangs.
WORKER = """
import os, time
from bench.process import serve
def answer(request):
    (what, given), = request.items()
    if what == "forget":
        return {}
    name = given[1]
    if name == "raises":
        return {"error": "RuntimeError: out of memory"}
    if name == "ends" or (name == "ends later" and what == "time"):
        os._exit(3)
    if name == "hangs":
        time.sleep(60)
    return {"seconds": 2.0} if what == "time" else {"peak_mib": None, "captured": False}
serve(lambda: answer)
"""


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a GPU, on tensors of the CPU."""
    for module in (kernel_rows, bench_kernels):
        monkeypatch.setattr(module, "CUDA", True)
    monkeypatch.setattr(kernel_rows, "DEVICE", CPU)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    (tmp_path / "acting_worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = Pool("acting_worker", limit=20.0)
    yield found
    found.close()


class Kept:
    """Takes tables as bench.conftest.Results."""

    def __init__(self) -> None:
        self.tables: list[tuple[str, dict[str, Any]]] = []

    def add(self, name: str, table: str, values: dict[str, Any]) -> None:
        self.tables.append((table, json.loads(json.dumps(values))))


def row(name: str, process: str = "torch", needs: str | None = None) -> Row:
    return Row(name, process, lambda: lambda: None, needs=needs)


def test_inf_cl_gets_its_scale(monkeypatch: pytest.MonkeyPatch, on_cuda: None) -> None:
    """inf_cl runs on CUDA only, so a module of the same signature stands in for it."""
    scales = []

    def cal_flash_loss(
        q: Tensor, k: Tensor, labels: Tensor | None = None, scale: Tensor | None = None, head_dim: int = 256
    ) -> Tensor:
        assert labels is None and scale is not None
        scales.append(float(scale))
        return (q * k).sum(-1)

    module = ModuleType("inf_cl")
    module.__spec__ = ModuleSpec("inf_cl", None)
    module.cal_flash_loss = cal_flash_loss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inf_cl", module)
    (row,) = (row for row in kernel_rows.rows("nt_xent") if row.needs == "inf_cl")
    row.build(4)()
    assert scales == [2.0, 2.0]


def test_rows_are_compared_with_ours_of_their_precision(on_cuda: None) -> None:
    found = {row.name: row for row in kernel_rows.rows("nt_xent")}
    assert all(found[row.ours].precision == row.precision for row in found.values())
    for precision in ("tf32", "bf16", "ieee"):
        assert {f"ours {precision}", f"plain {precision}", f"plain {precision} compiled"} <= found.keys()


def test_phases_are_all_rows(on_cuda: None, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU those that are quickly ready are timed first, and libraries, which are slow, last."""
    given = [row("ours", "ours"), row("plain compiled", "compiled tf32"), row("plain"), row("well", needs="json")]
    monkeypatch.setattr(bench_kernels, "rows", lambda op: given)
    sizes, kept, light = [Size("4", (4,), 1.0), Size("9", (9,), 1.0, alone=True)], Kept(), {"error": "no"}
    bench_kernels._time("adam", "rows that need no compiler", sizes, pool, light, kept)  # type: ignore[arg-type]
    assert [set(size.timings) for size in sizes] == [{"ours", "plain"}] * 2
    assert len(kept.tables) == 1 + 2  # after each row where each is alone
    bench_kernels._time("adam", "compiled rows", sizes, pool, light, kept)  # type: ignore[arg-type]
    assert [set(size.timings) for size in sizes] == [{"ours", "plain", "plain compiled"}] * 2
    bench_kernels._time("adam", "rows of libraries", sizes, pool, light, kept)  # type: ignore[arg-type]
    assert [set(size.timings) for size in sizes] == [{row.name for row in given}] * 2
    assert [line.split()[0] for line in kept.tables[-1][0].splitlines() if line.startswith("  ")][1:5] == [
        "ours",
        "plain",
        "plain",
        "well",
    ]


def test_products_are_of_the_row_alone() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    with products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_plain_version_is_the_loss() -> None:
    a, b = torch.randn(2, 33, 16, generator=torch.Generator().manual_seed(3))
    expected = reference.nt_xent(a, b, temperature=0.5)
    torch.testing.assert_close(kernel_rows._plain("ieee")(a, b), expected)
    rounded = kernel_rows._plain("bf16")(a, b)
    assert rounded != expected
    torch.testing.assert_close(rounded, expected, rtol=0.0, atol=0.05)


def test_a_worker_survives_what_a_row_raises() -> None:
    worker = Worker()
    assert worker.answer({"prepare": ["adam", "ours", -1]})["error"].startswith("RuntimeError: ")
    assert set(worker.answer({"prepare": ["adam", "ours", 64]})) == {"peak_mib", "captured"}
    assert worker.answer({"time": ["adam", "ours", 64]})["seconds"] > 0
    assert worker.answer({"forget": True}) == {} and not worker.ready


def test_rows_that_fail_are_left_out_and_others_go_on(pool: Pool) -> None:
    rows = [row("ours", "ours"), row("raises"), row("ends", "rival"), row("ends later", "another"), row("well")]
    for _ in range(2):
        timings, failed = pool.compare("adam", rows, (4, 5))
        assert set(timings) == {"ours", "well"} and timings["ours"].median_us == 2e6
        assert failed["raises"] == "RuntimeError: out of memory"
        assert failed["ends later"].startswith("RuntimeError: acting_worker another ended with 3")
    assert failed["ends"] == "RuntimeError: acting_worker rival ended with 3, at 4 x 5"  # and was not tried again


def test_a_row_that_hangs_is_ended(pool: Pool) -> None:
    pool.compare("adam", [row("well")], (4,))
    pool.limit = 1.0
    timings, failed = pool.compare("adam", [row("hangs"), row("ours", "ours")], (4,))
    assert failed["hangs"] == "RuntimeError: acting_worker torch ended with -9: longer than 1 s"


def test_a_table_names_what_is_left_out_and_the_light(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [row("ours", "ours"), row("raises"), row("ends", "rival")]
    monkeypatch.setattr(bench_kernels, "rows", lambda op: given)
    light, kept = {"copy": 1e9, "products": {"ieee": 1e12}}, Kept()
    sizes = [Size("4 parameters", (4,), 1e9), Size("9 parameters", (9,), 1e9, 8e12)]
    bench_kernels._time("adam", "all rows", sizes, pool, light, kept)  # type: ignore[arg-type]
    assert len(kept.tables) == 2  # one as each size ends
    assert "9 parameters" not in kept.tables[0][0]
    lines, values = kept.tables[1]
    assert "  left out: raises: RuntimeError: out of memory" in lines.splitlines()
    ours = [line.split() for line in lines.splitlines() if line.startswith("  ours")]
    assert [line[:7] for line in ours] == [
        ["ours", "2000000.0", "2000000.0", "2000000.0", "1.00", "2.00", "0.500"],  # twice the copy's second
        ["ours", "2000000.0", "2000000.0", "2000000.0", "1.00", "0.25", "4.000"],  # a quarter of the products' eight
    ]
    assert values["tables"]["9 parameters"]["rows"]["ours"]["light_us"] == 8e6

    monkeypatch.setattr(bench_kernels, "rows", lambda op: [row("ours", "ours"), row("well")])
    pool._fatal["adam", "ours"] = "ended"
    with pytest.raises(AssertionError, match="ended"):
        bench_kernels._time("adam", "all rows", sizes, pool, {"error": "no"}, kept)  # type: ignore[arg-type]
    assert "light: not measured: no" in kept.tables[-1][0] and "  well " in kept.tables[-1][0]
