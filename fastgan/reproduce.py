"""python -m fastgan.reproduce: the paper's variants over its imbalanced MNISTs, and their table."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from fastgan.config.command_line import flag_value, parse, program, run_command
from fastgan.config.commands import ReproduceConfig, WorldsConfig
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError
from fastgan.runtime.libraries import loading
from fastgan.runtime.ranks import RankInfo
from fastgan.sweep.methods import parse_methods, parse_numbers, with_method
from fastgan.sweep.results import Results, RunKey
from fastgan.text import pluralize


def runs_of(args: ReproduceConfig) -> dict[RunKey, TrainConfig]:
    """Every requested run, validated, split by split, in each all methods; raises ConfigError naming a flag."""
    if args.runs_at_once < 0:
        raise ConfigError(f"--runs-at-once {args.runs_at_once}: must be 1 or more, or 0 to leave it to the machine")
    methods = parse_methods(args.methods)
    splits, seeds = parse_numbers("splits", args.splits, 1, 50), parse_numbers("seeds", args.seeds, 0, None)
    same = ("data_dir", "cache_dir", "device", "epochs", "amp", "compile", "augment", "kernels", "capture", "threads")
    changes: dict[str, Any] = {name: getattr(args, name) for name in same}
    base = dataclasses.replace(preset(args.dataset, args.recipe), eval_every=5, save_every=1, **changes)
    return {
        RunKey(method, split, seed): validate(dataclasses.replace(with_method(base, method), split=split, seed=seed))
        for split in splits
        for seed in seeds
        for method in methods
    }


def reproduce(args: ReproduceConfig) -> int:
    """Train the runs that are left, or print the table. Returns the exit code."""
    if args.table:
        with loading():
            from fastgan.sweep.table import write_table
        print(write_table(args.results))
        return 0
    runs = runs_of(args)
    if args.dry_run and not (args.results / "sweep.json").exists():  # a dry run writes nothing
        print("\n".join(key.name for key in runs))
        return 0
    keep, dataset = args.keep_checkpoints, args.dataset
    found = Results(args.results, dataset=dataset, recipe=args.recipe, epochs=args.epochs, keep_checkpoints=keep)
    left = [key for key in runs if not found.has(key)]
    ranks = RankInfo.from_environment()
    if ranks.rank == 0:
        are = "is" if len(left) == 1 else "are"
        print(f"{len(left)} of {pluralize(len(runs), 'run')} {are} left, in {args.results}", file=sys.stderr)
    if args.dry_run:
        print("\n".join(key.name for key in left))
        return 0
    with loading():
        from fastgan.tasks import reproduce as task
    stopped = task.train(args, runs, found, ranks)
    if stopped is not None:
        print("stopped and saved; the same command continues", file=sys.stderr)
        return 128 + stopped
    if ranks.rank == 0:
        print(f"the table: {program('reproduce')} --table --results {args.results}", file=sys.stderr)
    return 0


def reproduce_worlds(argv: Sequence[str]) -> int:
    """`--suite worlds`. Returns the exit code."""
    description = (
        "Train the default recipe on many data sets, and its rivals beside it. Stop it at any time; the same command "
        "continues."
    )
    args = parse(WorldsConfig, argv, command="reproduce", description=description)
    with loading():
        from fastgan.tasks import reproduce as task
    return task.worlds(args)


def main(argv: Sequence[str]) -> int:
    """Parse and run. Returns the exit code."""
    if flag_value(argv, "--suite") == "worlds":
        return reproduce_worlds(argv)
    description = (
        "Train the paper's variants on its imbalanced MNISTs and print their table. Stop it at any time; the same "
        "command continues. torchrun --nproc-per-node R -m fastgan.reproduce ... shares the runs among ranks."
    )
    return reproduce(parse(ReproduceConfig, argv, command="reproduce", description=description))


if __name__ == "__main__":
    sys.exit(run_command(main))
