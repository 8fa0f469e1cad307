"""Runs in threads of one process: what one launches does not meet what another captures."""

from __future__ import annotations

from pathlib import Path

import pytest

from null_gpu.child import told
from null_gpu.test_commands import command

# Two threads, each of which captures again and again what it then replays, in the given place of its turns.
THREADS = """
import json, threading
import torch
from fastgan.training.cuda_graphs import CudaGraphRunner
from fastgan.runtime.turns import SharedTurns
from null_gpu.seen import graphs, problems

turns, device, failed = SharedTurns(), torch.device("cuda", 0), []
together = threading.Barrier(2)

def run(stream):
    try:
        with torch.cuda.device(device), torch.cuda.stream(stream), turns.within():
            x = torch.zeros(3, device=device)
            together.wait()
            for _ in range(15):
                iterations = CudaGraphRunner(lambda: x.add_(x.sum()), lambda: {"x": x}, device=device)
                with turns.alone():
                    iterations.prepare()
                for _ in range(40):
                    turns.between()
                    iterations.run(9)
                    x[:2].clone()  # allocates and frees
    except Exception as error:
        failed.append(str(error))

threads = [threading.Thread(target=run, args=(torch.cuda.Stream(),)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sizes = sorted({len(graph) for graph in graphs()})
print(json.dumps({"failed": failed, "graphs": len(graphs()), "sizes": sizes, "problems": list(problems())}))
"""
# One launch, made by another thread while a capture is under way.
BESIDE = """
import json, threading
import torch
from null_gpu.seen import problems

x, y = torch.zeros(3, device="cuda"), torch.zeros(3, device="cuda")
with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
    x.add_(1)
    other = threading.Thread(target=lambda: y.add_(1))
    other.start()
    other.join()
print(json.dumps(list(problems())))
"""


def test_nothing_is_launched_beside_a_capture() -> None:
    assert told("-c", THREADS) == {"failed": [], "graphs": 60, "sizes": [2, 16], "problems": []}


def test_without_turns_it_would_be_seen() -> None:
    """What another thread launches just while one captures is a problem to the null GPU."""
    (seen,) = told("-c", BESIDE)
    assert seen.startswith("launched beside the capture")


@pytest.mark.parametrize(
    "flags, graphs",
    [
        (("--methods", "uniform", "--splits", "1-3"), 4),
        pytest.param(("--methods", "uniform,elastic", "--splits", "1-2", "--compile"), 8, marks=pytest.mark.slow),
    ],
)
def test_a_sweep_of_two_runs_at_once(flags: tuple[str, ...], graphs: int, tmp_path: Path) -> None:
    """To its rows: a pair of graphs for each thread and kind of method, runs of one method in the same trainer."""
    how = ("--dataset", "digits", "--amp", "--epochs", "1", "--runs-at-once", "2", "--results", str(tmp_path / "rows"))
    said = command("fastgan.reproduce", *how, *flags, cache=tmp_path)
    assert f"{graphs} graphs; problems: none" in said
    rows = list((tmp_path / "rows" / "rows").glob("*.json"))
    assert f"{len(rows)} of {len(rows)} runs are finished" in said and len(rows) in (3, 4)
