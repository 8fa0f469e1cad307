"""A finished or stopped run, loaded: its settings and its networks, ready to draw images and to label them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import from_json
from fastgan.errors import CheckpointCorruptError
from fastgan.models.elastic_infogan import ElasticInfoGAN
from fastgan.models.networks import Generator, Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.runs import checkpoint, run_folder
from fastgan.runtime import precision, threads
from fastgan.runtime.device import choose_device


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in eval mode, whatever it was read from; `generator` is the one to sample from."""

    config: TrainConfig
    networks: Networks
    prior: ClassPrior
    generator: Generator
    images_seen: int
    device: torch.device


@dataclass(frozen=True)
class TrainedRun(TrainedModel):
    """The newest good checkpoint of a run, in eval mode."""

    run: run_folder.RunFolder

    def config_at(self, data_dir: Path | None, cache_dir: Path | None = None) -> TrainConfig:
        """The settings with another data folder and another cache; None leaves each as it was."""
        config = self.config if data_dir is None else replace(self.config, data_dir=data_dir)
        return config if cache_dir is None else replace(config, cache_dir=cache_dir)

    def ranks(self) -> int:
        """The number of ranks that the run was last trained on."""
        return run_folder.ranks_of(run_folder.read_settings(self.run.path))


def choose_processor(device: str, count: int) -> torch.device:
    """The device of a command that reads a run; sets the number of CPU threads, see `threads.choose`.

    Raises:
        ConfigError: the device or the number of threads is not available.
    """
    chosen = choose_device(device)
    note = threads.choose(count)
    if note and chosen.type == "cpu":
        print(f"note: {note}", file=sys.stderr)
    return chosen


def load(path: Path, device: torch.device) -> TrainedRun:
    """Read a run folder; raises ConfigError or CheckpointCorruptError, naming what is missing."""
    values = run_folder.read_settings(path)
    config = from_json(values["settings"], str(path / "run.json"))
    run = run_folder.RunFolder(path)
    newest, images_seen = checkpoint.newest(run.checkpoints)
    state = checkpoint.load(newest, "model")
    try:
        channels = state["networks.generator.image.weight"].shape[1]
        shape = Shape(config.image_size, channels, config.classes, config.network, config.finer_codes)
        average = Generator(shape) if config.average_decay > 0 else None
        model = ElasticInfoGAN(Networks(shape), ClassPrior("learned", config.classes), average)
        model.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError) as error:
        cause = " ".join(str(error).split())  # torch lists the names on lines of their own
        raise CheckpointCorruptError(
            f"checkpoint {newest}: does not fit {run.settings} ({cause}); restore that file, or train again"
        ) from error
    before, now = run_folder.precision_of(values), precision.for_reading(config, device)
    if now.note and now.name != before:
        print(f"note: trained in {before}; read in {now.note}", file=sys.stderr)
    model = model.to(device).eval()
    return TrainedRun(config, model.networks, model.prior, model.sampling_generator, images_seen, device, run)
