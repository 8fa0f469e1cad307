"""Pictures: images and charts as data: URIs with alternative text, and files of images.

Legend: N images.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.utils import save_image

PIXEL_BUDGET = 2_000_000  # bytes of pixels on a page


@dataclass(frozen=True)
class Picture:
    """An image of the page: its data: URI and its alternative text; `dark` is the version for the dark theme."""

    uri: str
    text: str
    dark: str | None = None


def side(shape: torch.Size, count: int) -> int:
    """The side in pixels of each of `count` pictures of images [N, C, H, W]: their own, at most 64, and less (but at
    least 24) where the page would grow too large."""
    _, channels, height, _ = shape
    fits = math.isqrt(PIXEL_BUDGET // (count * channels))
    return min(height, 64, max(fits, 24))


def png(image: Tensor, side: int) -> str:
    """An image [C, H, W] in [-1, 1], of 1 or 3 channels, as the data: URI of a PNG of at most side x side."""
    if image.shape[-1] > side:
        image = F.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True)[0]
    pixels = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()).save(
        file, format="PNG", optimize=True
    )
    return _uri(file.getvalue(), "image/png")


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
