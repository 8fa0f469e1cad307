"""What `train` says before it begins: the images in a line, and about how long the run will take.

Nothing is drawn and nothing changes: the front end and Q label some images, as an evaluation has them do, and a step's
time follows from that by constants. `python -m fastgan.check` and `--dry-run` try real steps, which takes longer.

Legend: N images.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.facts import BYTES, FLAT
from fastgan.data.identity import Identity
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling
from fastgan.runtime.process import peak_memory
from fastgan.text import in_bytes, in_time, pluralize
from fastgan.training.engine import Engine
from fastgan.training.estimate import checkpoint_bytes

# Time of a step over that of labelling its batch, and seconds besides: 5.6 to 7.4 and 11 to 18 of networks of 1.2 to 35
# million parameters at 16 to 64 pixels, in float32 and bfloat16, on one core of an AMD EPYC; of smaller ones the
# seconds besides are most.
PRETRAINING, WHOLE = (6.5, 0.02), (15.0, 0.04)
FIRST = 4  # images that are labelled first
SECONDS = 0.3  # that labelling more may take


@dataclass(frozen=True)
class Outlook:
    """What a run will take, about. rate, pretraining_rate: images a second; seconds: of all its steps; memory: bytes of
    the process; disk: bytes of the checkpoints that it keeps."""

    rate: float
    pretraining_rate: float
    seconds: float
    memory: int
    disk: int


def outlook(trainer: Engine, images: Tensor) -> Outlook:
    """Estimate a run on a CPU from labelling some of its images [N, C, S, S], in a second or less."""
    each, batch, phases = _labelling_seconds(trainer, images), trainer.config.batch_size, trainer.phases
    pretraining_rate, rate = (batch / (factor * each * batch + more) for factor, more in (PRETRAINING, WHOLE))
    step = trainer.step
    gradients = sum(weight.nbytes for weight in step.networks.parameters())
    return Outlook(
        rate=rate,
        pretraining_rate=pretraining_rate,
        seconds=phases.pretrained / pretraining_rate + (phases.total - phases.pretrained) / rate,
        memory=peak_memory(trainer.device) + gradients,
        disk=checkpoint_bytes(step),
    )


def _labelling_seconds(trainer: Engine, images: Tensor) -> float:
    """To label one image."""

    def measured(count: int) -> float:
        begin = time.perf_counter()
        labelling.read(trainer.step.networks, images[:count], trainer.config, trainer.device)
        return (time.perf_counter() - begin) / min(count, len(images))

    measured(FIRST)  # the first takes longer
    many = int(SECONDS / max(measured(FIRST), 1e-9))
    many = max(FIRST, min(many, trainer.config.batch_size))
    return min(measured(many), measured(many))


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
    lines = [f"{place}: {of_images(images, which)}"] if config.own_images else []
    if chosen:
        shown = f"{config.epochs:,}, for --epochs 0 leaves their number open: {trainer.phases.total:,} images are shown"
        lines.append(f"epochs: {shown}; 1 or more set another number")
    if trainer.device.type != "cpu" or trainer.comm.world_size > 1:  # another measure would be needed
        return lines
    found = outlook(trainer, images.images)
    rates = f"{found.rate:,.0f} images/s"
    if trainer.phases.pretrained:
        rates = f"{found.pretraining_rate:,.0f} images/s in pretraining, then {found.rate:,.0f}"
    needs = f"{in_bytes(found.memory)} of memory or more, {in_bytes(found.disk)} in its folder"
    return [*lines, f"this run: about {in_time(found.seconds)} here, a rough guess ({rates}); {needs}"]


def of_images(images: ImageSet, which: Identity) -> str:
    """How many images there are, of which kinds of file, equal to others and of nearly one colour."""
    count, facts = len(images.images), images.facts
    said = pluralize(count, "image")
    if facts is not None and len(facts) == count:
        kinds = Counter(kind.decode() for kind in facts.rows["format"].tolist())
        said += f" ({', '.join(f'{kind} {number:,}' for kind, number in kinds.most_common())})"
        flat = int(facts.flat.sum())
    else:
        flat = sum(_flat(part) for part in images.images.split(1024))
    if which.each is not None:
        equal = count - len(np.unique(np.frombuffer(which.each, f"V{BYTES}")))
        said += f", {equal:,} equal to another" if equal else ""
    return said + (f", {flat:,} of (nearly) one colour" if flat else "")


def _flat(images: Tensor) -> int:
    pixels = images.flatten(1)
    return int((pixels.amax(1).to(torch.int16) - pixels.amin(1) <= FLAT).sum())
