"""The suite of worlds: one recipe and its rivals on many data sets, each run as a user would type it.

A world is a data set with the flags of `python -m fastgan.train` that it needs; what they leave out is the default
recipe's. Its rows are kept in a folder of its own, RESULTS/<world>/, in the form of every sweep.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

import torch

from fastgan.config.commands import WorldsConfig
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.errors import ConfigError
from fastgan.runs.run_folder import saved_config
from fastgan.runtime import threads
from fastgan.runtime.device import choose_device, choose_kernels
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.ranks import RankInfo
from fastgan.sweep import at_once, rivals, workers
from fastgan.sweep.methods import parse_names, parse_numbers
from fastgan.sweep.results import Results, RunKey, row_path
from fastgan.sweep.rivals import RIVALS
from fastgan.sweep.runner import Sweep
from fastgan.text import pluralize

OURS = "elastic"
METHODS = (OURS, *RIVALS)


@dataclass(frozen=True)
class World:
    """A data set as it is trained on.

    title: as tables show it. folder: below --data-dir. flags: of `python -m fastgan.train`. splits: whether it has
    the 50 of imbalanced MNIST. epochs: of each run, for files as many as a run chooses by itself; evaluated at the end
    and every `eval_every`.
    """

    title: str
    folder: str
    flags: str
    epochs: int
    eval_every: int
    splits: bool = False


_CIFAR = "--dataset folder --labels-from-folders --image-size 32 --classes 2 --network.width 32 --network.hidden 512"
WORLDS: dict[str, World] = {
    "mnist": World("MNIST, imbalanced", "mnist", "--dataset mnist", 5, 5, splits=True),
    "mnist-20": World("MNIST, imbalanced, 20 epochs", "mnist", "--dataset mnist", 20, 5, splits=True),
    "mnist-unknown-k": World("MNIST, K unknown", "mnist", "--dataset mnist --imbalance deepdpm --classes 15", 5, 5),
    "fmnist-5": World("FMNIST-5", "fashion-mnist", "--dataset fashion-mnist --imbalance fmnist-5 --classes 5", 5, 5),
    "fmnist-10": World("FMNIST-10", "fashion-mnist", "--dataset fashion-mnist --imbalance none", 5, 5),
    "fmnist-unknown-k": World(
        "FMNIST, K unknown",
        "fashion-mnist",
        "--dataset fashion-mnist --imbalance deepdpm --classes 15",
        5,
        5,
    ),
    "cifar-2": World("CIFAR-2, 7:3", "cifar2-7-3", _CIFAR, 38, 10),
    "lfw": World("LFW, 62 people", "lfw-as-ytf", "--dataset youtube-faces --identities 62", 107, 27),
}


def runs_of(args: WorldsConfig, name: str) -> dict[RunKey, TrainConfig]:
    """Every run on one world, validated, by method, split and seed.

    Raises:
        ConfigError: naming the flag.
    """
    world, seeds = WORLDS[name], parse_numbers("seeds", args.seeds, 0, None)
    splits = parse_numbers("splits", args.splits, 1, 50) if world.splits else [None]
    methods = parse_names("methods", args.methods, METHODS)
    flags = [*world.flags.split(), "--data-dir", str(args.data_dir / world.folder), "--epochs", str(world.epochs)]
    base = dataclasses.replace(
        train_config(flags, saved_config),
        eval_every=world.eval_every,
        save_every=1,
        **{part: getattr(args, part) for part in ("cache_dir", "amp", "compile", "device", "threads")},
    )
    return {
        RunKey(method, split, seed): dataclasses.replace(base, split=split or base.split, seed=seed)
        for method in methods
        for split in splits
        for seed in seeds
    }


def train_worlds(args: WorldsConfig) -> int:
    """Train the runs that are left, world by world. Returns the exit code."""
    if args.runs_at_once < 1:
        raise ConfigError(f"--runs-at-once {args.runs_at_once}: must be 1 or more")
    names = parse_names("worlds", args.worlds, WORLDS)
    plans = {name: runs_of(args, name) for name in names}
    rivals.check(sorted({key.method for runs in plans.values() for key in runs}))
    left = {
        name: [key for key in runs if not row_path(args.results / name, key).exists()] for name, runs in plans.items()
    }
    if args.dry_run:
        for name, keys in left.items():
            for key in keys:
                print(f"{name}: {key.name}")
        return 0
    every = sum(map(len, plans.values()))
    print(f"{sum(map(len, left.values()))} of {pluralize(every, 'run')} left, in {args.results}", file=sys.stderr)
    for name in names:
        if left[name]:
            _check_data(args, name)
    tune_malloc()
    device = choose_device(args.device)
    choose_kernels("auto")
    _, each = at_once.on_cpu(args.runs_at_once, args.runs_at_once, args.threads, RankInfo())
    note = threads.choose(each)
    if note and device.type == "cpu":
        print(f"note: {note}", file=sys.stderr)
    for name in names:
        stopped = _train(args, name, plans[name], left[name], device)
        if stopped is not None:
            print("stopped and saved; the same command continues", file=sys.stderr)
            return 128 + stopped
    return 0


def _train(
    args: WorldsConfig, name: str, runs: dict[RunKey, TrainConfig], left: list[RunKey], device: torch.device
) -> int | None:
    """Train what is left of one world; returns the signal that stopped it, or None."""
    if not left:
        return None
    world = WORLDS[name]
    results = Results(
        args.results / name, dataset=name, recipe="default", epochs=world.epochs, keep_checkpoints=args.keep_checkpoints
    )
    pictures = frozenset(key for key in runs if key.method == OURS and key.seed == 0 and key.split in (None, 1))
    sweep = Sweep(results, runs, device, RankInfo(), pictures, held_out=True)
    own_threads = torch.get_num_threads()
    if (count := min(args.runs_at_once, len(left))) > 1:
        sweep.at_once = count
        return workers.in_processes(sweep, left, count, "auto", own_threads)
    for key in left:
        print(f"{name}: {key.name} ...", file=sys.stderr)
        if device.type == "cuda" and key.method == OURS:
            stopped = sweep.train_one(key)
        else:  # each in a process of its own, whose memory is its own too
            stopped = workers.in_processes(sweep, [key], 1, "auto", own_threads)
        if stopped is not None:
            return stopped
    return None


def _check_data(args: WorldsConfig, name: str) -> None:
    """Raise ConfigError where the folder of a world is missing; MNIST and FashionMNIST can be downloaded."""
    folder = args.data_dir / WORLDS[name].folder
    if WORLDS[name].folder not in ("mnist", "fashion-mnist") and not folder.is_dir():
        raise ConfigError(
            f"--worlds {name}: its images are not in {folder}; put them there (docs/worlds.md says where they come "
            "from), name another --data-dir, or leave it out"
        )
