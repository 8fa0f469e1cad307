"""What a run would take on this machine, from a few real steps: time, memory and disk.

An estimate, to choose settings by: a run's speed changes with what else the machine does.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.config.schedule import Phases
from fastgan.config.schema import GroupingConfig, TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling
from fastgan.runs import checkpoint
from fastgan.runtime.device import device_name
from fastgan.runtime.process import peak_memory
from fastgan.runtime.stages import stage
from fastgan.step.step import Step
from fastgan.training.engine import Engine
from fastgan.training.pixel_graphs import pixel_graphs
from fastgan.training.pseudo_labels import find_groups
from fastgan.training.spectral import DIRECTIONS, FEW, PARTS

WARM_UP = 2  # steps before any is timed
LEAST, MOST = 3, 30  # steps that are timed
SECONDS = 4.0  # after which no further step is
GROUPED, FEW_CLASSES = 1000, 10  # images and classes, at most, of the grouping that is timed


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
        grouping = grouping_seconds(engine, sample.images, images) if config.grouping.at else 0.0
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
    return step_rate(engine, first, warm_up=WARM_UP, least=LEAST, most=MOST, seconds=SECONDS)


def step_rate(engine: Engine, first: int, *, warm_up: int, least: int, most: int, seconds: float) -> float:
    """Images a second of an engine's steps from the run's image `first` on, which change its state.

    Args:
        warm_up: steps before any is timed.
        least, most: steps that are timed; within these, until `seconds` have passed.
    """
    engine.step.images_seen.fill_(first)
    done, begin = 0, 0.0
    for number in range(warm_up + most):
        if number == warm_up:
            begin = time.perf_counter()
        seen = first + number * engine.batch
        engine.prefetch(seen, seen + engine.batch)
        engine.run(seen, 1)
        if engine.device.type == "cuda":
            torch.cuda.synchronize(engine.device)
        done = number + 1 - warm_up
        if done >= least and time.perf_counter() - begin > seconds:
            break
    return done * engine.batch / (time.perf_counter() - begin)


def grouping_seconds(engine: Engine, pixels_NCHW: Tensor, images: int) -> float:
    """Seconds of one grouping of `images` images, from a small one into few classes.

    Args:
        pixels_NCHW: uint8, some of the images.
    """
    config, part = engine.config, pixels_NCHW[:GROUPED]
    classes = min(config.classes, FEW_CLASSES)
    begin = time.perf_counter()
    embeddings, logits = labelling.read(engine.step.networks, part, config, engine.device)
    read = time.perf_counter() - begin
    codes = logits.argmax(1).cpu() % classes
    begin = time.perf_counter()
    find_groups(embeddings, codes, classes, config.grouping, config.seed, part, pixel_graphs(config))
    once = dataclasses.replace(config.grouping, at=(1,))
    slowness = (time.perf_counter() - begin) / grouping_cost(len(part), classes, once)
    return read * images / len(part) + slowness * grouping_cost(images, config.classes, config.grouping)


def grouping_cost(images: int, classes: int, grouping: GroupingConfig) -> float:
    """Seconds that a grouping takes on one core of an AMD EPYC: its operations, each by what it took there.

    Constants are of groupings of 1,000 to 60,000 images into 2 to 100 classes; see bench/results/estimates-of-runs.md.
    The first of a run also compares pixels, a share of which each of its groupings has here.
    """
    landmarks = min(grouping.landmarks, images)
    vectors = DIRECTIONS[-1] * classes
    dense = landmarks <= FEW * vectors
    similarities = 6e-9 * landmarks * (landmarks + images)
    eigenvectors = 1.8e-10 * landmarks**3 if dense else 2e-8 * landmarks * vectors**2
    # k-means: its start finds one centre after the other, its iterations compare all points with all centres.
    centers = [min(parts * classes, landmarks) for parts in PARTS]
    starts = len(DIRECTIONS) * sum(centers)
    compared = sum(DIRECTIONS) * classes * sum(centers) * landmarks
    clustering = 1.8e-4 * starts + 1.2e-7 * landmarks * starts + 2.7e-9 * compared
    ways = 2 if grouping.pixel_views else 1
    merges = ways * len(DIRECTIONS) * sum(max(count - classes, 0) * (5e-5 + 2.7e-10 * count**2) for count in centers)
    cuts = ways * len(DIRECTIONS) * len(PARTS)
    pixels = grouping.pixel_views * landmarks * (6e-9 * landmarks + 6e-5) / max(len(grouping.at), 1)
    votes = 2e-9 * cuts * images * classes
    compare = 4e-8 * (cuts * grouping.samples) ** 2 * classes**2 / grouping.samples
    return grouping.samples * (similarities + eigenvectors + clustering + merges + votes + compare + pixels)
