"""python -m fastgan.reproduce: the paper's variants over its imbalanced MNISTs, and their table."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastgan.config.command_line import flag_value, parse, run_command
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError
from fastgan.runtime import threads
from fastgan.runtime.device import choose_device, choose_kernels
from fastgan.runtime.distributed import RankInfo
from fastgan.runtime.process import tune_malloc
from fastgan.sweep import at_once, workers
from fastgan.sweep.methods import parse_methods, parse_numbers, with_method
from fastgan.sweep.results import Results, RunKey
from fastgan.sweep.runner import Sweep
from fastgan.sweep.table import write_table
from fastgan.sweep.worlds import WorldsConfig, train_worlds
from fastgan.sweep.worlds_table import write_worlds
from fastgan.text import pluralize


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Which runs, and how they are trained."""

    suite: Literal["paper"] = "paper"
    """paper: the paper's variants on imbalanced MNIST. worlds: many data sets, one recipe, and its rivals
    (`--suite worlds --help`)."""
    dataset: Literal["digits", "mnist"] = "mnist"
    """Which images."""
    splits: str = "1-50"
    """Which of the 50 published imbalances: numbers and ranges, such as 1-3,7."""
    methods: str = "all"
    """all, or some of uniform, ground-truth, gumbel-softmax, ground-truth-contrastive, elastic, separated by commas."""
    seeds: str = "0"
    """Which seeds for each: numbers and ranges."""
    epochs: int = 20
    """Passes over the training images; runs are evaluated every five epochs."""
    recipe: Literal["default", "paper"] = "default"
    """paper: everything as in the paper's recipe, including its transform."""
    results: Path = Path("results")
    """Where finished runs are kept, one JSON file each; a run found there is not repeated."""
    table: bool = False
    """Print the table of the runs in --results, save it there as text, Markdown and a picture, and stop."""
    dry_run: bool = False
    """List the runs that are left, and stop."""

    data_dir: Path | None = None
    """Folder with the data set's files, or to download them into. Left out: ./data."""
    cache_dir: Path | None = None
    """Where the judge is kept. Left out: $XDG_CACHE_HOME/fastgan or ~/.cache/fastgan."""
    amp: bool = False
    """Automatic mixed precision, in bfloat16 where the device has instructions for it, else in float32."""
    compile: bool = False
    """On a CUDA GPU, compile with torch.compile, once for all runs of a method."""
    augment: Literal["auto", "dali", "torchvision"] = "auto"
    """What transforms the images."""
    kernels: Literal["auto", "triton", "reference"] = "auto"
    """Fused Triton kernels, or their references in plain torch."""
    capture: bool = True
    """On a CUDA GPU, replay the training step as a CUDA graph, captured once for all runs of a method."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; under torchrun each rank takes a GPU of its own."""
    threads: int = 0
    """Threads of a CPU, of each run. 0: one for each processor that this process may use and that others leave free."""
    runs_at_once: int = 0
    """How many runs to make at the same time: on a GPU in threads, on a CPU in processes that share its processors.
    0: on a GPU up to four, as memory allows; on a CPU one."""


def runs_of(args: ReproduceConfig) -> dict[RunKey, TrainConfig]:
    """Every requested run, validated, grouped by method; raises ConfigError naming a flag."""
    if args.runs_at_once < 0:
        raise ConfigError(f"--runs-at-once {args.runs_at_once}: must be 1 or more, or 0 to leave it to the machine")
    methods = parse_methods(args.methods)
    splits, seeds = parse_numbers("splits", args.splits, 1, 50), parse_numbers("seeds", args.seeds, 0, None)
    same = ("data_dir", "cache_dir", "device", "epochs", "amp", "compile", "augment", "kernels", "capture", "threads")
    changes: dict[str, Any] = {name: getattr(args, name) for name in same}
    base = dataclasses.replace(preset(args.dataset, args.recipe), eval_every=5, save_every=1, **changes)
    return {
        RunKey(method, split, seed): validate(dataclasses.replace(with_method(base, method), split=split, seed=seed))
        for method in methods
        for split in splits
        for seed in seeds
    }


def reproduce(args: ReproduceConfig) -> int:
    """Train the runs that are left, or print the table. Returns the exit code."""
    if args.table:
        print(write_table(args.results))
        return 0
    runs = runs_of(args)
    if args.dry_run and not (args.results / "sweep.json").exists():  # a dry run writes nothing
        print("\n".join(key.name for key in runs))
        return 0
    found = Results(args.results, dataset=args.dataset, recipe=args.recipe, epochs=args.epochs)
    left = [key for key in runs if not found.has(key)]
    ranks = RankInfo.from_environment()
    if ranks.rank == 0:
        are = "is" if len(left) == 1 else "are"
        print(f"{len(left)} of {pluralize(len(runs), 'run')} {are} left, in {args.results}", file=sys.stderr)
    if args.dry_run:
        print("\n".join(key.name for key in left))
        return 0
    stopped = _train(args, runs, found, ranks)
    if stopped is not None:
        print("stopped and saved; the same command continues", file=sys.stderr)
        return 128 + stopped
    if ranks.rank == 0:
        print(f"the table: python -m fastgan.reproduce --table --results {args.results}", file=sys.stderr)
    return 0


def _train(args: ReproduceConfig, runs: dict[RunKey, TrainConfig], found: Results, ranks: RankInfo) -> int | None:
    """Train the runs that are left; returns the signal that stopped them, or None."""
    tune_malloc()
    device = ranks.device(choose_device(args.device))
    choose_kernels(args.kernels)  # tries one, on this rank's GPU
    first = {key.method: key for key in reversed(runs)}  # the first of each method draws pictures
    sweep = Sweep(found, runs, device, ranks, frozenset(first.values()))
    left = [key for key in sweep.keys if not found.has(key)]
    if device.type == "cuda":
        threads.choose(args.threads, processes=ranks.local_world_size)
        own = -(-len(left) // ranks.world_size)
        count = at_once.on_gpu(args.runs_at_once, own, device, captured=args.capture)
        return at_once.in_threads(sweep, left, count) if count > 1 else sweep.train()
    count, each = at_once.on_cpu(args.runs_at_once, len(left), args.threads, ranks)
    note = threads.choose(each, processes=ranks.local_world_size)
    if note:
        print(f"note: {note}", file=sys.stderr)
    return workers.in_processes(sweep, left, count, args.kernels, each) if count > 1 else sweep.train()


def reproduce_worlds(argv: Sequence[str]) -> int:
    """`--suite worlds`. Returns the exit code."""
    description = (
        "Train the default recipe on many data sets, and its rivals beside it. Stop it at any time; the same command "
        "continues."
    )
    args = parse(WorldsConfig, argv, prog="python -m fastgan.reproduce", description=description)
    if args.table:
        print(write_worlds(args.results))
        return 0
    return train_worlds(args)


def main(argv: Sequence[str]) -> int:
    """Parse and run. Returns the exit code."""
    if flag_value(argv, "--suite") == "worlds":
        return reproduce_worlds(argv)
    description = (
        "Train the paper's variants on its imbalanced MNISTs and print their table. Stop it at any time; the same "
        "command continues. torchrun --nproc-per-node R -m fastgan.reproduce ... shares the runs among ranks."
    )
    return reproduce(parse(ReproduceConfig, argv, prog="python -m fastgan.reproduce", description=description))


if __name__ == "__main__":
    sys.exit(run_command(main))
