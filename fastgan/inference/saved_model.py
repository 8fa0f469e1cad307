"""A model that travels: weights in safetensors, config.json, and a model card; read back without the run's folder.

An export holds the same files beside its programs. Nothing in them is executed when they are read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fastgan.config.serialization import from_json, to_json
from fastgan.errors import ConfigError
from fastgan.inference.export_place import SETTINGS, WEIGHTS
from fastgan.inference.trained_run import TrainedModel, TrainedRun
from fastgan.models.networks import Generator, Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runtime.environment import environment

KIND = "elastic-infogan"
EVALUATED = "effective_classes"  # a figure that every evaluation has
PLACES = ("data_dir", "run_dir", "cache_dir")  # of this machine: they do not travel


@dataclass(frozen=True)
class Provenance:
    """What a model card tells of the training: the number of images, and the row of the last evaluation."""

    images: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


def provenance(run: TrainedRun) -> Provenance:
    """Of a run, as far as its folder tells."""
    kept = run_folder.last_environment(run_folder.read_settings(run.run.path)).get("images")
    rows = [row for row in MetricsLog(run.run.metrics).rows() if EVALUATED in row]
    count = kept.get("count") if isinstance(kept, dict) else None
    return Provenance(count if isinstance(count, int) else None, rows[-1] if rows else {})


def tensors(model: TrainedModel) -> dict[str, Tensor]:
    """generator.*, front_end.* and code_head.*, named as in the state_dict, and prior.logits and .probabilities [K]."""
    parts = {"generator": model.generator, "front_end": model.networks.front_end, "code_head": model.networks.code_head}
    found = {
        f"{part}.{name}": value.contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    return found | {"prior.logits": model.prior.logits.detach(), "prior.probabilities": model.prior.probabilities()}


def write(model: TrainedModel, of: Provenance, folder: Path) -> None:
    """Write the weights and config.json into an existing folder; raises OSError."""
    # Not save_file, whose files only their owner may read.
    (folder / WEIGHTS).write_bytes(save({name: value.cpu() for name, value in tensors(model).items()}))
    shape, settings = model.networks.shape, to_json(model.config) | dict.fromkeys(PLACES)
    values = {
        "model_type": KIND,
        "library_name": "fastgan",
        "versions": environment(model.device)["versions"],
        "n_classes": shape.classes,
        "image_size": shape.image_size,
        "channels": shape.channels,
        "class_prior": model.prior.probabilities().tolist(),
        "images": of.images,
        "images_seen": model.images_seen,
        "figures": dict(of.figures),
        "settings": settings,
    }
    (folder / SETTINGS).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read(folder: Path, device: torch.device) -> tuple[TrainedModel, Provenance]:
    """The model in a folder that `write` has filled.

    Raises:
        ConfigError: files are missing, damaged, or do not fit each other.
    """
    values = _settings(folder)
    config = from_json(values["settings"], str(folder / SETTINGS))
    try:
        channels, seen, count = (values[name] for name in ("channels", "images_seen", "images"))
        if channels not in (1, 3) or not isinstance(seen, int) or not isinstance(count, int | None):
            raise ValueError("channels, images_seen or images are no such numbers")
        shape = Shape(config.image_size, channels, config.classes, config.network, config.finer_codes)
        networks, average = Networks(shape), Generator(shape)
        prior = ClassPrior("learned", config.classes)
        state = load_file(folder / WEIGHTS)
        parts: dict[str, nn.Module] = {"generator": average, "front_end": networks.front_end, "prior": prior}
        for name, module in (parts | {"code_head": networks.code_head}).items():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            own.pop("probabilities", None)  # for readers of other programs
            module.load_state_dict(own)
    except OSError as error:
        raise _no_model(folder, WEIGHTS, error.strerror or error) from error
    except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        cause = " ".join(str(error).split())  # torch lists the names on lines of their own
        raise ConfigError(
            f"{folder}: {WEIGHTS} and {SETTINGS} are damaged or do not fit ({cause}); get them again"
        ) from error
    networks.generator = average
    for module in (networks, prior):
        module.to(device).eval()
    figures = values["figures"] if isinstance(values.get("figures"), dict) else {}
    config = dataclasses.replace(config, run_dir=None)
    return TrainedModel(config, networks, prior, networks.generator, seen, device), Provenance(count, figures)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if values["model_type"] != KIND or not isinstance(values["settings"], dict):
            raise ValueError(f"it is not of a model of type {KIND}")
    except OSError as error:
        raise _no_model(folder, SETTINGS, error.strerror or error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_model(folder, SETTINGS, error) from error
    return values


def _no_model(folder: Path, file: str, cause: object) -> ConfigError:
    return ConfigError(
        f"{folder}: is not a saved model ({file}: {cause}); give a folder that save_pretrained or "
        "fastgan.export has written"
    )
