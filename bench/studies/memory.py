"""How much memory training on a folder of one's own images takes: resident memory, open files and threads.

    python -m bench.studies.memory [--images 100000] [--save]

Each row is a process `python -m fastgan.train --dataset folder` with its default recipe at 64x64x3, that decodes the
folder, groups all its images once, evaluates (Q reads all of them), labels all of them again for its page, and is
watched from outside through /proc (Linux); with labels it runs k-means instead of grouping. Tiny networks let it pass
through 100,000 images in minutes; networks of the default widths see fewer. Resident memory counts the pages of the
cache that are mapped (RssFile), which the system takes back when it needs them; what a process must have is RssAnon.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import machine, slug
from bench.studies.photographs import write_folder

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
DISTINCT = 2000  # images that are drawn; the others are links to them
FEW = 1000  # images for networks of the default widths, which read up to so many at once
PAUSE = 0.02  # seconds between two looks
RUN = "--dataset folder --classes 10 --device cpu --amp"
TWICE = "--epochs 2 --grouping.at 1 --eval-every 1 --save-every 2"
TINY = "--network.width 4 --network.hidden 32 --network.embedding 128 --batch-size 250"
FIELDS = ("VmHWM", "RssAnon", "RssFile", "RssShmem", "Threads")


@dataclass
class Watched:
    """Of one process: MiB resident at most, in all and of each kind apart, threads and open files at most, and what it
    held (anonymous, file) when it said each line."""

    peak: dict[str, float] = field(default_factory=dict)
    said: list[tuple[float, float, float, str]] = field(default_factory=list)  # seconds, MiB, MiB, line
    seconds: float = 0.0


def _status(process: int) -> dict[str, float]:
    """MiB, and threads and open files; empty once the process has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
        files = len(os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return {}
    found = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE)}
    if "VmHWM" not in found:
        return {}
    return {name: found[name] / (1 if name == "Threads" else 1024) for name in FIELDS} | {"files": float(files)}


def watch(command: list[str]) -> Watched:
    """Run a command to its end and watch it; CalledProcessError if it fails."""
    seen, begin = Watched(), time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            now, text = _status(process.pid), line.decode(errors="replace").strip()
            seen.said.append((time.perf_counter() - begin, now.get("RssAnon", 0), now.get("RssFile", 0), text))

    listener = threading.Thread(target=listen)
    listener.start()
    while process.poll() is None:
        for name, value in _status(process.pid).items():
            seen.peak[name] = max(value, seen.peak.get(name, 0))
        time.sleep(PAUSE)
    listener.join()
    seen.seconds = time.perf_counter() - begin
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr="\n".join(s[3] for s in seen.said))
    return seen


def _lines(title: str, flags: str, images: int, seen: Watched) -> list[str]:
    peak = seen.peak
    lines = [
        title,
        f"  python -m fastgan.train {flags}",
        f"  resident at most {peak['VmHWM']:,.0f} MiB; apart, at most: its own {peak['RssAnon']:,.0f}, mapped files "
        f"{peak['RssFile']:,.0f}, shared {peak['RssShmem']:,.0f} (the images are {images * 3 * 64 * 64 / 2**20:,.0f})",
        f"  threads at most {peak['Threads']:.0f}, open files {peak['files']:.0f}; {seen.seconds:.0f} s",
        "  held when it said:  seconds  own MiB  mapped",
    ]
    return lines + [f"    {at:25.0f}{own:9,.0f}{mapped:8,.0f}  {said:.90}" for at, own, mapped, said in seen.said]


def main() -> int:
    """Print the rows; with --save keep them in bench/results/."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.memory", description=__doc__)
    parser.add_argument("--images", type=int, default=100_000, help="images of the large folder")
    parser.add_argument("--save", action="store_true", help="write bench/results/memory-*.txt as well")
    asked = parser.parse_args()
    lines = [f"python -m bench.studies.memory --images {asked.images}", ""]
    with tempfile.TemporaryDirectory(prefix="fastgan-memory-") as place:
        here = Path(place)
        rows = (
            (f"{asked.images:,} images, tiny networks", "many", asked.images, f"{RUN} {TWICE} {TINY}"),
            (f"{asked.images:,} images in labelled subfolders, tiny networks", "many", asked.images,
             f"{RUN} --epochs 1 --grouping.at {TINY} --labels-from-folders"),
            (f"{FEW:,} images, networks of the default widths", "few", FEW, f"{RUN} {TWICE}"),
        )  # fmt: skip
        for number, (title, folder, count, flags) in enumerate(rows):
            images = here / folder
            if not images.exists():
                write_folder(images, count, DISTINCT, (64, 64), "JPEG")
            own = ["--data-dir", str(images), "--cache-dir", str(here / "cache")]
            own += ["--run-dir", str(here / f"run-{number}")]
            seen = watch([sys.executable, "-m", "fastgan.train", *flags.split(), *own])
            seen.said = [
                (at, own_mib, mapped, line.replace(place, "TEMPORARY")) for at, own_mib, mapped, line in seen.said
            ]
            found = _lines(title, flags, count, seen)
            print("\n".join(found), flush=True)
            lines += [*found, ""]
    about = machine()
    lines += [f"{key}: {value}" for key, value in about.items()]
    if asked.save:
        (RESULTS / f"memory-{slug(about)}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
