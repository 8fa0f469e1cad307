"""Which settings can be trained with: every limit, each with the flag to change."""

from __future__ import annotations

import math

from fastgan.config.schema import FLAGS_OF, PAPER_ROTATION, TrainConfig, halvings
from fastgan.errors import ConfigError


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def validate(config: TrainConfig) -> TrainConfig:
    """Return `config`, or raise ConfigError naming the first flag that cannot work and what is allowed."""
    c, t, n, g = config, config.transform, config.network, config.grouping
    if c.own_images:
        _require(c.data_dir is not None, f"--dataset {c.dataset}: needs the folder of the images; add --data-dir DIR")
        _require(c.imbalance == "none", f"--imbalance split: {c.dataset} has no published splits; add --imbalance none")
    for name, known_to in FLAGS_OF.items():
        value, default = getattr(c, name), getattr(TrainConfig, name)
        _require(
            c.dataset in known_to or value == default,
            f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}: is for --dataset "
            f"{' or '.join(known_to)}; leave it out with {c.dataset}",
        )
    _require(c.identities >= 2, f"--identities {c.identities}: must be at least 2")
    _require(c.frame_stride >= 1, f"--frame-stride {c.frame_stride}: must be at least 1 (every frame)")
    _require(c.channels in (1, 3), f"--channels {c.channels}: must be 1 (grey) or 3 (RGB)")
    _require(1 <= c.split <= 50, f"--split {c.split}: must be 1 to 50")
    _require(c.classes >= 2, f"--classes {c.classes}: must be at least 2")
    _require(c.classes <= 65_536, f"--classes {c.classes}: must be at most 65536")
    least = 0 if c.own_images else 1  # 0 leaves it to the number of images
    _require(c.epochs >= least, f"--epochs {c.epochs}: must be at least {least}")
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
    for flag, value in (
        ("agreement-weight", c.agreement_weight),
        ("prior-pull", c.prior_pull),
        ("grouping.weight", g.weight),
    ):
        _require(math.isfinite(value) and value >= 0, f"--{flag} {value}: must be 0 or more")
    rate = c.prior_learning_rate
    _require(rate is None or (math.isfinite(rate) and rate > 0), f"--prior-learning-rate {rate}: must be above 0")
    _require(0 <= c.finer_codes <= 65_536, f"--finer-codes {c.finer_codes}: must be 0 to 65536")
    _require(
        c.finer_codes == 0 or c.agreement_weight > 0,
        f"--finer-codes {c.finer_codes}: learns by agreement alone; add --agreement-weight 1, or --finer-codes 0",
    )
    chosen_later = g.at == (0,) and least == 0
    _require(all(epoch >= 1 for epoch in g.at) or chosen_later, f"--grouping.at {g.at}: epochs must be 1 or more")
    _require(g.neighbours >= 1, f"--grouping.neighbours {g.neighbours}: must be at least 1")
    _require(
        g.landmarks > max(g.neighbours, 10 * c.classes) or not g.at,
        f"--grouping.landmarks {g.landmarks}: must be above 10 a class, and above --grouping.neighbours",
    )
    _require(0 <= c.average_decay < 1, f"--average-decay {c.average_decay}: must be in [0, 1)")
    _require(
        8 <= c.image_size <= 256 and c.image_size % 2 ** halvings(c.image_size) == 0,
        f"--image-size {c.image_size}: must be 8 to 256 and divisible by {2 ** halvings(c.image_size)}; "
        "try 16, 28, 32, 64 or 128",
    )
    for flag, count in (("eval-every", c.eval_every), ("save-every", c.save_every)):
        _require(count >= least, f"--{flag} {count}: must be at least {least}")
    _require(
        math.isfinite(c.rank_timeout) and c.rank_timeout > 0,
        f"--rank-timeout {c.rank_timeout}: must be above 0 seconds",
    )
    _require(0 < c.save_share <= 1, f"--save-share {c.save_share}: must be above 0 and at most 1")
    _require(c.log_every >= 1, f"--log-every {c.log_every}: must be at least 1")
    _require(0 <= t.rotation <= 180, f"--transform.rotation {t.rotation}: must be 0 to 180 degrees")
    _require(
        t.kind != "paper" or t.rotation <= PAPER_ROTATION,
        f"--transform.rotation {t.rotation}: at most {PAPER_ROTATION} with --transform.kind paper, whose crop vanishes",
    )
    _require(0 < t.zoom[0] <= t.zoom[1] <= 4, f"--transform.zoom {t.zoom[0]} {t.zoom[1]}: must be 0 < low <= high <= 4")
    _require(0 <= t.shear <= 60, f"--transform.shear {t.shear}: must be 0 to 60 degrees")
    _require(0 <= t.stretch <= 3, f"--transform.stretch {t.stretch}: must be 0 to 3")
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
