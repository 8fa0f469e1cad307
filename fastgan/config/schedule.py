"""How long to train and what comes when, by the number of images, where the settings leave it open.

Passes over the data mean little for a folder of which nobody knows the size: 3,000 images ask for a hundred, 300,000
for a few. What counts is how many images have been shown, so the numbers below are images. Of the groupings they are
those by which MNIST and the digits were tuned: both presets' own epochs come out of this rule.
"""

from __future__ import annotations

from dataclasses import replace

from fastgan.config.schema import TrainConfig

SHOWN = 320_000  # images of a run, at least: 5,000 steps of 64
FEWEST_EPOCHS = 20
GROUPED_AT = (64_000, 96_000, 128_000)  # images seen before a grouping, at most
GROUPED_SHARES = (0.25, 0.375, 0.5)  # of the run, at most
EVALUATIONS = 4
SAVED_EVERY = 32_000  # images between two checkpoints, about


def fitted(config: TrainConfig, images: int, ranks: int = 1) -> TrainConfig:
    """`config` with every 0 of --epochs, --eval-every, --save-every and --grouping.at chosen for that many images."""
    batch = config.batch_size * ranks
    epoch = max(images // batch, 1) * batch
    epochs = config.epochs or max(FEWEST_EPOCHS, _up(SHOWN, epoch))
    grouping = config.grouping
    if grouping.at == (0,):
        grouping = replace(grouping, at=_grouped_at(epochs, epoch))
    return replace(
        config,
        epochs=epochs,
        eval_every=config.eval_every or _up(epochs, EVALUATIONS),
        save_every=config.save_every or min(epochs, _up(SAVED_EVERY, epoch)),
        grouping=grouping,
    )


def planned(config: TrainConfig, images: int, ranks: int = 1) -> int:
    """Images that a whole run of a fitted `config` shows: each epoch's last, smaller batch is dropped."""
    batch = config.batch_size * ranks
    return config.epochs * max(images // batch, 1) * batch


def _grouped_at(epochs: int, epoch_images: int) -> tuple[int, ...]:
    """Rising epochs, none before the first has been seen; fewer than three where the run is too short for them."""
    found: list[int] = []
    for images, share in zip(GROUPED_AT, GROUPED_SHARES, strict=True):
        at = max(1, _up(int(min(images, share * epochs * epoch_images)), epoch_images))
        found.append(max(at, found[-1] + 1 if found else 1))
    return tuple(at for at in found if at < epochs)


def _up(number: int, by: int) -> int:
    return -(-number // by)
