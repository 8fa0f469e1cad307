"""Runs in threads of one process: what one launches does not meet what another captures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_images import dark_and_light

from null_gpu.child import run, told
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
# Three runs of one epoch by the suite of worlds: two processes that share the GPU.
WORLDS = """
import dataclasses, sys
from fastgan import reproduce
from fastgan.config.command_line import run_command
from fastgan.sweep import workers, worlds
from null_gpu.command import make_believe

make_believe()
workers.WORK = "from null_gpu.command import make_believe; make_believe(); " + workers.WORK
worlds.WORLDS["cifar-2"] = dataclasses.replace(worlds.WORLDS["cifar-2"], epochs=1, eval_every=1)
flags = "--suite worlds --worlds cifar-2 --methods elastic --seeds 0-2 --amp --threads 1 --runs-at-once 2"
sys.exit(run_command(reproduce.main, [*flags.split(), "--data-dir", sys.argv[1], "--results", sys.argv[2]]))
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


@pytest.mark.slow
def test_processes_of_the_suite_of_worlds_share_the_gpu(tmp_path: Path) -> None:
    """Their rows say that they were made on it."""
    dark_and_light(tmp_path / "cifar2-7-3")
    run("-c", WORLDS, str(tmp_path), str(tmp_path / "rows"), XDG_CACHE_HOME=str(tmp_path))
    rows = sorted((tmp_path / "rows" / "cifar-2" / "rows").glob("*.json"))
    assert [row.stem for row in rows] == ["elastic-seed0", "elastic-seed1", "elastic-seed2"]
    assert {json.loads(row.read_text())["environment"]["device"] for row in rows} == {"null GPU (as an H100)"}
