"""Chooses the transforms that suit what is in the images, from the images alone: `--transform.kind auto`.

What a transform varies is what the codes cannot live on, so it must vary what the images of one class vary in and
nothing that tells classes apart. Three measurements of a sample decide (docs/transforms.md has them for known data
sets):

- plain: the share of an image's border that has one colour. Above PLAIN, things stand on a background: nothing is
  cropped. Else these are photographs, of which any part shows the same thing: crops, shifts and colour jitter.
- mirror: how much farther the nearest neighbour of a mirrored image is than that of the image itself (median ratio).
  Below MIRRORED, mirrored images are as usual as their originals: they may be flipped. Things on a background that may
  not be are taken for writing, which varies in slant and width.
- spread: the standard deviation, between images, of the mean brightness of what stands on the background. What varies
  much in brightness gets as much jitter of brightness and contrast.

Legend: N images, M those with something on their ground, B some of them, P pixels, E of the border, CHW an image.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.config.validation import as_flag
from fastgan.data.image_set import ImageSet
from fastgan.seeding import shuffled

SAMPLE = 4000  # images that are measured, at most
TOGETHER = 250  # of them, at a time
SIDE = 14  # pixels, at which neighbours are compared
NEAR = 0.05  # of the range of grey levels: as good as the same colour
PLAIN = 0.6
MIRRORED = 1.25
STEADY = 0.08  # a spread of brightness below this is no reason for jitter
PHOTO_JITTER, MOST_JITTER, JITTER_OF_SPREAD = 0.2, 0.5, 3.3
LEFT = ("keep", "interpolation")  # settings that nothing is chosen for
COLOURED = 0.02  # mean difference between channels, above which images are in colour

WRITING = TransformConfig(kind="whole", rotation=20.0, shear=20.0, stretch=0.15, shift=0.05)
THINGS = TransformConfig(kind="whole", rotation=10.0, shear=5.0, stretch=0.15, shift=0.05)
PHOTOGRAPHS = TransformConfig(kind="default", rotation=15.0, zoom=(1.0, 1.8), shift=0.15)


@dataclass(frozen=True)
class Measured:
    """What decides: see the module. coloured: the mean difference between channels."""

    plain: float
    mirror: float
    spread: float
    coloured: float

    @property
    def photographs(self) -> bool:
        return self.plain < PLAIN

    @property
    def mirrored(self) -> bool:
        return self.mirror <= MIRRORED


def measure(images_NCHW: Tensor) -> Measured:
    """Measure uint8 images; of more than SAMPLE a random part that depends only on their number."""
    index_N = shuffled(len(images_NCHW), 0, "suited")[:SAMPLE]
    count, small = len(index_N), images_NCHW.shape[1] * SIDE**2
    # As floats the sample would take more memory than training, which a process keeps (runtime/process.py). What is
    # found is allocated once: small parts of it between large blocks would fragment the memory.
    plain_N, bright_N, coloured_N = found = torch.empty(3, count)
    own_NP, mirrored_NP = torch.empty(2, count, small)
    for start in range(0, count, TOGETHER):
        rows = slice(start, start + TOGETHER)
        part = images_NCHW[index_N[rows].to(images_NCHW.device)].cpu().float() / 255.0
        found[:, rows], own_NP[rows], mirrored_NP[rows] = _seen(part), _small(part), _small(part.flip(3))
    bright_M = bright_N[bright_N.isfinite()]
    spread = bright_M.std() if len(bright_M) > 1 else torch.zeros(())
    mirror = _mirror(own_NP, mirrored_NP)
    return Measured(float(plain_N.mean()), mirror, float(spread), float(coloured_N.mean()))


def _small(images_NCHW: Tensor) -> Tensor:
    """Images as neighbours are compared, [N, P]."""
    return F.adaptive_avg_pool2d(images_NCHW, SIDE).flatten(1)


def _seen(images_NCHW: Tensor) -> Tensor:
    """Of images in [0, 1] the share of the border that is plain, the mean brightness of what stands on it, NaN where
    nothing does, and the mean difference between channels, [3, N]."""
    edges = (images_NCHW[:, :, 0], images_NCHW[:, :, -1], images_NCHW[:, :, :, 0], images_NCHW[:, :, :, -1])
    border_NCE = torch.cat(edges, dim=2)
    ground_NC1 = border_NCE.median(2, keepdim=True).values
    plain_N = ((border_NCE - ground_NC1).abs() < NEAR).all(1).float().mean(1)
    front_NCP = (images_NCHW.flatten(2) - ground_NC1).abs() > NEAR
    bright_N = (images_NCHW.flatten(2) * front_NCP).flatten(1).sum(1) / front_NCP.flatten(1).sum(1)
    coloured_N = (images_NCHW.amax(1) - images_NCHW.amin(1)).flatten(1).mean(1)
    return torch.stack((plain_N, bright_N, coloured_N))


def _mirror(own_NP: Tensor, mirrored_NP: Tensor) -> float:
    """The median over images of the distance of the mirrored image to its nearest neighbour, over that of the image."""
    if len(own_NP) < 2:
        return 1.0

    def nearest(rows_NP: Tensor) -> Tensor:
        found_N = torch.empty(len(rows_NP))
        for start in range(0, len(rows_NP), TOGETHER):
            distance_BN = torch.cdist(rows_NP[start : start + TOGETHER], own_NP)
            distance_BN.diagonal(start).fill_(torch.inf)  # neither image has itself for a neighbour
            found_N[start : start + TOGETHER] = distance_BN.min(1).values
        return found_N

    return float((nearest(mirrored_NP) / nearest(own_NP).clamp_min(1e-6)).median())


def suited(found: Measured) -> TransformConfig:
    """The transforms that the measurements ask for."""
    base = PHOTOGRAPHS if found.photographs else THINGS if found.mirrored else WRITING
    jitter = min(MOST_JITTER, round(JITTER_OF_SPREAD * found.spread, 1)) if found.spread > STEADY else 0.0
    jitter = max(jitter, PHOTO_JITTER) if found.photographs else jitter
    coloured = found.coloured > COLOURED
    return replace(
        base,
        flip=0.5 if found.mirrored else 0.0,
        brightness=jitter,
        contrast=jitter,
        saturation=0.4 if coloured else 0.0,
        hue=20.0 if coloured else 0.0,
    )


def resolve_transform(config: TrainConfig, images: ImageSet) -> tuple[TrainConfig, Measured | None]:
    """`config` with its transforms chosen, and what was measured; as it is, and None, without `kind` auto.

    Settings named in `transform.keep` stay as they are.
    """
    own = config.transform
    if own.kind != "auto":
        return config, None
    found = measure(images.images)
    names = {field.name for field in fields(TransformConfig)} - {"kind", *LEFT, *own.keep}
    chosen = suited(found)
    changes = {name: getattr(chosen, name) for name in names}
    return replace(config, transform=replace(own, kind=chosen.kind, **changes)), found


def describe_choice(chosen: TransformConfig, found: Measured) -> str:
    """One line for the user: what was seen, and the flags that were chosen for it."""
    kind = "photographs" if found.photographs else "things on a plain background"
    mirrored = "may be mirrored" if found.mirrored else "may not be mirrored"
    shown = (field.name for field in fields(TransformConfig) if getattr(chosen, field.name) != field.default)
    flags = " ".join(as_flag(f"transform.{name}", getattr(chosen, name)) for name in shown if name not in LEFT)
    return f"transforms chosen for {kind} that {mirrored}: {flags}"
