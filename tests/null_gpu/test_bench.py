"""The benchmarks of a GPU, on the null GPU: they run to their ends, and a row that fails takes no other with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from null_gpu.child import environment, run

# Two rows fail, one while it is built and one while it is timed.
FAILS = """
import json, sys
from pathlib import Path
from bench.gpu import loop as gpu_loop
class Way:
    captured, calls = True, 0
    def __init__(self, config, images, **changes):
        self.config, self.timed_out = config, "augment" in changes
        if changes == {"capture": False}:
            raise AssertionError("expected size 64==64,\\nstride 196==1")
    def run(self, steps):
        self.calls += 1
        if self.timed_out and self.calls > 3:
            raise RuntimeError("an illegal memory access")
gpu_loop.Way, gpu_loop.ROUNDS = Way, 2
gpu_loop.ROWS = {"eager": {"capture": False}, "captured": {}, "fed": {"augment": "torchvision"}}
gpu_loop.make_row = lambda *_: type("Naive", (), {"load": lambda self: 0, "train": lambda self, batch: 0})()
assert gpu_loop.main(Path(sys.argv[1])) == 1

from bench import measure
from bench.gpu import table as gpu_table, train as gpu_train
def fails(*_):
    raise RuntimeError("an illegal\\nmemory access")
gpu_train.Engine = gpu_table.reproduce = fails
assert gpu_train.main("eager") == 1 and gpu_table.main("elastic") == 1
print(measure.measure({"bad": ("ours_fp32", "no number")}, 1, 1, 1)["bad"].failed)
"""
LOOP = """
import sys
from pathlib import Path
sys.modules["nvidia.dali"] = None
from bench.gpu import loop as gpu_loop
from null_gpu.seen import problems
gpu_loop.SECONDS, gpu_loop.ROUNDS = 1e-3, 1
code = gpu_loop.main(Path(sys.argv[1]))
assert code == 0 and not problems(), (code, problems())
"""
TRAIN = """
from null_gpu.command import make_believe
make_believe()
from bench.gpu import train
from null_gpu.seen import problems
train.KINDS = {kind: changes | {"epochs": 1, "eval_every": 1} for kind, changes in train.KINDS.items()}
code = [train.main(kind) for kind in ("captured", "default")]
assert code == [0, 0] and not problems(), (code, problems())
"""
TOUCH = """
from bench.gpu import touch as gpu_touch
from null_gpu.seen import problems, trace
launched = trace(gpu_touch.main)
assert not problems(), problems()
assert len([line for line in launched if line.startswith("triton ")]) > 20, launched
"""
# inf_cl lies in the folder, and raises.
KERNELS = """
import json
from bench.kernel_pool import Pool
from bench.speed import bench_kernels as bench
bench.GUMBEL_SIZES, bench.NT_XENT_SIZES, bench.ADAM_SIZES = ((64, 10),), (64, 128), (1024,)
tables, writes = {}, 0
class Results:
    def add(self, name, table, values):
        global writes
        writes += 1
        tables[name.split("-")[0]] = values
pool = Pool()
light = pool.ask("ours", light=True)
assert set(light["products"]) == {"bf16", "fp16", "tf32", "ieee"}, light
sizes = {op: bench.sizes_of(op) for op in bench.OPS}
for phase in bench.PHASES:
    for op in ("gumbel_softmax", "nt_xent", "adam"):
        bench._time(op, phase, sizes[op], pool, light, Results())
pool.close()
print(json.dumps({"tables": tables, "writes": writes}))
"""


def kept(folder: Path) -> dict[str, dict[str, object]]:
    """The rows, and what was left out, of the one table in a folder."""
    (file,) = folder.glob("loop-cuda-*.json")
    assert file.with_suffix(".txt").read_text(encoding="utf-8").startswith("row ")
    found: dict[str, dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_rows_that_fail_are_lines_of_the_table(tmp_path: Path) -> None:
    *_, train, nothing, sweep, none, row = run("-c", FAILS, str(tmp_path), FASTGAN_MNIST=str(tmp_path)).splitlines()
    table = kept(tmp_path)
    assert set(table["rows"]) == {"naive step, constant input", "captured", "fed"}
    assert table["left_out"] == {
        "eager": "AssertionError: expected size 64==64, stride 196==1",
        "fed": "RuntimeError: an illegal memory access",
    }

    assert train.startswith("eager: digits") and train.endswith("s: RuntimeError: an illegal memory access")
    assert (nothing, none) == ("nothing was logged", "no row yet")
    assert sweep == "failed, and the same command goes on: RuntimeError: an illegal memory access"
    assert row.startswith("RuntimeError: ") and row.endswith("ended with 1")


@pytest.mark.slow
def test_every_row_of_the_loop_is_measured(tmp_path: Path) -> None:
    said = run("-c", LOOP, str(tmp_path), timeout=1200)
    assert "goes on eagerly" not in said
    table = kept(tmp_path)
    assert list(table["left_out"]) == ["the same, fed by DALI"] and len(table["rows"]) == 8


@pytest.mark.slow
def test_whole_runs_are_trained_and_told(mnist_dir: Path, tmp_path: Path) -> None:
    said = run("-c", TRAIN, FASTGAN_MNIST=str(mnist_dir), XDG_CACHE_HOME=str(tmp_path), timeout=600)
    assert "failed" not in said and said.count("s of training") == 2


@pytest.mark.slow
def test_every_kernel_is_touched() -> None:
    run("-c", TOUCH)


@pytest.mark.slow
def test_every_kernel_is_timed_beside_its_rivals(tmp_path: Path) -> None:
    rival = "def cal_flash_loss(*_, **__):\n    raise RuntimeError('out of shared memory')\n"
    (tmp_path / "inf_cl.py").write_text(rival, encoding="utf-8")
    said = run("-c", KERNELS, timeout=900, PYTHONPATH=os.pathsep.join((environment()["PYTHONPATH"], str(tmp_path))))
    found = json.loads(said.splitlines()[-1])
    gumbel, nt_xent, adam = (list(values["tables"].values()) for values in found["tables"].values())
    # After each size: of rows that need no compiler, of compiled ones, and of NT-Xent's libraries.
    assert found["writes"] == (1 + 2 + 1) + (1 + 2) + 2
    assert [len(size["rows"]) for size in gumbel + adam] == [5, 3]
    for size in nt_xent:
        names = {
            f"{who} {precision}{how}"
            for who, how in (("ours", ""), ("plain", ""), ("plain", " compiled"))
            for precision in ("bf16", "tf32", "ieee")
        }
        assert names < size["rows"].keys()
        assert size["left_out"] == {"inf_cl (another loss)": "RuntimeError: out of shared memory"}
        assert all(row["light_us"] > 0 for row in size["rows"].values())
