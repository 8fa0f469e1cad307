"""What `train` says before it begins: the images in a line, and about how long the run will take.

A few real steps are made, which the run then forgets: it starts as if there had been none. Groupings and evaluations
are estimated from small ones. `python -m fastgan.check` and `--dry-run` try more steps, of a run that is not begun.

Legend: N images.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.config.schedule import Phases
from fastgan.config.schema import TrainConfig
from fastgan.data import remarks
from fastgan.data.facts import BYTES, is_flat
from fastgan.data.identity import Identity
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling
from fastgan.runtime import threads
from fastgan.runtime.process import peak_memory
from fastgan.runtime.stages import stage
from fastgan.text import in_bytes, in_time, pluralize
from fastgan.training.engine import Engine
from fastgan.training.estimate import checkpoint_bytes, grouping_seconds, step_rate

# Images that an evaluation of a run with labels draws: of each code, and besides (evaluation/evaluator.py).
PER_CODE, DIVERSITY = 1000, 10_000
WARM_UP, LEAST, MOST = 1, 1, 30  # steps before any is timed, and steps that are, of each kind
SECONDS = 1.0  # after which no further step is
READ = 256  # images that are labelled to time that
LONG = 3600.0  # seconds above which a narrower network is tried
NARROWEST = 8  # channels that it has at least
BUSY = 0.5  # processors that other processes use, above which the estimate says so


@dataclass(frozen=True)
class Outlook:
    """What a run will take, about.

    rate, pretraining_rate: images a second, the latter 0 without pretraining. seconds: of all its steps, groupings and
    evaluations. busy: processors that other processes used meanwhile. memory: bytes of the process. disk: bytes of the
    checkpoints that it keeps.
    """

    rate: float
    pretraining_rate: float
    seconds: float
    busy: float
    memory: int
    disk: int


def outlook(trainer: Engine, images: ImageSet) -> Outlook:
    """Estimate a run on a CPU from a few of its steps, in seconds; the engine is then as if it were new."""
    config, phases, step, count = trainer.config, trainer.phases, trainer.step, len(images.images)
    before, read = threads.CpuUse.now(), _read_seconds(trainer, images.images)
    grouping = grouping_seconds(trainer, images.images, count) if config.grouping.at else 0.0
    with torch.random.fork_rng(devices=[]):  # a restart initialises weights
        pretraining, rate = _rates(trainer)
        busy = threads.busy_with_others(before)
        trainer.restart(config, images)
    seconds = _step_seconds(phases, pretraining, rate) + len(config.grouping.at) * grouping
    evaluations = max(phases.total // (config.eval_every * trainer.epoch_images), 1)
    # The last evaluation writes the page, which labels all images again.
    shown = (evaluations + 1) * count + evaluations * (2 * _judged(config, images))
    return Outlook(
        rate=rate,
        pretraining_rate=pretraining,
        seconds=seconds + shown * read,
        busy=busy,
        memory=peak_memory(trainer.device),
        disk=checkpoint_bytes(step),
    )


def _rates(trainer: Engine) -> tuple[float, float]:
    """Images a second in pretraining, 0 without, and after it."""
    pretrained = trainer.phases.pretrained
    form: dict[str, Any] = {"warm_up": WARM_UP, "least": LEAST, "most": MOST, "seconds": SECONDS}
    first = step_rate(trainer, 0, **form) if pretrained else 0.0
    return first, step_rate(trainer, pretrained, **form)


def _step_seconds(phases: Phases, pretraining: float, rate: float) -> float:
    """Of all steps of a run, at these images a second in pretraining and after it."""
    seconds = (phases.total - phases.pretrained) / rate
    return seconds + (phases.pretrained / pretraining if phases.pretrained else 0.0)


def _read_seconds(trainer: Engine, images: Tensor) -> float:
    """To label one image."""
    part = images[:READ]
    labelling.read(trainer.step.networks, part[:4], trainer.config, trainer.device)  # the first takes longer
    begin = time.perf_counter()
    labelling.read(trainer.step.networks, part, trainer.config, trainer.device)
    return (time.perf_counter() - begin) / len(part)


def _judged(config: TrainConfig, images: ImageSet) -> int:
    """Images that an evaluation draws and has judged, which takes about twice as long as labelling as many."""
    return 0 if images.labels is None else PER_CODE * config.classes + min(DIVERSITY, len(images.images))


def _narrower(trainer: Engine, images: ImageSet, seconds: float) -> str:
    """What a network of fewer channels would take, by a few steps of its own; empty where none is left to try."""
    config, width = trainer.config, trainer.config.network.width
    while seconds > LONG and width // 2 >= NARROWEST:
        width //= 2
        narrow = replace(config, network=replace(config.network, width=width), compile=False)
        with torch.random.fork_rng(devices=[]):
            other = Engine(narrow, images, trainer.device)
        seconds = _step_seconds(other.phases, *_rates(other))
    if width == config.network.width:
        return "more than an hour: fewer --epochs, a smaller --image-size or a GPU shorten it"
    flag = f"--network.width {width} instead of {config.network.width}"
    left = f"would take about {in_time(seconds)}, by a few steps of it, and may find coarser classes"
    return f"more than an hour: {flag} {left}; fewer --epochs or a GPU shorten it too"


def describe(
    config: TrainConfig, trainer: Engine, images: ImageSet, which: Identity, *, chosen: bool, named: bool = True
) -> list[str]:
    """The lines to print before training.

    Args:
        config: resolved. which: the identity of the images.
        chosen: whether the number of epochs was left to fastgan.
        named: whether to say where one's own images are.
    """
    place = config.data_dir if named else images.name
    lines = []
    if config.own_images:
        own = [of_images(images, which), remarks.of_scale(images)]
        lines += [f"{place}: {line}" for line in own if line is not None]
    if chosen:
        shown = f"{config.epochs:,}, for --epochs 0 leaves their number open: {trainer.phases.total:,} images are shown"
        lines.append(f"epochs: {shown}; 1 or more set another number")
    if trainer.device.type != "cpu" or trainer.comm.world_size > 1:  # another measure would be needed
        return lines
    with stage("a few steps, to estimate the time"):
        found = outlook(trainer, images)
        advice = [_narrower(trainer, images, found.seconds)] if found.seconds > LONG else []
    rates = f"{found.rate:,.0f} images/s"
    if trainer.phases.pretrained:
        rates = f"{found.pretraining_rate:,.0f} images/s in pretraining, then {found.rate:,.0f}"
    needs = f"{in_bytes(found.memory)} of memory or more, {in_bytes(found.disk)} in its folder"
    load = f", while other processes use {found.busy:.1f} processors" if found.busy > BUSY else ""
    return [*lines, f"this run: about {in_time(found.seconds)} here{load} ({rates}); {needs}", *advice]


def of_images(images: ImageSet, which: Identity) -> str:
    """How many images there are, of which kinds of file, equal to others and of nearly one colour."""
    count, facts = len(images.images), images.facts
    said = pluralize(count, "image")
    if facts is not None and len(facts) == count:
        kinds = Counter(kind.decode() for kind in facts.rows["format"].tolist())
        said += f" ({', '.join(f'{kind} {number:,}' for kind, number in kinds.most_common())})"
    flat = int(is_flat(*images.extremes()).sum())
    if which.each is not None:
        equal = count - len(np.unique(np.frombuffer(which.each, f"V{BYTES}")))
        said += f", {equal:,} equal to another" if equal else ""
    return said + (f", {flat:,} of (nearly) one colour" if flat else "")
