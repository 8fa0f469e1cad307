"""Which settings can be trained with: the limits declared in schema.py, and the rules over several settings.

pydantic was tried and left out: it adds 0.1 s to every command's start and four packages, its messages name one bound
where ours name the range, and unknown keys, infinities and rules over several settings would still be checked here.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from fastgan.config.imbalance import check_classes
from fastgan.config.schema import (
    CHANNELS,
    EMNIST_CLASSES,
    FLAGS_OF,
    IMBALANCE_OF,
    OPEN_FORM,
    PAPER_ROTATION,
    GroupingConfig,
    TrainConfig,
    TransformConfig,
    num_downsamples,
)
from fastgan.errors import ConfigError
from fastgan.text import pluralize

LANDMARKS = 10  # images for each class that grouping takes, more than


def validate(config: TrainConfig) -> TrainConfig:
    """Return `config`, or raise ConfigError naming the first flag that cannot work and what is allowed."""
    _check_data_set(config)
    _check_limits(config)
    _check_limits(config.grouping, "grouping.")
    _check_limits(config.transform, "transform.")
    _check_limits(config.network, "network.")
    _check_training(config)
    _check_grouping(config.grouping, config)
    _check_transform(config.transform, config)
    return config


def check_count(c: TrainConfig, images: int) -> None:
    """Raise ConfigError where so many images are too few for the settings, --classes first."""
    fewer = max(2, images // LANDMARKS)
    _require(
        c.classes <= images,
        f"--classes {c.classes}: more codes than the data has images, {images:,}; use far fewer, such as {fewer}",
    )
    lower = f"lower it to {fitting_batch(images)}, or " if images > 1 else ""
    _require(
        c.batch_size <= images,
        f"--batch-size {c.batch_size}: larger than the data, which has {pluralize(images, 'image')}; {lower}add images",
    )
    needed = LANDMARKS * c.classes
    more = f", or add --grouping.landmarks {needed + 1}" if images > needed else ""
    _require(
        c.grouping.landmarks > needed or not c.grouping.at,
        f"--classes {c.classes}: grouping takes more than {needed:,} images for so many, and the data has {images:,}, "
        f"of which --grouping.landmarks takes {c.grouping.landmarks:,}; use fewer classes, such as {fewer}{more}",
    )


def fitting_batch(images: int) -> int:
    """The largest power of two that so many images fill."""
    return 1 << images.bit_length() - 1


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def as_flag(name: str, value: Any) -> str:
    """A setting as it is given on the command line."""
    words = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"--{name.replace('_', '-')} {words}"


def _check_limits(settings: Any, prefix: str = "") -> None:
    """Every limit declared beside a field of one dataclass; None stands for a setting that is left out."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        for limit in getattr(hint, "__metadata__", ()):
            _require(value is None or limit.holds(value), f"{as_flag(prefix + name, value)}: must be {limit.words}")


def _check_data_set(c: TrainConfig) -> None:
    """What each data set needs, and the flags that it does not accept."""
    if c.own_images:
        what, named = ("file of the arrays", "FILE") if c.dataset == "npz" else ("folder of the images", "DIR")
        _require(c.data_dir is not None, f"--dataset {c.dataset}: needs the {what}; add --data-dir {named}")
    _require(
        c.imbalance == "none" or c.dataset != "folder" or c.labels_from_folders,
        f"--imbalance {c.imbalance}: needs classes; add --labels-from-folders if the subfolders are these, or use "
        "--imbalance none",
    )
    allowed = IMBALANCE_OF.get(c.imbalance, (c.dataset,))
    _require(
        c.dataset in allowed,
        f"--imbalance {c.imbalance}: is for --dataset {' or '.join(allowed)}; use --imbalance none, split or "
        f"long-tailed:10 with {c.dataset}",
    )
    known = _known_classes(c)
    if known is not None and c.imbalance not in IMBALANCE_OF:
        check_classes(c.imbalance, known, c.dataset)
    for name, data_sets in FLAGS_OF.items():
        value, usual = getattr(c, name), getattr(TrainConfig, name)
        usual = CHANNELS.get(c.dataset, usual) if name == "channels" else usual
        flag = as_flag(name, value).removesuffix(" True")
        _require(
            c.dataset in data_sets or value == usual,
            f"{flag}: is for --dataset {' or '.join(data_sets)}; leave it out with {c.dataset}",
        )


def _known_classes(c: TrainConfig) -> int | None:
    """The number of real classes, where it is known before the images are read."""
    known = {"youtube-faces": c.identities, "emnist": EMNIST_CLASSES[c.emnist_split]}
    return known.get(c.dataset, None if c.own_images else 10)


def _check_training(c: TrainConfig) -> None:
    least = _fewest_epochs(c)
    for name in ("epochs", "eval_every", "save_every"):
        _require(getattr(c, name) >= least, f"{as_flag(name, getattr(c, name))}: must be at least {least}")
    _require(
        c.finer_codes == 0 or c.agreement_weight > 0,
        f"--finer-codes {c.finer_codes}: learns by agreement alone; add --agreement-weight 1, or --finer-codes 0",
    )
    _require(
        c.pretrain_epochs <= 0 or (c.front_end_learns and c.learns_from_real),
        f"--pretrain-epochs {c.pretrain_epochs}: the front end has no loss on real images; add --front-end-learns and "
        "a --contrastive-weight, or use --pretrain-epochs 0",
    )
    _require(
        c.pretrain_epochs < c.epochs or c.epochs == 0,
        f"--pretrain-epochs {c.pretrain_epochs}: must be below --epochs {c.epochs}, or the generator never learns",
    )
    divisor, open_until_read = 2 ** num_downsamples(c.image_size), c.dataset in OPEN_FORM
    _require(c.channels > 0 or open_until_read, "--channels 0: must be 1 (grey) or 3 (RGB)")
    _require(
        (8 <= c.image_size <= 256 and c.image_size % divisor == 0) or (c.image_size == 0 and open_until_read),
        f"--image-size {c.image_size}: must be 8 to 256 and divisible by {divisor}; try 16, 28, 32, 64 or 128",
    )


def _fewest_epochs(c: TrainConfig) -> int:
    """0 leaves the number to schedule.py, which is for the user's own images only."""
    return 0 if c.own_images else 1


def _check_grouping(g: GroupingConfig, c: TrainConfig) -> None:
    chosen_later = g.at == (0,) and _fewest_epochs(c) == 0
    _require(
        all(epoch >= 1 for epoch in g.at) or chosen_later, f"{as_flag('grouping.at', g.at)}: epochs must be 1 or more"
    )
    few, needed = f"--grouping.landmarks {g.landmarks}: must be above", LANDMARKS * c.classes
    _require(
        g.landmarks > needed or not g.at or g.landmarks >= GroupingConfig.landmarks,  # see check_count
        f"{few} {LANDMARKS} per class; use {needed + 1} or more, or fewer --classes",
    )
    _require(
        g.landmarks > g.neighbours or not g.at,
        f"{few} --grouping.neighbours {g.neighbours}; raise it, or lower those",
    )


def _check_transform(t: TransformConfig, c: TrainConfig) -> None:
    _require(
        t.kind != "paper" or t.rotation <= PAPER_ROTATION,
        f"--transform.rotation {t.rotation}: must be at most {PAPER_ROTATION} with --transform.kind paper, whose crop "
        "would vanish",
    )
    _require(
        c.augment != "dali" or t.interpolation != "bicubic",
        "--augment dali: its warp is at most linear, and the interpolation is bicubic (with --recipe paper as well); "
        "use --augment torchvision, or --transform.interpolation bilinear",
    )
