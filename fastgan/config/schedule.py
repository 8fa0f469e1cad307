"""Resolves settings left at 0 (epochs, groupings, evaluations, checkpoints) from the number of training images.

Epochs mean little for a folder of unknown size: 3,000 images need a hundred, 300,000 a few. What counts is how many
images are shown, so the constants below count images. Photographs are grouped later than digits, after half of a run;
until then it pretrains, which is fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastgan.config.schema import TrainConfig

SHOWN = 320_000  # images that a run shows, at least: 5,000 steps of 64
FEWEST_EPOCHS = 20
GROUPED_AT = (160_000, 208_000, 256_000)  # images shown before each grouping, at most
GROUPED_SHARES = (0.5, 0.65, 0.8)  # the same as fractions of the run, at most
EVALUATIONS = 4
SAVED_EVERY = 32_000  # images between checkpoints, about
RATES = 50  # learning rates of a run whose rate falls


def resolve_schedule(config: TrainConfig, images: int, ranks: int = 1) -> TrainConfig:
    """Replace every 0 of --epochs, --eval-every, --save-every and --grouping.at by a value for that many images.

    So too a --pretrain-epochs of -1.
    """
    batch = config.batch_size * ranks
    epoch = max(images // batch, 1) * batch
    epochs = config.epochs or max(FEWEST_EPOCHS, _ceil_div(SHOWN, epoch))
    grouping = config.grouping
    if grouping.at == (0,):
        grouping = replace(grouping, at=_grouped_at(epochs, epoch))
    return replace(
        config,
        epochs=epochs,
        pretrain_epochs=_pretrained(config, epochs, grouping.at),
        eval_every=config.eval_every or _ceil_div(epochs, EVALUATIONS),
        save_every=config.save_every or min(epochs, _ceil_div(SAVED_EVERY, epoch)),
        grouping=grouping,
    )


def total_images(config: TrainConfig, images: int, ranks: int = 1) -> int:
    """Images that a whole run of a resolved `config` shows: each epoch's last, smaller batch is dropped."""
    batch = config.batch_size * ranks
    return config.epochs * max(images // batch, 1) * batch


@dataclass(frozen=True)
class Phases:
    """Which learning rate holds when; a pure function of the images seen, so that a resumed run keeps to it.

    pretrained: images shown in pretraining. total: images of the whole run.
    """

    config: TrainConfig
    pretrained: int
    total: int

    @classmethod
    def of(cls, config: TrainConfig, epoch_images: int) -> Phases:
        """epoch_images: images an epoch, of all ranks."""
        return cls(config, max(config.pretrain_epochs, 0) * epoch_images, config.epochs * epoch_images)

    def learning_rate(self, images_seen: int) -> float:
        """The learning rate of the step after `images_seen` images."""
        if images_seen < self.pretrained:
            return self.config.pretrain_learning_rate
        gone = min(self._part(images_seen), RATES - 1) / (RATES - 1)
        return self.config.learning_rate * (1.0 - (1.0 - self.config.final_rate) * gone)

    def constant_for(self, images_seen: int) -> int:
        """Images from here on with the same learning rate; a step that begins before the change keeps it."""
        if images_seen < self.pretrained:
            return self.pretrained - images_seen
        if self.config.final_rate == 1.0:
            return self.total - images_seen
        return _ceil_div((self._part(images_seen) + 1) * (self.total - self.pretrained), RATES) - (
            images_seen - self.pretrained
        )

    def _part(self, images_seen: int) -> int:
        return (images_seen - self.pretrained) * RATES // (self.total - self.pretrained)


def _pretrained(config: TrainConfig, epochs: int, grouped_at: tuple[int, ...]) -> int:
    """Epochs of pretraining: until the first grouping if that is left to us, none if the front end learns nothing."""
    if config.pretrain_epochs >= 0:
        return config.pretrain_epochs
    learns = config.front_end_learns and config.learns_from_real
    return min(_ceil_div(epochs, 2), epochs - 1, *grouped_at) if learns and grouped_at else 0


def _grouped_at(epochs: int, epoch_images: int) -> tuple[int, ...]:
    """Increasing epochs, from 1 on; fewer than three if the run is too short for them."""
    found: list[int] = []
    for images, share in zip(GROUPED_AT, GROUPED_SHARES, strict=True):
        at = max(1, _ceil_div(int(min(images, share * epochs * epoch_images)), epoch_images))
        found.append(max(at, found[-1] + 1 if found else 1))
    return tuple(at for at in found if at < epochs)


def _ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)
