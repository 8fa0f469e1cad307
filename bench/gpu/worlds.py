"""The suite of worlds on a GPU, many runs at a time: `python -m bench.gpu.worlds [unpack FILE RESULTS]`.

Processes of the same command share runs out by their claims, under NVIDIA's MPS (mps.py); --runs-at-once would end
each world before it begins the next, with few runs at a time in most of them. FASTGAN_WORLDS names the
folder of the data sets, as --data-dir of `python -m fastgan.reproduce --suite worlds`; worlds whose images are not
there are left out. Rows gather in runs/, so that a second call trains what is left, and are kept as one file, which
`unpack` turns into rows again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.mps import mps
from bench.measure import machine, slug
from bench.rows import ROOT
from fastgan.sweep.worlds import OURS, WORLDS
from fastgan.sweep.worlds_table import write_worlds

SECONDS = 480.0  # of a call
BEAT = 1.0  # seconds between two looks at the processes
# Long runs first, so that few processes wait for the last of them.
PLAN = (
    ("mnist-20", "0", "1-6"),
    ("lfw", "0-2", "1"),
    ("fmnist-10,fmnist-unknown-k,fmnist-5,mnist-unknown-k,cifar-2", "0-2", "1"),
    ("mnist", "0", "1-50"),
    ("mnist", "1-2", "4-6"),
)


@dataclass(frozen=True)
class Asked:
    """What to train: worlds, seeds and splits, by a method, from the data sets below `data`."""

    data: Path
    results: Path
    plan: tuple[tuple[str, str, str], ...] = PLAN
    method: str = OURS
    more: tuple[str, ...] = ("--amp", "--threads", "1")

    def there(self, names: str) -> str:
        """Those worlds of a list with commas whose images are there."""
        return ",".join(name for name in names.split(",") if (self.data / WORLDS[name].folder).is_dir())

    def commands(self, first: int) -> list[list[str]]:
        """The flags of `fastgan.reproduce`, one list an entry of the plan, from the entry `first` on."""
        turned = self.plan[first % len(self.plan) :] + self.plan[: first % len(self.plan)]
        where = ["--data-dir", str(self.data), "--results", str(self.results), "--methods", self.method, *self.more]
        return [
            ["--suite", "worlds", "--worlds", names, "--seeds", seeds, "--splits", splits, *where]
            for worlds, seeds, splits in turned
            if (names := self.there(worlds))
        ]


def train(asked: Asked, processes: int, seconds: float) -> bool:
    """Train what is left in so many processes; False if time was up before their end. They write to one log."""
    asked.results.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with mps() as there, (asked.results / "log.txt").open("ab") as log:
        environment = os.environ | there | {"OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen(
                [sys.executable, "-c", WORK, json.dumps(asked.commands(i))],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
            for i in range(processes)
        ]
        while any(one.poll() is None for one in running) and time.monotonic() - begin < seconds:
            time.sleep(BEAT)
        left = [one for one in running if one.poll() is None]
        for one in left:
            one.kill()  # a run on a GPU is repeated, not saved
        for one in running:
            one.wait()
    return not left


# A world that fails is named in the log, and the others go on.
WORK = (
    "import json, sys; from fastgan import reproduce; from fastgan.config.command_line import run_command\n"
    "for flags in json.loads(sys.argv[1]): run_command(reproduce.main, flags)"
)


def pack(results: Path, file: Path) -> int:
    """Keep all rows, and what `Results` knows of each world, in one file; returns how many rows there are."""
    rows = sorted(results.glob("*/rows/*.json"))
    kept = [*rows, *results.glob("*/sweep.json"), *results.glob("*/images.json")]
    lines = [json.dumps({"file": str(path.relative_to(results)), "text": path.read_text()}) for path in kept]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def unpack(file: Path, results: Path) -> None:
    """The rows of such a file as those of a sweep."""
    for line in file.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        path = results / one["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(one["text"])


def pictures(results: Path, file: Path) -> None:
    """Keep what each run drew last, where it drew something."""
    with tarfile.open(file, "w") as kept:
        for folder in sorted(results.glob("*/runs/*/samples")):
            if drawn := sorted(folder.glob("epoch-*.png")):
                kept.add(drawn[-1], str(drawn[-1].relative_to(results)))


def main() -> int:
    """Train, and keep rows, pictures and the table."""
    about = machine()
    name = slug(about)
    asked = Asked(Path(os.environ.get("FASTGAN_WORLDS", "data")).resolve(), ROOT / "runs" / f"worlds-{name}")
    begin = time.monotonic()
    done = train(asked, max(1, (os.cpu_count() or 1) - 2), SECONDS)
    seconds = time.monotonic() - begin
    kept = ROOT / "bench" / "results" / f"worlds-{name}"
    count = pack(asked.results, kept.with_suffix(".jsonl"))
    if not count:
        print((asked.results / "log.txt").read_text(errors="replace")[-4000:])
        return 1
    pictures(asked.results, kept.with_suffix(".tar"))
    how = f"{count} rows; this call: {seconds:.0f} s; {'nothing is left' if done else 'not all: call again'}"
    lines = [write_worlds(asked.results), "", how, *(f"{key}: {value}" for key, value in about.items())]
    kept.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["unpack"]:
        unpack(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
