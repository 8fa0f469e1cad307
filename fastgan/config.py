"""Every setting of a run, in one frozen dataclass that flows from the command line down.

`preset(dataset)` gives the defaults of a data set, `validate` refuses what cannot work and names the
flag, and `to_json` / `from_json` carry the settings through run.json.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fastgan.errors import ConfigError

PAPER_ROTATION = 25  # degrees; the crop of the authors' library loses its height a little above 30
Dataset = Literal["digits", "mnist"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths of the networks; depths follow from the image size (model.py)."""

    noise: int = 62
    """Length of the generator's noise vector z."""
    width: int = 64
    """Channels of the first convolution; each further one doubles them, up to 512."""
    hidden: int = 1024
    """Units of the generator's and the front end's wide linear layer."""
    embedding: int = 128
    """Length of Q's embedding, which the contrastive loss compares."""


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """The identity-preserving transform of a real image (augment/transform.py)."""

    kind: Literal["default", "paper"] = "default"
    """default: real-valued angle, inscribed square kept. paper: whole degrees and the narrower crop of the
    authors' library."""
    rotation: float = 20.0
    """Largest angle, degrees; each image draws its own from +/- this."""
    zoom: tuple[float, float] = (0.9, 1.1)
    """Smallest and largest zoom about the centre, as a factor."""
    shift: float = 0.0
    """Largest shift along each axis, as a share of the image's side."""
    flip: float = 0.0
    """Share of the images that are mirrored left to right; 0 mirrors none."""
    brightness: float = 0.0
    """Largest change of brightness: each image draws its factor from 1 +/- this; 0 leaves it."""
    contrast: float = 0.0
    """Largest change of contrast about mid-grey: each image draws its factor from 1 +/- this; 0 leaves it."""
    saturation: float = 0.0
    """Largest change of saturation, as a factor from 1 +/- this; 0, and any image of one channel, is left."""
    hue: float = 0.0
    """Largest turn of the hue, degrees, from +/- this; 0, and any image of one channel, is left."""
    interpolation: Literal["auto", "bicubic", "bilinear"] = "auto"
    """How the warped image is sampled. auto: bicubic where --augment can, which is everywhere but with DALI."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run. The defaults are the paper's recipe; presets change what a data set needs."""

    dataset: Dataset = "digits"
    """Which images: digits (scikit-learn's 8x8 digits, shipped with it) or mnist."""
    recipe: Literal["default", "paper"] = "default"
    """paper: the data set's settings without what is no part of the paper's recipe (the averaged generator, and any
    transform but the paper's own). Each flag still changes what it names."""
    data_dir: Path | None = None
    """Folder with the data set's files, or to download them into. Left out: ./data."""
    split: int = 1
    """Which of the 50 published random class frequencies to use, 1 to 50."""
    imbalance: Literal["split", "none"] = "split"
    """split: classes as frequent as --split says. none: every image is kept."""
    image_size: int = 28
    """Side of the square training images, pixels."""

    classes: int = 10
    """K, the number of codes the model may use."""
    prior: Literal["learned", "uniform", "true"] = "learned"
    """The class prior: learned through Gumbel-Softmax, fixed uniform, or fixed to the true frequencies."""
    contrastive_weight: float = 10.0
    """Weight of the contrastive loss between an image and its transform; 0 switches it off."""
    temperature: float = 0.1
    """Gumbel-Softmax temperature."""
    contrastive_temperature: float = 1.0
    """NT-Xent temperature."""

    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 64
    """Real images a step; the last, smaller batch of an epoch is dropped."""
    learning_rate: float = 2e-4
    """Adam's step size, for the discriminator's and the generator's side alike."""
    average_decay: float = 0.0
    """Decay a step of the averaged generator used for samples and evaluation; 0 uses the generator as it is."""
    seed: int = 0
    """Fixes the initial weights and every random draw."""

    amp: bool = False
    """Automatic mixed precision: products in --amp-dtype, losses and codes in float32."""
    amp_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Precision under --amp; float16 scales its losses."""
    compile: bool = False
    """Compile the networks with torch.compile (falls back to eager without a C++ compiler)."""
    kernels: Literal["auto", "triton", "reference"] = "auto"
    """Random draws, contrastive loss and Adam by fused Triton kernels or by their references in plain torch; auto
    takes Triton on a CUDA GPU."""
    augment: Literal["auto", "dali", "torchvision"] = "auto"
    """What transforms the images: NVIDIA DALI, or batched tensor operations; auto takes DALI on a CUDA GPU where it is
    installed."""
    capture: bool = True
    """On a CUDA GPU, replay the training step as a CUDA graph; without effect elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA GPU when there is one."""

    run_dir: Path | None = None
    """The run's folder. Left out: a new name under runs/."""
    resume: bool = False
    """Continue the run in --run-dir from its newest good checkpoint."""
    eval_every: int = 5
    """Epochs between evaluations (one always comes at the end)."""
    save_every: int = 1
    """Epochs between checkpoints (one always comes at the end)."""
    log_every: int = 6400
    """Images between two lines of metrics.jsonl."""
    dry_run: bool = False
    """Print the settings and stop."""

    transform: TransformConfig = field(default_factory=TransformConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


# What a data set changes against the paper's recipe, and why.
PRESETS: dict[str, TrainConfig] = {
    # About 1,200 tiny images: half the width at 16x16 trains in a minute and a half on two cores. Digits of 8x8
    # pixels bear less rotation than MNIST's; a small shift makes up for their number.
    "digits": TrainConfig(
        dataset="digits",
        image_size=16,
        epochs=160,
        eval_every=80,
        save_every=40,
        log_every=64 * 100,
        transform=TransformConfig(rotation=15.0, shift=0.1),
        network=NetworkConfig(width=32, hidden=512),
        average_decay=0.998,
    ),
    # The averaged generator is no part of the paper's recipe. It leaves training as it is and draws better images:
    # Frechet distance 0.52 to 0.54 instead of 0.62 after 19.5 epochs, NMI 0.801 to 0.807 instead of 0.801.
    "mnist": TrainConfig(dataset="mnist", average_decay=0.999),
}


RECIPES = ("default", "paper")


def preset(dataset: str, recipe: str = "default") -> TrainConfig:
    """The defaults of a data set under a recipe; raises ConfigError for a name that is not known."""
    if dataset not in PRESETS:
        raise ConfigError(f"--dataset {dataset}: not known; choose one of {', '.join(PRESETS)}")
    if recipe not in RECIPES:
        raise ConfigError(f"--recipe {recipe}: not known; choose one of {', '.join(RECIPES)}")
    if recipe == "default":
        return PRESETS[dataset]
    transform = TransformConfig(kind="paper", interpolation="bicubic")
    return dataclasses.replace(PRESETS[dataset], recipe="paper", average_decay=0.0, transform=transform)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def validate(config: TrainConfig) -> TrainConfig:
    """Return `config`, or raise ConfigError naming the first flag that cannot work and what is allowed."""
    c, t, n = config, config.transform, config.network
    _require(1 <= c.split <= 50, f"--split {c.split}: must be 1 to 50")
    _require(c.classes >= 2, f"--classes {c.classes}: must be at least 2")
    _require(c.classes <= 65_536, f"--classes {c.classes}: must be at most 65536")
    _require(c.epochs >= 1, f"--epochs {c.epochs}: must be at least 1")
    _require(c.batch_size >= 2, f"--batch-size {c.batch_size}: must be at least 2 (BatchNorm and NT-Xent need a pair)")
    _require(c.seed >= 0, f"--seed {c.seed}: must be 0 or more")
    for flag, value in (("temperature", c.temperature), ("contrastive-temperature", c.contrastive_temperature)):
        _require(math.isfinite(value) and value > 0, f"--{flag} {value}: must be above 0")
    _require(
        math.isfinite(c.learning_rate) and c.learning_rate > 0, f"--learning-rate {c.learning_rate}: must be above 0"
    )
    _require(
        math.isfinite(c.contrastive_weight) and c.contrastive_weight >= 0,
        f"--contrastive-weight {c.contrastive_weight}: must be 0 or more",
    )
    _require(0 <= c.average_decay < 1, f"--average-decay {c.average_decay}: must be in [0, 1)")
    _require(
        8 <= c.image_size <= 256 and c.image_size % 2 ** halvings(c.image_size) == 0,
        f"--image-size {c.image_size}: must be 8 to 256 and divisible by {2 ** halvings(c.image_size)}; "
        "try 16, 28, 32, 64 or 128",
    )
    for flag, count in (("eval-every", c.eval_every), ("save-every", c.save_every), ("log-every", c.log_every)):
        _require(count >= 1, f"--{flag} {count}: must be at least 1")
    _require(0 <= t.rotation <= 180, f"--transform.rotation {t.rotation}: must be 0 to 180 degrees")
    _require(
        t.kind != "paper" or t.rotation <= PAPER_ROTATION,
        f"--transform.rotation {t.rotation}: at most {PAPER_ROTATION} with --transform.kind paper, whose crop vanishes",
    )
    _require(0 < t.zoom[0] <= t.zoom[1] <= 4, f"--transform.zoom {t.zoom[0]} {t.zoom[1]}: must be 0 < low <= high <= 4")
    _require(0 <= t.shift <= 0.5, f"--transform.shift {t.shift}: must be 0 to 0.5")
    for flag in ("flip", "brightness", "contrast", "saturation"):
        _require(0 <= getattr(t, flag) <= 1, f"--transform.{flag} {getattr(t, flag)}: must be 0 to 1")
    _require(0 <= t.hue <= 180, f"--transform.hue {t.hue}: must be 0 to 180 degrees")
    _require(
        c.augment != "dali" or t.interpolation != "bicubic",
        "--augment dali: its warp is at most linear, and the interpolation is bicubic (with --recipe paper as well); "
        "use --augment torchvision, or --transform.interpolation bilinear",
    )
    for flag, count in (("noise", n.noise), ("width", n.width), ("hidden", n.hidden), ("embedding", n.embedding)):
        _require(count >= 1, f"--network.{flag} {count}: must be at least 1")
    return config


def halvings(image_size: int) -> int:
    """How often the networks halve the image: twice, and on until the side is at most 8 pixels."""
    count = 2
    while image_size / 2**count > 8:
        count += 1
    return count


def stream_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose (`"noise"`, `"transform"`, `"order"`, ...): streams never share numbers."""
    digest = hashlib.sha256(f"fastgan:{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def cache_dir() -> Path:
    """Where a judge is kept when the data folder is not writable."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastgan"


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as plain JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_json`; raises ConfigError for settings that this version does not know."""
    values = dict(values)
    nested = {"transform": TransformConfig, "network": NetworkConfig}
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - known)
    _require(not unknown, f"run.json: unknown settings {', '.join(unknown)}; it was written by another version")
    try:
        for name, kind in nested.items():
            inner = dict(values[name])
            if "zoom" in inner:
                inner["zoom"] = tuple(inner["zoom"])
            values[name] = kind(**inner)
        for name in ("data_dir", "run_dir"):
            values[name] = None if values[name] is None else Path(values[name])
        return TrainConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"run.json: settings cannot be read ({error}); it was written by another version") from error
