"""What a run would take on this machine, from a few real steps: time, memory and disk.

An estimate, to choose settings by: a run's speed changes with what else the machine does.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import torch

from fastgan.config.schedule import Phases
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling
from fastgan.runs import checkpoint
from fastgan.runtime.device import device_name
from fastgan.runtime.process import peak_memory
from fastgan.runtime.stages import stage
from fastgan.step.step import Step
from fastgan.training.engine import Engine
from fastgan.training.pseudo_labels import find_groups

WARM_UP = 2  # steps before any is timed
LEAST, MOST = 3, 30  # steps that are timed
SECONDS = 4.0  # after which no further step is
GROUPED = 1000  # images on which a grouping is timed
GROWTH = 1.3  # a grouping's time grows with this power of its landmarks (measured from 1,000 to 10,000)


@dataclass(frozen=True)
class Estimate:
    """What a run of `images` images would take.

    device: its name. parameters: of all networks. shown: images that the run shows, and of these in pretraining
    `pretrained`. rate, pretraining_rate: images a second; the latter None without pretraining. seconds: of training
    and groupings. memory: bytes of the host, or of a GPU. checkpoints: bytes of those that a run folder keeps.
    """

    device: str
    images: int
    parameters: int
    shown: int
    pretrained: int
    rate: float
    pretraining_rate: float | None
    grouping_seconds: float
    seconds: float
    memory: int
    checkpoints: int


def estimate(config: TrainConfig, sample: ImageSet, images: int, device: torch.device) -> Estimate:
    """Time a few steps of a resolved `config` on some of a data set's images.

    Args:
        sample: at least a batch of the images.
        images: how many there are in all.

    Raises:
        ConfigError: for a prior or an --augment that is not available.
    """
    engine = Engine(dataclasses.replace(config, compile=False), sample, device)
    step = engine.step
    phases = Phases.of(config, max(images // engine.batch, 1) * engine.batch)
    with stage("timing a few steps"):
        engine.prepare(0)
        pretraining = _rate(engine, 0) if phases.pretrained else None
        rate = _rate(engine, engine.phases.pretrained)
    with stage("timing a grouping"):
        grouping = _grouping_seconds(engine, sample, images) if config.grouping.at else 0.0
    seconds = (phases.total - phases.pretrained) / rate + len(config.grouping.at) * grouping
    if pretraining is not None:
        seconds += phases.pretrained / pretraining
    return Estimate(
        device=device_name(device),
        images=images,
        parameters=sum(each.numel() for each in step.networks.parameters()),
        shown=phases.total,
        pretrained=phases.pretrained,
        rate=rate,
        pretraining_rate=pretraining,
        grouping_seconds=grouping,
        seconds=seconds,
        memory=peak_memory(device) + max(images - len(sample.images), 0) * sample.images[0].nbytes,
        checkpoints=checkpoint_bytes(step),
    )


def checkpoint_bytes(step: Step) -> int:
    """Of the checkpoints that a run folder keeps."""
    state = step.model.state_dict() | step.training_state()
    return checkpoint.KEPT * sum(each.nbytes for each in state.values())


def _rate(engine: Engine, first: int) -> float:
    """Images a second of the steps from the run's image `first` on, loading and transforms included."""
    engine.step.images_seen.fill_(first)
    done, begin = 0, 0.0
    for number in range(WARM_UP + MOST):
        if number == WARM_UP:
            begin = time.perf_counter()
        seen = first + number * engine.batch
        engine.prefetch(seen, seen + engine.batch)
        engine.run(seen, 1)
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        done = number + 1 - WARM_UP
        if done >= LEAST and time.perf_counter() - begin > SECONDS:
            break
    return done * engine.batch / (time.perf_counter() - begin)


def _grouping_seconds(engine: Engine, sample: ImageSet, images: int) -> float:
    """Of one grouping of `images` images, from one of GROUPED."""
    config, part = engine.config, sample.images[:GROUPED]
    begin = time.perf_counter()
    embeddings, logits = labelling.read(engine.step.networks, part, config, engine.device)
    find_groups(embeddings, logits.argmax(1).cpu(), config.classes, config.grouping, config.seed, part)
    took = time.perf_counter() - begin
    landmarks = min(config.grouping.landmarks, images)
    return took * (landmarks / len(part)) ** GROWTH * max(images / landmarks, 1.0)
