"""The judge's network, and its reading of images.

Legend: B batch, N images, D length of the features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FEATURES = 128  # length of the last hidden layer, in which diversity is measured
LARGEST = 32  # pixels: for larger images the first convolution has a stride of 2, 4 or 8


class JudgeNetwork(nn.Module):
    """3x3 convolutions with pooling and a hidden layer: image [B, C, H, W] to class logits [B, classes].

    Up to 32 pixels there are two convolutions. Above, the first has a stride that brings the map to at most 32 pixels,
    with a kernel to match, and a third one follows: the linear layer reads at most 8 x 8 pixels, and a judge of 256
    pixels costs little more than one of 64.

    deep: four convolutions instead, for small images of things and scenes, where two do not suffice.

    Pooling comes before the normalisation, which then reads a quarter of the numbers. Weights are channels last, the
    fastest layout for convolutions on CPUs and GPUs; images follow them.
    """

    def __init__(self, channels: int, classes: int, image_size: int, *, deep: bool = False) -> None:
        super().__init__()
        self.deep, stride = deep, 1
        while image_size // stride > LARGEST:
            stride *= 2
        side, width = image_size // stride // (8 if deep else 4), 128 if deep or stride > 1 else 64
        self.features = nn.Sequential(
            *_convolved(channels, 32, stride),
            *(_deeper() if deep else _convolved(32, 64)),
            *(_convolved(64, 128, pooled=False) if stride > 1 and not deep else ()),
            nn.Flatten(),
            nn.Linear(width * side**2, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(inplace=True),
        )
        self.classes = nn.Linear(FEATURES, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch names it in no stub

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classes(self.features(images))
        return logits


def _convolved(before: int, width: int, stride: int = 1, *, pooled: bool = True) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, width, 2 * stride + 1, stride=stride, padding=stride, bias=False)
    pool = (nn.MaxPool2d(2),) if pooled else ()
    return convolution, *pool, nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def _deeper() -> tuple[nn.Module, ...]:
    """From 32 channels to 128, and from a side to its quarter."""
    widths = ((32, 64, True), (64, 128, False), (128, 128, True))
    return tuple(layer for before, width, pooled in widths for layer in _convolved(before, width, pooled=pooled))


@dataclass(frozen=True)
class Judge:
    """A trained judge, its accuracy on held-out real images, and the accuracy below which it is not reliable."""

    network: JudgeNetwork
    accuracy: float
    required: float

    @property
    def reliable(self) -> bool:
        """Whether its classes of generated images may be reported."""
        return self.accuracy >= self.required

    @torch.inference_mode()
    def __call__(self, parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """Class [N], int64, and features [N, D] of images in [-1, 1] that come in parts [B, C, H, W], on the CPU."""
        device = next(self.network.parameters()).device
        classes, features = [], []
        for part in parts:
            hidden = self.network.features(part.to(device))
            features.append(hidden.cpu())
            classes.append(self.network.classes(hidden).argmax(1).cpu())
        return torch.cat(classes), torch.cat(features)
