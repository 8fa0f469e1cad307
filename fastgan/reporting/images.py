"""Pictures: images and charts as data: URIs with alternative text, and files of images.

Legend: N images.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch.nn.functional as F
from PIL import Image, features
from torch import Tensor
from torchvision.utils import save_image

BUDGET = 2_400_000  # characters of all pictures on a page
LARGEST, SIDES = 96, (64, 48, 32, 24, 16)  # of a picture, in pixels
EXACT = 32  # pixels of a side, at most, of pictures whose pixels a reader can tell apart


@dataclass(frozen=True)
class Picture:
    """An image of the page: its data: URI and its alternative text; `dark` is the version for the dark theme."""

    uri: str
    text: str
    dark: str | None = None


def suited_side(images_NCHW: Tensor, count: int) -> int:
    """The side in pixels of each of `count` pictures: that of the images, up to LARGEST, and less where the page would
    grow too large.

    Args:
        images_NCHW: some of the images, in [-1, 1], as encoded as all others.
    """
    own = images_NCHW.shape[-1]
    sides = sorted({min(own, LARGEST), *(each for each in SIDES if each < min(own, LARGEST))}, reverse=True)
    for each in sides[:-1]:
        if sum(len(embedded(image, each)) for image in images_NCHW) / len(images_NCHW) * count <= BUDGET:
            return each
    return sides[-1]


def embedded(image_CHW: Tensor, side: int) -> str:
    """An image in [-1, 1], of 1 or 3 channels, as the data: URI of a picture of at most side x side.

    Small pictures are PNG, whose pixels are exact; larger ones WebP, which takes a tenth.
    """
    if image_CHW.shape[-1] > side:
        image_CHW = F.interpolate(image_CHW[None], size=(side, side), mode="bilinear", antialias=True)[0]
    return encoded(pillow_image(image_CHW), exact=image_CHW.shape[-1] <= EXACT)


def pillow_image(image_CHW: Tensor) -> Image.Image:
    """An image in [-1, 1] as Pillow's, grey or RGB."""
    pixels = ((image_CHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


def encoded(image: Image.Image, *, exact: bool) -> str:
    """The data: URI of a picture, as PNG if `exact`, else as WebP, or as JPEG where Pillow has no WebP."""
    file, kind = io.BytesIO(), "png" if exact else "webp" if features.check("webp") else "jpeg"
    options: dict[str, Any] = {"optimize": True} if exact else {"quality": 80}
    image.save(file, format=kind, **options)
    return _uri(file.getvalue(), f"image/{kind}")


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def chart(draw: Callable[[str], bytes], text: str) -> Picture:
    """A chart for both themes: `draw` turns the name of a theme into SVG."""
    light, dark = (_uri(draw(theme), "image/svg+xml") for theme in ("light", "dark"))
    return Picture(light, text, dark)


def save_grid(images: Tensor, path: Path | IO[bytes], columns: int) -> None:
    """Write images [N, C, H, W] in [-1, 1] as a grid with `columns` images a row; an open file is given a PNG."""
    # A single row or column of tiny images is hard to look at: double their size below 32 pixels.
    if images.shape[-1] < 32:
        images = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    form: dict[str, Any] = {"nrow": columns, "normalize": True, "value_range": (-1, 1), "padding": 2, "pad_value": 0.3}
    if isinstance(path, Path):
        save_image(images, str(path), **form)
    else:
        save_image(images, path, format="png", **form)


def save_singles(images: Tensor, paths: Sequence[Path]) -> None:
    """Write images [N, 1 or 3, H, W] in [-1, 1], a file each, at their own size; one channel gives grey files."""
    bytes_NHWC = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    for image, path in zip(bytes_NHWC, paths, strict=True):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
