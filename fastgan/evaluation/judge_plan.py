"""How the judge of each data set is trained, and the accuracy that it must reach on held-out images.

A bar lies a little below what a small convolutional network reaches on a data set's published test part: a judge below
it has failed, and what it would say of generated images is withheld. Where even the best classifiers err often, as on
FashionMNIST, the bar is lower, and figures of generated images say less there. docs/data.md gives the reasons, and says
which bars were reached here.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastgan.data.image_set import JudgeSet

BATCH = 128
# One's own images: about so many epochs, but no fewer and no more steps than these.
OWN_EPOCHS, FEWEST_STEPS, MOST_STEPS = 40, 300, 1500
REQUIRED_OF_OWN = 0.95


@dataclass(frozen=True)
class Published:
    """The judge of a published data set.

    required: its bar. epochs: over the training part. colour: for photographs: four convolutions, and shifts of up to
    two pixels with reflection padding. mirror: whether an image's mirror image is of the same class.
    """

    required: float
    epochs: int
    colour: bool = False
    mirror: bool = False


PUBLISHED = {
    "digits": Published(0.960, 40),
    "mnist": Published(0.990, 2),
    "fashion-mnist": Published(0.910, 3),
    "fashion-mnist-5": Published(0.950, 3),
    "kmnist": Published(0.950, 4),
    "emnist-letters": Published(0.920, 4),
    "emnist-digits": Published(0.990, 2),
    "emnist-balanced": Published(0.860, 4),
    "usps": Published(0.950, 30),
    "cifar10": Published(0.800, 12, colour=True, mirror=True),
    "svhn": Published(0.920, 8, colour=True),
}


@dataclass(frozen=True)
class Plan:
    """How a judge is trained.

    shift: largest shift of a batch, pixels; own: for one's own images, which are mirrored, shifted with reflection
    padding, and drawn with equal class frequencies; required: the accuracy below which the judge is not reliable;
    reflect, mirror: the same of a published data set; deep: the network of four convolutions.
    """

    steps: int
    batch: int
    shift: int
    own: bool
    required: float
    reflect: bool = False
    mirror: bool = False
    deep: bool = False


def plan(data: JudgeSet) -> Plan:
    """The plan for these data: for one's own images the steps follow their number, so that many take minutes too."""
    rows, size = data.train_rows, data.train.images.shape[-1]
    count = len(data.train.images) if rows is None else len(rows)
    known = PUBLISHED.get(data.name)
    if known is None:
        steps = min(max(OWN_EPOCHS * count // BATCH, FEWEST_STEPS), MOST_STEPS)
        return Plan(steps, min(BATCH, count), max(size // 16, 1), True, required(data.name))
    steps, batch, shift = max(known.epochs * (count // BATCH), 1), min(BATCH, count), 2 if known.colour else 1
    deep = known.colour and size >= 16  # three poolings
    return Plan(steps, batch, shift, False, known.required, known.colour, known.mirror, deep)


def required(name: str) -> float:
    """The accuracy below which the judge of data set `name` is not reliable."""
    known = PUBLISHED.get(name)
    return REQUIRED_OF_OWN if known is None else known.required
