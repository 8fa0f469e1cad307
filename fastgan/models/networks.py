"""The networks of Elastic-InfoGAN (arXiv 1910.01112, appendix; InfoGAN, arXiv 1606.03657, table 1).

For 28x28x1 they are exactly the paper's: generator 6,650,433 parameters, front end 6,558,144, discriminator
1,025, code head 132,746. For other sizes the image is halved at least twice and until its side is at most 8;
channels double from `width` up to 512.

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
from fastgan.models.sync_batchnorm import BATCH_NORMS, SyncBatchNorm
from fastgan.seeding import stream_seed

WEIGHT_STD = 0.02  # of every Linear, Conv and ConvTranspose weight; biases start at zero
WIDEST = 512
SLOPE = 0.2


@dataclass(frozen=True)
class Shape:
    """What determines the sizes of the networks.

    finer_codes: outputs of the overclustering head; 0 for none.
    """

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
    """Within, these modules' weights get no gradient; gradients still flow through them to their inputs."""
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

    def forward(self, image_BCHW: Tensor, update_stats: bool = True) -> Tensor:
        """Features [B, H]; `update_stats`: update the running statistics of batch normalisation."""
        features = channels_last(image_BCHW)
        for layer in (*self.blocks, *self.linear):
            features = _apply(layer, features, update_stats)
        return features

    def forward_groups(
        self, real: Tensor, augmented: Tensor | None, fake: Tensor, learn: bool = False, update_stats: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Real, augmented and generated images [B, C, H, W], each group normalised by itself.

        Equal to forward(real), forward(augmented), forward(fake), running statistics included, but the groups share
        each matrix product, so each weight has one gradient instead of several to add up.

        Args:
            learn: compute gradients for `augmented` too.
            update_stats: update the running statistics with all three groups; otherwise with `real` only.

        Returns:
            features [2B, H] of real, then fake; and of `augmented` [B, H] (None without it).
        """
        count = len(real)
        detached = None if learn else augmented
        groups = (real, fake) if detached is not None or augmented is None else (real, fake, augmented)
        joined = channels_last(torch.cat([group.to(real.dtype) for group in groups]))
        detached = None if detached is None else channels_last(detached)
        for layer in (*self.blocks, *self.linear):
            if not isinstance(layer, BATCH_NORMS):
                joined = layer(joined)
                detached = _without_gradient(layer, detached, update_stats)
                continue
            # The order of these lines is the order in which the groups update the running statistics.
            first, second, *third = joined.split(count)
            first = layer(first)
            third = [_apply(layer, part, update_stats) for part in third]
            detached = _without_gradient(layer, detached, update_stats)
            joined = torch.cat((first, _apply(layer, second, update_stats), *third))
        if len(groups) == 3:
            return joined[: 2 * count], joined[2 * count :]
        return joined, detached


@torch.no_grad()
def _without_gradient(layer: nn.Module, x: Tensor | None, update_stats: bool) -> Tensor | None:
    return None if x is None else _apply(layer, x, update_stats)


def _apply(layer: nn.Module, x: Tensor, update_stats: bool) -> Tensor:
    """layer(x); batch normalisation updates its running statistics only with `update_stats`."""
    if update_stats or not (isinstance(layer, BATCH_NORMS) and layer.training):
        result: Tensor = layer(x)
        return result
    if isinstance(layer, SyncBatchNorm):
        return layer.over_ranks(x, update_stats)
    return torch.nn.functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)


class Discriminator(nn.Module):
    """Features [B, H] to the logits [B] of being real (the sigmoid is part of the loss)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.real = Linear(shape.network.hidden, 1)

    def forward(self, features_BH: Tensor) -> Tensor:
        logit: Tensor = self.real(features_BH).squeeze(1)
        return logit


class CodeHead(nn.Module):
    """Q: features [B, H] to an embedding [B, D], and that to code logits [B, K].

    finer: the overclustering head, embedding to `finer_codes` logits; None without finer codes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            Linear(shape.network.hidden, shape.network.embedding),
            nn.BatchNorm1d(shape.network.embedding),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.code = Linear(shape.network.embedding, shape.classes)
        self.finer = Linear(shape.network.embedding, shape.finer_codes) if shape.finer_codes else None

    def embed(self, features_BH: Tensor, update_stats: bool = True) -> Tensor:
        """The embedding [B, D] that the contrastive loss compares; `update_stats` as in FrontEnd."""
        embedding = features_BH
        for layer in self.embedding:
            embedding = _apply(layer, embedding, update_stats)
        return embedding

    def forward(self, features_BH: Tensor, update_stats: bool = True) -> Tensor:
        logits: Tensor = self.code(self.embed(features_BH, update_stats))
        return logits


class Networks(nn.Module):
    """The four networks of a run."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.generator = Generator(shape)
        self.front_end = FrontEnd(shape)
        self.discriminator = Discriminator(shape)
        self.code_head = CodeHead(shape)

    def initialise(self, seed: int) -> Networks:
        """Draw every weight from N(0, 0.02^2) and zero the biases, depending on `seed` only; returns itself.

        Weights may differ by 3e-8 between processors for which torch uses other vector instructions.
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

    def discriminator_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the D step updates: front end and discriminator."""
        yield from self.front_end.parameters()
        yield from self.discriminator.parameters()

    def generator_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the G step updates besides the prior: generator and code head."""
        yield from self.generator.parameters()
        yield from self.code_head.parameters()
