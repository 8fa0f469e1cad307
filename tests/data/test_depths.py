"""Decoding over modes, depths, tags and opacity: every tag means at 16 and 32 bits what it means at 8."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from image_files import png, saved, tiff
from PIL import Image, ImageColor, ImageOps

from fastgan.data import intensity
from fastgan.data.decode import TURNS, Form, Picture, decode, quiet
from fastgan.errors import DataError

MANY = settings(max_examples=150, derandomize=True, database=None, deadline=None)
SIDE = 8
ORIENTATIONS = st.integers(1, 8)
GROUNDS = st.sampled_from(("black", "white", "#2040a0"))


def exif_chunk(orientation: int) -> list[tuple[bytes, bytes]]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return [(b"eXIf", exif.tobytes()[6:])]


def opened(content: bytes, form: Form) -> Picture:
    with quiet():
        return decode(io.BytesIO(content), form)


def pixels_of(content: bytes, form: Form) -> np.ndarray:
    """[C, S, S]; for a form of auto, by the range of this image alone."""
    picture = opened(content, form)
    if picture.deep is None:
        return picture.pixels
    _, samples, low, high, *_ = picture.source
    chosen = intensity.choose("auto", np.array([samples]), np.array([low]), np.array([high]))
    assert isinstance(chosen, tuple)
    return intensity.to_bytes(picture.deep, *chosen, form.channels, form.under)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    return np.asarray(image.transpose(TURNS[orientation]) if orientation in TURNS else image)


def by_pillow(content: bytes, form: Form) -> np.ndarray:
    """The whole file as Pillow reads it, turned, laid on the ground."""
    with quiet(), Image.open(io.BytesIO(content)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        upright = upright.convert("LA") if upright.mode == "La" else upright
        colours = upright.convert("RGBA")
        ground = Image.new("RGBA", colours.size, (*form.under, 255))
        laid = Image.alpha_composite(ground, colours).convert("RGB")
        if form.channels == 1:
            return np.asarray(laid.convert("L"))[None]
        return np.asarray(laid).transpose(2, 0, 1)


# --- 8 bits: as Pillow reads them ---

EIGHT = {
    "1": lambda d: Image.fromarray(d.integers(0, 2, (SIDE, SIDE)).astype(bool)),
    "L": lambda d: Image.fromarray(d.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)),
    "LA": lambda d: Image.merge("LA", [EIGHT["L"](d), EIGHT["L"](d)]),
    "P": lambda d: EIGHT["RGB"](d).quantize(7),
    "RGB": lambda d: Image.fromarray(d.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)),
    "RGBA": lambda d: Image.fromarray(d.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)),
    "CMYK": lambda d: Image.frombytes("CMYK", (SIDE, SIDE), d.bytes(4 * SIDE * SIDE)),
}
FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
}


@MANY
@given(
    where=st.sampled_from([(kind, mode) for kind, modes in FORMATS.items() for mode in modes]),
    seed=st.integers(0, 2**32),
    orientation=ORIENTATIONS,
    transparent=st.booleans(),
    channels=st.sampled_from((1, 3)),
    ground=GROUNDS,
)
def test_eight_bits_are_what_pillow_reads(
    where: tuple[str, str], seed: int, orientation: int, transparent: bool, channels: int, ground: str
) -> None:
    kind, mode = where
    image = EIGHT[mode](np.random.default_rng(seed))
    options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    if kind in ("PNG", "TIFF", "WEBP"):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    if transparent and kind == "PNG" and mode in ("L", "P", "RGB"):
        options["transparency"] = image.getpixel((0, 0))
    content, form = saved(image, kind, **options), Form(SIDE, channels, ground)
    difference = pixels_of(content, form).astype(int) - by_pillow(content, form)
    # Grey opened as colours and grey again is rounded once more.
    assert np.abs(difference).max() <= (1 if channels == 1 else 0)


# --- more than 8 bits: as their 8-bit twins ---


@MANY
@given(
    seed=st.integers(0, 2**32),
    photometric=st.sampled_from((0, 1)),
    orientation=ORIENTATIONS,
    channels=st.sampled_from((1, 3)),
    big=st.booleans(),
)
def test_a_deep_tiff_is_its_eight_bit_twin(
    seed: int, photometric: int, orientation: int, channels: int, big: bool
) -> None:
    """Of 16 bits by its type, and of any kind by the range that is the twin's."""
    grey = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    tags: dict[str, Any] = {"photometric": photometric, "orientation": orientation}
    twin = pixels_of(tiff(grey, **tags), Form(SIDE, channels))
    expected = turned(255 - grey if photometric == 0 else grey, orientation)
    np.testing.assert_array_equal(twin, [expected] * channels)
    kinds: list[tuple[np.ndarray, Any]] = [
        (grey * np.uint16(257), "type"),
        (grey * np.uint16(16), (0.0, 4080.0)),
        (grey / np.float32(255), (0.0, 1.0)),
        *((grey.astype(kind), (0.0, 255.0)) for kind in (np.uint16, np.int16, np.uint32, np.int32, np.float32)),
        (grey * np.uint32(2**24), (0.0, 255.0 * 2**24)),
    ]
    for wide, how in kinds:
        found = pixels_of(tiff(wide, big, **tags), Form(SIDE, channels, "black", how))
        np.testing.assert_array_equal(found, twin, err_msg=f"{wide.dtype} {how}")


@MANY
@given(
    seed=st.integers(0, 2**32),
    opacity=st.sampled_from(("none", "one value", "alpha")),
    orientation=ORIENTATIONS,
    channels=st.sampled_from((1, 3)),
    ground=GROUNDS,
    how=st.sampled_from(("type", "auto", (0.0, 65_535.0))),
    interlaced=st.booleans(),
)
def test_a_deep_png_is_its_eight_bit_twin(
    seed: int, opacity: str, orientation: int, channels: int, ground: str, how: Any, interlaced: bool
) -> None:
    draw = np.random.default_rng(seed)
    grey = draw.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    grey[0, :2] = 0, 255  # so that auto takes all 16 bits
    chunks, colour, samples = exif_chunk(orientation), 0, grey
    if opacity == "alpha":
        colour, samples = 4, np.stack([grey, draw.integers(0, 256, grey.shape, dtype=np.uint8)], axis=2)
    value = int(grey[1, 1])
    files = []
    for bits, factor in ((8, 1), (16, 257)):
        transparent = [(b"tRNS", (value * factor).to_bytes(2, "big"))] if opacity == "one value" else []
        files.append(png(samples * np.uint16(factor), bits, colour, [*transparent, *chunks], interlaced=interlaced))
    twin = pixels_of(files[0], Form(SIDE, channels, ground))
    found = pixels_of(files[1], Form(SIDE, channels, ground, how))
    assert np.abs(found.astype(int) - twin).max() <= (0 if opacity == "none" or how == "type" else 1)
    if opacity == "one value":
        transparent = turned(grey == value, orientation)
        under = [round(intensity.luma(ImageColor.getrgb(ground)))] if channels == 1 else ImageColor.getrgb(ground)
        for plane, expected in zip(found, under, strict=True):
            assert np.abs(plane[transparent].astype(int) - expected).max() <= 1


@MANY
@given(
    seed=st.integers(0, 2**32),
    bits=st.sampled_from((1, 2, 4, 8, 16)),
    colour=st.sampled_from((0, 2)),
    orientation=ORIENTATIONS,
)
def test_the_transparent_value_of_a_png_is_found_at_every_depth(
    seed: int, bits: int, colour: int, orientation: int
) -> None:
    assume(colour == 0 or bits >= 8)
    shape = (SIDE, SIDE) if colour == 0 else (SIDE, SIDE, 3)
    values = np.random.default_rng(seed).integers(0, 2**bits, shape)
    chosen = values[2, 3]
    chunks = [(b"tRNS", np.array(chosen, ">u2").tobytes()), *exif_chunk(orientation)]
    white, black = (pixels_of(png(values, bits, colour, chunks), Form(SIDE, 3, each)) for each in ("white", "black"))
    # Of 16-bit colour Pillow keeps the high bytes, and so of the transparent one.
    wide = values >> 8 if (colour, bits) == (2, 16) else values
    gone = (wide == wide[2, 3]).reshape(SIDE, SIDE, -1).all(axis=2)
    gone = turned(gone, orientation)
    assert (white[:, gone] == 255).all() and (black[:, gone] == 0).all()
    np.testing.assert_array_equal(white[:, ~gone], black[:, ~gone])


@MANY
@given(
    seed=st.integers(0, 2**32),
    bits=st.integers(1, 16),
    photometric=st.sampled_from((0, 1)),
    kind=st.sampled_from((np.uint16, np.float32, np.int32)),
)
def test_auto_uses_the_fewest_bits(seed: int, bits: int, photometric: int, kind: type) -> None:
    """The highest value comes out above mid-grey, whatever the camera; and linear."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (SIDE, SIDE))
    values[0, 0] = 2 ** (bits - 1) if bits > 1 else 1
    found = pixels_of(tiff(values.astype(kind), photometric=photometric), Form(SIDE, 1, "black", "auto"))[0]
    expected = 255 * values / (2**bits - 1)
    np.testing.assert_allclose(found, 255 - expected if photometric == 0 else expected, atol=0.51)


def test_a_twelve_bit_tiff_is_of_twelve_bits() -> None:
    values = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 65
    for how in ("type", "auto", (0.0, 4095.0)):
        found = pixels_of(tiff(values.astype(np.uint16), bits=12), Form(SIDE, 1, "black", how))[0]
        np.testing.assert_allclose(found, values * 255 / 4095, atol=1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    pixels = np.full((2, 2), value, np.float32)
    for how in ("auto", (0.0, 1.0), "type"):
        with pytest.raises(DataError, match="no finite numbers"):
            opened(tiff(pixels), Form(2, 1, "black", how))


def test_values_beyond_a_range_are_cut_off() -> None:
    values = np.array([[0, 100], [200, 300]], np.uint16)
    assert pixels_of(tiff(values), Form(2, 1, "black", (100.0, 200.0))).tolist() == [[[0, 0], [255, 255]]]


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5), seed=st.randoms())
@MANY
def test_a_range_holds_all_values_in_any_order(values: list[float], seed: Any) -> None:
    def chosen(these: list[float]) -> Any:
        lows = np.array(these)
        return intensity.choose("auto", np.array([intensity.FLOAT] * len(these)), lows, lows)

    low, high = chosen(values)
    assert low <= min(values) and max(values) <= high and low < high
    seed.shuffle(values)
    assert chosen(values) == (low, high)


def test_ranges_of_floating_point() -> None:
    def chosen(low: float, high: float) -> Any:
        return intensity.choose("auto", np.array([intensity.FLOAT]), np.array([low]), np.array([high]))

    assert chosen(0, 0.3) == (0, 1) and chosen(-0.5, 1) == (-1, 1)
    assert chosen(0, 255) == (0, 255) and chosen(0, 255.5) == (0, 511)
    assert chosen(-1024, 3071) == (-1024, 3071) and chosen(-5, -5) == (-5, -4)


def test_integers_and_floating_point_have_no_common_range() -> None:
    samples = np.array([intensity.INTEGER, intensity.FLOAT, intensity.FLOAT])
    with pytest.raises(DataError, match="1 images hold integers .* 2 floating point; save all .*--intensity-range LOW"):
        intensity.choose("auto", samples, np.zeros(3), np.ones(3))
    assert intensity.choose((0.0, 9.0), samples, np.zeros(3), np.ones(3)) == (0.0, 9.0)
