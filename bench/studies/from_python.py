"""What does Python cost? Starts, steps on arrays beside steps on files, and labels of arrays.

`python -m bench.studies.from_python [--rounds 10] [--steps 10] [--threads 1]`.

The same pixels are read from PNG files, as the command does, and given as an array to the estimator, which keeps them;
two engines of the paper's networks then make steps in turns, a few each. Times are the process's own on the processors,
which others that use the machine hardly change.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.measure import machine
from fastgan import ElasticInfoGAN
from fastgan.api.images import in_memory
from fastgan.api.kept_images import DATA, kept
from fastgan.config.presets import preset
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import loading
from fastgan.data.image_set import ImageSet
from fastgan.runtime.process import tune_malloc
from fastgan.training.engine import Engine
from fastgan.training.resolve import resolve

CPU = torch.device("cpu")
IMAGES, LABELLED, SIDE = 2_000, 10_000, 28
WARM_UP = 5  # steps


def engines(images: np.ndarray, here: Path) -> dict[str, Engine]:
    """One on files and one on an array, of the same images [N, H, W] and the same settings."""
    (here / "files").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(here / "files" / f"{number:05}.png")
    same: dict[str, Any] = {
        "image_size": SIDE,
        "channels": 1,
        "network": NetworkConfig(),
        "epochs": 200,
        "cache_dir": here / "cache",
    }
    files = dataclasses.replace(preset("folder"), data_dir=here / "files", **same)
    given = dataclasses.replace(preset("npz"), data_dir=here / DATA, run_dir=here, **same)

    def engine(config: TrainConfig, given: ImageSet | None) -> Engine:
        with ExitStack() as held:
            data = kept(config, here, given, None, held)
        return Engine(resolve(config, data)[0], data, CPU)

    return {"files": engine(files, None), "arrays": engine(given, in_memory(images, given))}


def seconds(engine: Engine, seen: int, steps: int) -> float:
    """Processor seconds of so many steps after `seen` images, fetching included."""
    begin = time.process_time()
    for _ in range(steps):
        engine.prefetch(seen, seen + engine.batch)
        engine.run(seen, 1)
        seen += engine.batch
    return time.process_time() - begin


def compare(rounds: int, steps: int) -> None:
    """Print the steps of both, and how many times the one on files that on arrays takes."""
    images = loading.load(dataclasses.replace(preset("digits"), image_size=SIDE)).images[:, 0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        both = engines(np.resize(images, (IMAGES, SIDE, SIDE)), Path(folder))
        start = both["files"].phases.pretrained  # whole steps, after pretraining
        for engine in both.values():
            engine.prepare(start)
            seconds(engine, start, WARM_UP)
        ratios, took = [], {name: list[float]() for name in both}
        for number in range(rounds):
            order = list(both) if number % 2 else list(both)[::-1]
            for name in order:
                at = start + (WARM_UP + number * steps) * both[name].batch
                took[name].append(seconds(both[name], at, steps) / steps)
            ratios.append(took["arrays"][-1] / took["files"][-1])
    for name, each in took.items():
        print(f"a step on {name}: {statistics.median(each) * 1e3:.1f} ms of a processor")
    print(f"arrays / files: median {statistics.median(ratios):.4f}, {min(ratios):.3f} to {max(ratios):.3f}")


def label(threads: int) -> None:
    """Print what labels of LABELLED arrays cost, with the paper's networks."""
    random = np.random.default_rng(0).integers(0, 256, (LABELLED, SIDE, SIDE), dtype=np.uint8)
    model = ElasticInfoGAN(
        10, epochs=1, pretrain_epochs=0, grouping={"at": ()}, device="cpu", threads=threads, verbose=False
    ).fit(random[:128])
    torch.set_num_threads(threads)
    model.predict(random[:1000])
    for name, images in (("uint8", random), ("floats", random / 255.0)):
        begin, wall = time.process_time(), time.perf_counter()
        model.predict(images)
        used, wall = time.process_time() - begin, time.perf_counter() - wall
        print(f"{LABELLED:,} {name} arrays of {SIDE}x{SIDE}: {used:.2f} s of processors, {wall:.2f} s")


def start(rounds: int) -> None:
    """Print what importing and help cost, each in a new process, on the processors and by the clock."""
    for words in (
        ["-c", ""],
        ["-c", "import fastgan"],
        ["-m", "fastgan", "--help"],
        ["-m", "fastgan", "train", "--help"],
    ):
        used, walls = [], []
        for _ in range(rounds):
            before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            walls.append(time.perf_counter() - begin)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        said = f"median {statistics.median(used):.2f} s of a processor, at most {max(used):.2f}"
        print(f"python {' '.join(map(repr, words))}: {said}; {statistics.median(walls):.2f} s by the clock")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tune_malloc()
    print(machine())
    start(args.rounds)
    compare(args.rounds, args.steps)
    label(args.threads)


if __name__ == "__main__":
    main()
