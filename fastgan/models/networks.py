"""The networks of Elastic-InfoGAN (arXiv 1910.01112, appendix; InfoGAN, arXiv 1606.03657, table 1).

For 28x28x1 they are exactly the paper's: generator 6,650,433 parameters, front end 6,558,144, discriminator
1,025, code head 132,746. Other sizes follow: the image is halved at least twice and until its side is at most
8, channels double from `width` up to 512.

Legend: B images, K classes, Z noise, D embedding, H hidden units, CHW an image in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastgan.config.schema import NetworkConfig, num_downsamples
from fastgan.models.layers import Flatten, Linear, channels_last
from fastgan.models.sync_batchnorm import NORMALISING, SyncBatchNorm
from fastgan.seeding import stream_seed

WEIGHT_STD = 0.02  # of every Linear, Conv and ConvTranspose weight; biases start at zero
WIDEST = 512
SLOPE = 0.2


@dataclass(frozen=True)
class Shape:
    """Everything that the sizes of the networks follow from."""

    image_size: int
    channels: int
    classes: int
    network: NetworkConfig
    finer_codes: int = 0

    @property
    def widths(self) -> list[int]:
        """Channels after each halving."""
        return [min(self.network.width * 2**i, WIDEST) for i in range(num_downsamples(self.image_size))]

    @property
    def smallest(self) -> int:
        """Side of the image after the last halving."""
        return self.image_size // 2 ** num_downsamples(self.image_size)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside, nothing computes a gradient for these modules' weights; it still flows through them."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


class Generator(nn.Module):
    """z [B, Z] and c [B, K] to an image [B, C, H, W] in (-1, 1)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths, side, hidden = shape.widths, shape.smallest, shape.network.hidden
        self.linear = nn.Sequential(
            Linear(shape.network.noise + shape.classes, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            Linear(hidden, widths[-1] * side * side),
            nn.BatchNorm1d(widths[-1] * side * side),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (widths[-1], side, side)),
        )
        blocks: list[nn.Module] = []
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            blocks += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
        self.blocks = nn.Sequential(*blocks)
        self.image = nn.ConvTranspose2d(widths[0], shape.channels, 4, 2, 1)

    def forward(self, noise_BZ: Tensor, code_BK: Tensor) -> Tensor:
        hidden = self.linear(torch.cat((noise_BZ, code_BK), dim=1))
        return torch.tanh(self.image(self.blocks(channels_last(hidden))))


class FrontEnd(nn.Module):
    """The trunk F that the discriminator and the code head share: image [B, C, H, W] to features [B, H]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths, side, hidden = shape.widths, shape.smallest, shape.network.hidden
        blocks: list[nn.Module] = [nn.Conv2d(shape.channels, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE, inplace=True)]
        for narrow, wide in zip(widths[:-1], widths[1:], strict=True):
            blocks += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE, inplace=True)]
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Sequential(
            Flatten(),
            Linear(widths[-1] * side * side, hidden),
            nn.BatchNorm1d(hidden) if shape.network.feature_norm == "batch" else nn.LayerNorm(hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
        )

    def forward(self, image_BCHW: Tensor, follow: bool = True) -> Tensor:
        """Features [B, H]; without `follow` the running averages stay as they are."""
        features = channels_last(image_BCHW)
        for layer in (*self.blocks, *self.linear):
            features = _apply(layer, features, follow)
        return features

    def forward_groups(
        self, real: Tensor, other: Tensor | None, fake: Tensor, learn: bool = False, follow: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Real images, their transforms and generated ones, each group normalised by itself.

        Equal to forward(real), forward(other), forward(fake), running averages included, but the groups share each
        product: one gradient a weight instead of several to add up.

        Args:
            learn: give a gradient to the pass of `other` too.
            follow: let the running averages follow all three groups, not `real` alone.

        Returns:
            features [2B, H] of real above fake, and those of `other` [B, H] (None without `other`).
        """
        count = len(real)
        apart = None if learn else other
        groups = (real, fake) if apart is not None or other is None else (real, fake, other)
        together = channels_last(torch.cat([group.to(real.dtype) for group in groups]))
        apart = None if apart is None else channels_last(apart)
        for layer in (*self.blocks, *self.linear):
            if not isinstance(layer, NORMALISING):
                together = layer(together)
                apart = _without_gradient(layer, apart, follow)
                continue
            # The order of these lines is the order in which the running averages see the groups.
            first, second, *third = together.split(count)
            first = layer(first)
            third = [_apply(layer, part, follow) for part in third]
            apart = _without_gradient(layer, apart, follow)
            together = torch.cat((first, _apply(layer, second, follow), *third))
        if len(groups) == 3:
            return together[: 2 * count], together[2 * count :]
        return together, apart


@torch.no_grad()
def _without_gradient(layer: nn.Module, x: Tensor | None, follow: bool) -> Tensor | None:
    return None if x is None else _apply(layer, x, follow)


def _apply(layer: nn.Module, x: Tensor, follow: bool) -> Tensor:
    """layer(x); a normalisation's running averages move only with `follow`."""
    if follow or not (isinstance(layer, NORMALISING) and layer.training):
        result: Tensor = layer(x)
        return result
    if isinstance(layer, SyncBatchNorm):
        return layer.over_ranks(x, follow)
    return torch.nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)


class Discriminator(nn.Module):
    """Features [B, H] to the logit [B] of being real (the sigmoid is part of the loss)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.real = Linear(shape.network.hidden, 1)

    def forward(self, features_BH: Tensor) -> Tensor:
        logit: Tensor = self.real(features_BH).squeeze(1)
        return logit


class CodeHead(nn.Module):
    """Q: features [B, H] to an embedding [B, D], and that to code logits [B, K]; `finer`, if any, to more."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            Linear(shape.network.hidden, shape.network.embedding),
            nn.BatchNorm1d(shape.network.embedding),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.code = Linear(shape.network.embedding, shape.classes)
        self.finer = Linear(shape.network.embedding, shape.finer_codes) if shape.finer_codes else None

    def embed(self, features_BH: Tensor, follow: bool = True) -> Tensor:
        """The embedding that the contrastive loss compares; without `follow` the running averages stay as they are."""
        embedding = features_BH
        for layer in self.embedding:
            embedding = _apply(layer, embedding, follow)
        return embedding

    def forward(self, features_BH: Tensor, follow: bool = True) -> Tensor:
        logits: Tensor = self.code(self.embed(features_BH, follow))
        return logits


class Networks(nn.Module):
    """The four networks of one run."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.generator = Generator(shape)
        self.front_end = FrontEnd(shape)
        self.discriminator = Discriminator(shape)
        self.code_head = CodeHead(shape)

    def initialise(self, seed: int) -> Networks:
        """Draw every weight from N(0, 0.02) and zero the biases, from `seed` alone; returns itself.

        Processors whose vector units torch uses differently may draw weights that differ by 3e-8.
        """
        random = torch.Generator().manual_seed(stream_seed(seed, "weights"))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                weight = torch.empty(module.weight.shape).normal_(0, WEIGHT_STD, generator=random)
                with torch.no_grad():
                    module.weight.copy_(weight)
                    assert module.bias is not None
                    module.bias.zero_()
        return self

    def discriminator_side(self) -> Iterator[nn.Parameter]:
        """What the D step updates: the front end and the discriminator."""
        yield from self.front_end.parameters()
        yield from self.discriminator.parameters()

    def generator_side(self) -> Iterator[nn.Parameter]:
        """What the G step updates, the prior aside: the generator and the code head."""
        yield from self.generator.parameters()
        yield from self.code_head.parameters()
