"""The paper's variants over its imbalanced MNISTs, and their table."""

from __future__ import annotations

import sys

import torch

from fastgan.config.commands import ReproduceConfig, WorldsConfig
from fastgan.config.schema import TrainConfig
from fastgan.runtime import threads
from fastgan.runtime.device import choose_device, choose_kernels, device_name
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.ranks import RankInfo
from fastgan.sweep import at_once, time_left, workers
from fastgan.sweep.results import Results, RunKey
from fastgan.sweep.runner import Sweep
from fastgan.sweep.worlds import train_worlds
from fastgan.sweep.worlds_table import write_worlds


def train(args: ReproduceConfig, runs: dict[RunKey, TrainConfig], found: Results, ranks: RankInfo) -> int | None:
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
        methods = len({key.method for key in left})
        count = at_once.on_gpu(args.runs_at_once, own, device, captured=args.capture, methods=methods)
        _begin(sweep, left, device, count)
        return at_once.in_threads(sweep, left, count) if count > 1 else sweep.train()
    count, each = at_once.on_cpu(args.runs_at_once, len(left), args.threads, ranks)
    note = threads.choose(each, processes=ranks.local_world_size)
    if note:
        print(f"note: {note}", file=sys.stderr)
    _begin(sweep, left, device, count)
    return workers.in_processes(sweep, left, count, args.kernels, each) if count > 1 else sweep.train()


def _begin(sweep: Sweep, left: list[RunKey], device: torch.device, count: int) -> None:
    """Note how many runs are made at a time, and say how long they will take, as far as finished ones tell."""
    sweep.at_once *= max(1, count)
    rest = time_left.in_words(sweep.results.folder, left, device_name(device), sweep.at_once)
    if rest and sweep.ranks.rank == 0:
        print(rest, file=sys.stderr)


def worlds(args: WorldsConfig) -> int:
    """`--suite worlds`: train the runs that are left, or print the table. Returns the exit code."""
    if args.table:
        print(write_worlds(args.results))
        return 0
    return train_worlds(args)
