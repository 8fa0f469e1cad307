"""One run with all threads, or two with one thread each?

`python -m bench.studies.at_once [--rounds 12] [--steps 30] [--save]`.

Steps of `fastgan.reproduce`'s runs on a CPU: of one process with two threads, and of two processes with one thread each
at the same time, in turns. A round begins when others leave the machine alone; one in which they keep more than QUIET
processors busy all the same is left out, and after --patience seconds there are no more. --command times whole commands
on digits too, from their start to their end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.measure import machine, slug
from bench.rows import ROOT
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.data import loading
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.threads import CpuUse
from fastgan.training.engine import Engine

QUIET = 0.2  # processors that others may keep busy in a round that counts
LOOK = 1.0  # seconds, before a round
WARM_UP = 5  # steps
KINDS = ("digits", "digits --amp", "mnist", "mnist --amp")
COMMAND = "--dataset digits --epochs 5 --methods elastic --splits 1 --seeds 0-3 --device cpu"


def configured(kind: str) -> TrainConfig:
    """The default recipe of a data set, in its precision."""
    name, _, amp = kind.partition(" ")
    folder = Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    assert name in ("digits", "mnist")
    config = preset(name)
    return dataclasses.replace(config, amp=bool(amp), data_dir=folder if name == "mnist" else None)


def child(kind: str, own_threads: int) -> None:
    """Train as many steps as each line says, and answer with the seconds of the processors."""
    tune_malloc()
    torch.set_num_threads(own_threads)
    config = configured(kind)
    trainer, seen = Engine(config, loading.load(config), torch.device("cpu")), 0
    for line in sys.stdin:
        before = os.times()
        for _ in range(int(line)):
            trainer.prefetch(seen, seen + config.batch_size)
            trainer.iterations.run(1)
            seen += config.batch_size
        after = os.times()
        print(after.user + after.system - before.user - before.system, flush=True)


class Child:
    """A process that trains when it is told to."""

    def __init__(self, kind: str, own_threads: int) -> None:
        command = [sys.executable, "-m", "bench.studies.at_once", "--child", kind, str(own_threads)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, steps: int) -> None:
        """Tell it to."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def end(self) -> float:
        """Processor seconds that it took, once it is done."""
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())


def together(children: list[Child], steps: int) -> tuple[float, float]:
    """Steps a second of all, and processors that others kept busy."""
    use, begin = CpuUse.now(), time.perf_counter()
    for one in children:
        one.begin(steps)
    own = sum(one.end() for one in children)
    seconds, now = time.perf_counter() - begin, CpuUse.now()
    others = (now.everyone - use.everyone - own) / seconds if use and now else 0.0
    return len(children) * steps / seconds, max(0.0, others)


def wait_for_quiet(patience: float) -> float:
    """Seconds that are left of the patience, once others leave the machine alone, or 0."""
    while patience > 0:
        use = CpuUse.now()
        time.sleep(LOOK)
        now, patience = CpuUse.now(), patience - LOOK
        if use is None or now is None or (now.everyone - use.everyone - (now.own - use.own)) / LOOK < QUIET:
            break
    return max(0.0, patience)


def measure(kind: str, rounds: int, steps: int, patience: float) -> dict[str, Any]:
    """Both ways in turns; of the rounds that count, images a second and their ratio."""
    ways = {"one, 2 threads": [Child(kind, 2)], "two, 1 thread each": [Child(kind, 1), Child(kind, 1)]}
    for children in ways.values():
        together(children, WARM_UP)
    pluralize: list[dict[str, float]] = []
    busy = 0
    while len(pluralize) < rounds and patience > 0:
        names = list(ways)[:: 1 if (len(pluralize) + busy) % 2 else -1]
        patience = wait_for_quiet(patience)
        begin = time.perf_counter()
        found = {name: together(ways[name], steps) for name in names}
        patience -= time.perf_counter() - begin
        print(kind, found, file=sys.stderr, flush=True)
        if max(others for _, others in found.values()) > QUIET:
            busy += 1
            continue
        pluralize.append({name: rate * configured(kind).batch_size for name, (rate, _) in found.items()})
    for one in sum(ways.values(), []):
        one.process.terminate()
        one.process.wait()
    summary: dict[str, Any] = {"rounds": len(pluralize), "left_out": busy, "steps": steps}
    if pluralize:
        first, second = ways
        ratios = [row[second] / row[first] for row in pluralize]
        summary |= {name: round(statistics.median(row[name] for row in pluralize), 1) for name in ways}
        summary |= {"ratio": round(statistics.median(ratios), 3), "least": round(min(ratios), 3)}
        summary["most"] = round(max(ratios), 3)
    return summary


def commands(rounds: int, patience: float) -> dict[str, Any]:
    """Seconds of whole commands, in turns, whatever else the machine does."""
    found: dict[str, list[float]] = {"--runs-at-once 1 --threads 2": [], "--runs-at-once 2 --threads 1": []}
    for turn in range(rounds):
        patience = wait_for_quiet(patience)
        for flags in list(found)[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                command = f"-m fastgan.reproduce {COMMAND} {flags} --results {folder}".split()
                begin = time.perf_counter()
                subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
                found[flags].append(round(time.perf_counter() - begin, 1))
    return {flags: {"median": statistics.median(s), "all": s} for flags, s in found.items()}


def main() -> None:
    """Measure, print, and with --save keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--command", type=int, default=0, help="rounds of whole commands")
    parser.add_argument("--patience", type=float, default=300.0)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--child", nargs=2)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child[0], int(chosen.child[1]))
        return
    about, found = {"command": " ".join(sys.orig_argv[1:]), **machine()}, {}
    for kind in chosen.kinds:
        found[f"{kind}: images/s"] = {**measure(kind, chosen.rounds, chosen.steps, chosen.patience), "about": about}
    if chosen.command:
        seconds = commands(chosen.command, chosen.patience)
        found[f"python -m fastgan.reproduce {COMMAND}: seconds"] = {**seconds, "about": about}
    print(json.dumps(found, indent=2))
    if chosen.save:  # beside what other calls have measured
        path = ROOT / "bench" / "results" / f"at-once-{slug(about)}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**kept, **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
