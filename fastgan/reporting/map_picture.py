"""The map of images: a sheet of all its thumbnails for the page's script, and a picture of it for paper.

Legend: M images on the map.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fastgan.data.image_set import ImageSet
from fastgan.evaluation.code_summary import chosen_images
from fastgan.evaluation.image_map import ImageMap
from fastgan.reporting import images
from fastgan.reporting.images import Picture

COLUMNS = 50  # of the sheet
SIDES = (40, 32, 28, 24, 20, 16)  # of a thumbnail, in pixels
BUDGET = 600_000  # characters of the sheet
WIDTH, HEIGHT, MARGIN = 1100, 760, 32  # of the picture, in pixels
GROUND, INK = "#f5f7f9", "#1b1f24"


@dataclass(frozen=True)
class Sheet:
    """All thumbnails in one picture: its data: URI, their side, and how many stand in a row."""

    uri: str
    side: int
    columns: int


def draw(found: ImageMap, data: ImageSet, codes_M: Sequence[int], labelled: Sequence[int]) -> tuple[Sheet, Picture]:
    """The sheet, in the order of the map, and the picture.

    Args:
        codes_M: the group of each image on the map. labelled: the groups whose number stands on the picture.
    """
    pictures = [images.pillow_image(image) for image in chosen_images(data, found.index_M)]
    sheet = _sheet(pictures)
    text = (
        f"Map of {len(pictures):,} images in {len(set(codes_M))} groups, each group's images in a frame of one colour: "
        "what Q finds alike lies close together."
    )
    drawn = _drawn(pictures, found.places_M2, codes_M, labelled)
    return sheet, Picture(images.encoded(drawn, exact=False), text)


def _sheet(pictures: Sequence[Image.Image]) -> Sheet:
    own = pictures[0].width
    sides = [side for side in SIDES if side < own] if own > SIDES[-1] else []
    sides = [own, *sides] if own <= SIDES[0] else sides
    for side in sides:
        columns = min(COLUMNS, len(pictures))
        sheet = Image.new(pictures[0].mode, (columns * side, -(-len(pictures) // columns) * side))
        for i, picture in enumerate(pictures):
            sheet.paste(_resized(picture, side), (i % columns * side, i // columns * side))
        uri = images.encoded(sheet, exact=False)
        if len(uri) <= BUDGET:
            break
    return Sheet(uri, side, columns)


def _resized(picture: Image.Image, side: int) -> Image.Image:
    return picture if picture.width == side else picture.resize((side, side), Image.Resampling.BOX)


def _drawn(
    pictures: Sequence[Image.Image], places_M2: Tensor, codes_M: Sequence[int], labelled: Sequence[int]
) -> Image.Image:
    """The map: a thumbnail wherever there is room for one, and the number of each group amid its images."""
    canvas, side = Image.new("RGB", (WIDTH, HEIGHT), GROUND), 26
    pen, taken = ImageDraw.Draw(canvas), set[tuple[int, int]]()
    points = [_point(x, y) for x, y in places_M2.tolist()]
    for picture, (x, y), code in zip(pictures, points, codes_M, strict=True):
        cell = x // (side + 4), y // (side + 4)
        if cell in taken:
            continue
        taken.add(cell)
        left, top = cell[0] * (side + 4) + 2, cell[1] * (side + 4) + 2
        pen.rectangle((left - 2, top - 2, left + side + 1, top + side + 1), fill=_colour(code))
        canvas.paste(_resized(picture, side).convert("RGB"), (left, top))
    font = ImageFont.load_default(20)
    for code in labelled:
        own = sorted(point for point, each in zip(points, codes_M, strict=True) if each == code)
        if own:
            x, y = own[len(own) // 2][0], sorted(y for _, y in own)[len(own) // 2]
            box = pen.textbbox((x, y), str(code), font=font, anchor="mm")
            pen.rounded_rectangle((box[0] - 7, box[1] - 5, box[2] + 7, box[3] + 5), 6, GROUND, INK)
            pen.text((x, y), str(code), INK, font, anchor="mm")
    return canvas


def _point(x: float, y: float) -> tuple[int, int]:
    return MARGIN + round(x * (WIDTH - 2 * MARGIN)), MARGIN + round((1 - y) * (HEIGHT - 2 * MARGIN))


def _colour(code: int) -> tuple[int, int, int]:
    """A colour of its own for each group; neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hls_to_rgb(code * 137.5 % 360 / 360, 0.45, 0.65)
    return round(255 * red), round(255 * green), round(255 * blue)
