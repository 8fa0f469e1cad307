"""Where and with what a run is continued: cases 10, 11 and 22."""

from __future__ import annotations

import importlib.util
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch

import kernels
from fastgan.augment import factory, transform
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.runs import checkpoint
from fastgan.runs.run_folder import saved_config
from fastgan.training.engine import Engine
from faults import Result, children, hooks, ranks

# Flags that change the course of training, each with another value than the tiny run's, and what the error names.
CHANGES = (
    ("--seed 4", "--seed (was 0)"),
    ("--classes 5", "--classes (was 4)"),
    ("--batch-size 64", "--batch-size (was 128)"),
    ("--network.width 8", "--network.width (was 4)"),
    ("--seed 4 --temperature 0.5", "seed (was 0)", "temperature (was "),
    ("--learning-rate 5e-4", "--learning-rate (was "),
    ("--image-size 28", "--image-size (was 16)"),
    ("--prior uniform", "--prior (was learned)"),
    ("--amp", "--amp (was False)"),
    ("--transform.rotation 5 --network.noise 9", "transform.rotation (was ", "network.noise (was 62)"),
    ("--grouping.at 2", "--grouping.at (was "),
    ("--split 2", "--split (was 1)"),
    ("--average-decay 0", "--average-decay (was 0.9)"),
    ("--contrastive-weight 3", "--contrastive-weight (was "),
    ("--dataset mnist", "--dataset (was digits)"),
)
EDITS = ('"width": 4', '"width": 8'), ('"hidden": 16', '"hidden": 32'), ('"embedding": 8', '"embedding": 16')


def _state(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def other_settings(count: int, folder: Path) -> Result:
    """Continue with other flags, or with a run.json whose networks are others."""
    result = Result()
    stopped = folder / "stopped"
    argv = [*children.TINY, "--run-dir", str(stopped)]
    children.run(argv, stopped.with_suffix(".log"), partial(hooks.stop_before, 4, signal.SIGTERM))
    for number in range(count):
        run = folder / f"run-{number}"
        shutil.copytree(stopped, run)
        flags, *words = CHANGES[number % len(CHANGES)]
        words += ["must stay as in", "start a new run without --resume"]
        if number % 6 == 5:
            result.count(*_other_ranks(run))
            continue
        if number % 6 == 4:
            text = (run / "run.json").read_text()
            (run / "run.json").write_text(text.replace(*EDITS[number // 6 % len(EDITS)]))
            flags, words = "", ["does not fit this run's networks"]
        before = _state(run)
        log = run.with_suffix(".log")
        ended = children.run(["--resume", "--run-dir", str(run), *flags.split()], log)
        result.count(ended.complaint(2, *words), _state(run) != before and "the run folder was changed")
    result.note = (
        "there is no flag that overrides it: the error lists the fields and their former values, and says to leave the "
        "flags out or to begin a new run; a run of one process on two ranks: refused by name, rank 0 says it once, and "
        "--resume-on-other-ranks goes on at the next whole batch"
    )
    return result


def _other_ranks(run: Path) -> list[str]:
    """Go on with a run of one process on two ranks; what is wrong."""
    before, again = _state(run), ["--resume", "--run-dir", str(run)]
    ended = ranks.finish(again, run.with_suffix(".log"))
    wrong = [ranks.complaints(ended, 2, "was trained on 1 rank, and here are 2", "--resume-on-other-ranks")]
    wrong += ["the run folder was changed"] if _state(run) != before else []
    ended = ranks.finish([*again, "--resume-on-other-ranks"], run.with_suffix(".meant"))
    wrong += [ranks.complaints(ended, 0, "resumed from", "after 768 images")]  # seen: 640
    job = ranks.RANKS * children.BATCH
    whole = 3 * (children.EPOCH * children.BATCH // job * job)
    if (seen := checkpoint.newest(run / "checkpoints")[1]) != whole:
        wrong.append(f"ended after {seen} images, not {whole}")
    return wrong


# In the order in which the short version takes them: (flags, step before which the run is stopped).
_DALI = ("--augment", "dali")
_HALF = ("--amp", "--amp-dtype", "float16")
STOPS = (
    ((), 13),
    ((), children.EPOCH - 1),
    (_DALI, 13),
    ((), children.STEPS - 2),
    *((flags, step) for flags in ((), ("--amp",), _HALF, _DALI) for step in (0, 8, 9, 12, 16, 17, 18, 25)),
)


def position(count: int, folder: Path) -> Result:
    """Stop in the middle of an epoch, at its edge or before the last step; go on in a new process; compare all."""
    result = Result()
    dali = importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None
    for number, (flags, step) in enumerate(STOPS[:count]):
        if flags == _DALI and not dali:
            continue
        whole, run, traced = (
            children.uninterrupted(*flags),
            folder / f"run-{number}",
            folder / f"traced{''.join(flags)}",
        )
        if not traced.exists():
            argv = [*children.TINY, *flags, "--run-dir", str(traced)]
            children.run(argv, traced.with_suffix(".log"), partial(hooks.trace, traced.with_suffix(".trace")))
        trace = run.with_suffix(".trace")
        argv = [*children.TINY, *flags, "--run-dir", str(run)]
        stop = partial(hooks.stop_before, step, signal.SIGTERM)
        first = children.run(argv, run.with_suffix(".log"), stop, partial(hooks.trace, trace))
        second = children.resume(run, partial(hooks.trace, trace))
        after = (step + 1) * children.BATCH
        result.count(
            first.complaint(143),
            second.complaint(0, f"after {after:,} images"),
            children.differs(run, whole),
            trace.read_text() != traced.with_suffix(".trace").read_text()
            and f"{flags} from step {step}: other images, transforms, groups or noise",
        )
    result.note = (
        "in the middle of an epoch, at its edge and before the last step; compared: weights, optimisers, losses, and "
        f"of each step its images, transforms, groups and noise; {'DALI, ' if dali else 'no DALI here; '}bfloat16 and "
        "float16 too in the long version"
    )
    return result


def _repeated(name: str, seen: Iterable[bytes]) -> str:
    """Which of many draws are the same; "" for none."""
    again = [key for key, times in Counter(seen).items() if times > 1]
    return f"{len(again)} repeated draws of {name}" if again else ""


def repeats(count: int, folder: Path) -> Result:
    """Draws of noise, Gumbel samples, transforms and orders over `count` epochs, of two seeds."""
    result = Result()
    noise: list[bytes] = []
    orders: list[bytes] = []
    maps: list[bytes] = []
    codes: list[bytes] = []
    batches: list[bytes] = []
    for seed in (0, 1):
        config = train_config([*children.TINY, "--seed", str(seed)], _no_run)
        images = loading.load(config)
        trainer = Engine(config, images, torch.device("cpu"))
        own = factory.transform_seed(config, torch.device("cpu"))
        size = config.batch_size
        orders += (loading.epoch_order(config, len(images.images), epoch).numpy().tobytes() for epoch in range(count))
        for seen in range(0, count * trainer.feed.epoch_images, size):
            clock = torch.tensor(seen)
            noise += ranks.rows(trainer.step.noise(size, clock))
            uniform = kernels.uniform((size, config.classes), seed=trainer.step.noise_seed, offset=clock)
            codes += ranks.rows(uniform)
            maps += ranks.rows(transform.draw(config.transform, config.image_size, size, seed=own, first_image=seen))
            trainer.feed.prefetch(seen, seen + size)
            batches.append(trainer.feed.batch_at(clock)[0].numpy().tobytes())
    for name, seen_rows in (
        ("noise", noise),
        ("codes' uniform numbers", codes),
        ("transforms", maps),
        ("orders", orders),
        ("batches", batches),
    ):
        result.count(_repeated(name, seen_rows))
    config = train_config([*children.TINY, "--batch-size", str(children.BATCH // ranks.RANKS)], _no_run)
    shared = ranks.draws(config, loading.load(config), count)
    for name, seen_rows in shared.items():
        result.count(_repeated(f"{name} over ranks", seen_rows))
    result.note = (
        f"{len(noise):,} images of two seeds, {count} epochs each: noise, codes and transforms an image, batches a "
        f"step, orders an epoch; and {len(shared['noise']):,} images of two ranks: noise, codes, transforms, and which "
        "images of the epoch"
    )
    return result


def _no_run(folder: Path) -> TrainConfig:
    return saved_config(folder)
