"""Decoding image files: every format and mode, rotation, crop and resizing, damaged and hostile files."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fastgan.data import decode as decoding
from fastgan.data.decode import Form, Pixels, decode, quiet
from fastgan.errors import DataError


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def read(content: bytes, size: int = 2, channels: int = 1, **how: Any) -> Pixels:
    with quiet():
        pixels = decode(io.BytesIO(content), Form(size, channels, **how)).pixels
    assert pixels.shape == (channels, size, size) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    return pixels


def reason(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def grey(rows: list[list[int]], dtype: Any = np.uint8) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype=dtype))


def one(mode: str, *colour: int) -> Image.Image:
    """2 x 2 pixels of one colour."""
    return Image.new(mode, (2, 2), colour if len(colour) > 1 else colour[0])


def colour_of(content: bytes, channels: int = 3) -> list[int]:
    pixels = read(content, channels=channels)
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


# --- formats and modes ---


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_formats(kind: str) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20)
    options = {"lossless": True} if kind == "WEBP" else {}
    expected = np.arange(12).reshape(2, 2, 3).transpose(2, 0, 1) * 20
    np.testing.assert_array_equal(read(saved(image, kind, **options), channels=3), expected)


def test_jpeg() -> None:
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    np.testing.assert_allclose(colour_of(saved(image, "JPEG", quality=100)), (200, 100, 50), atol=2)
    assert colour_of(saved(Image.new("L", (16, 16), 77), "JPEG", quality=100), 1) == [77]


def test_grey_stays_and_becomes_rgb() -> None:
    content = saved(grey([[10, 20], [30, 40]]))
    assert read(content).tolist() == [[[10, 20], [30, 40]]]
    assert read(content, channels=3).tolist() == [[[10, 20], [30, 40]]] * 3
    assert read(saved(grey([[10, 20], [30, 40]]), "PPM")).tolist() == [[[10, 20], [30, 40]]]  # a .pgm file


def test_rgb_becomes_its_luma() -> None:
    assert colour_of(saved(one("RGB", 10, 20, 30)), 1) == [18]  # 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15
    assert colour_of(saved(one("RGB", 255, 255, 255)), 1) == [255]
    assert colour_of(saved(one("RGB", 0, 255, 0)), 1) == [150]  # 149.685


def palette(transparency: int | bytes | None = None) -> bytes:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return saved(image, **({} if transparency is None else {"transparency": transparency}))


def test_palettes() -> None:
    assert colour_of(palette()) == [200, 100, 50]
    assert colour_of(palette(0)) == [200, 100, 50]
    assert colour_of(palette(1)) == [0, 0, 0]
    assert colour_of(palette(b"\x00\x80")) == [100, 50, 25]  # 128 / 255 of it


def test_what_is_transparent_lies_over_black() -> None:
    assert colour_of(saved(one("RGBA", 200, 100, 50, 128))) == [100, 50, 25]
    assert colour_of(saved(one("RGBA", 200, 100, 50, 0))) == [0, 0, 0]
    assert colour_of(saved(one("RGBA", 200, 100, 50, 255)), 1) == [124]  # 124.2
    assert colour_of(saved(one("LA", 200, 128)), 1) == [100]
    assert colour_of(saved(one("RGBA", 200, 100, 50, 0), "WEBP", lossless=True)) == [0, 0, 0]
    assert colour_of(saved(one("RGB", 9, 8, 7), transparency=(9, 8, 7))) == [0, 0, 0]
    assert read(saved(grey([[5, 6], [7, 8]]), transparency=6)).tolist() == [[[5, 0], [7, 8]]]


def test_one_bit() -> None:
    image = Image.new("1", (2, 2))
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert read(saved(image, kind)).tolist() == [[[0, 255], [0, 0]]]


def test_cmyk() -> None:
    for ink, expected in (((0, 0, 0, 0), [255] * 3), ((255, 0, 0, 0), [0, 255, 255]), ((0, 0, 0, 255), [0] * 3)):
        assert colour_of(saved(one("CMYK", *ink), "TIFF")) == expected
        np.testing.assert_allclose(colour_of(saved(one("CMYK", *ink), "JPEG", quality=100)), expected, atol=3)


SIXTEEN = [[0, 511], [30_000, 65_535]]


@pytest.mark.parametrize("kind, order", [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
def test_sixteen_bits_keep_their_high_byte(kind: str, order: str) -> None:
    content = saved(grey(SIXTEEN, order), kind)
    assert Image.open(io.BytesIO(content)).mode == ("I;16B" if order == ">u2" else "I;16")
    assert read(content).tolist() == [[[0, 1], [117, 255]]]


def test_sixteen_bits_that_pillow_gives_as_integers_are_divided_by_257() -> None:
    for kind in ("PPM", "TIFF"):
        assert read(saved(grey(SIXTEEN, np.int32), kind)).tolist() == [[[0, 2], [117, 255]]]  # 511 / 257 = 1.99


def test_more_than_sixteen_bits_are_refused() -> None:
    assert "grey from 0 to 70000, beyond 16 bits" in reason(saved(grey([[0, 70_000]] * 2, np.int32), "TIFF"))
    assert "grey from -1 to 5, beyond 16 bits" in reason(saved(grey([[-1, 5]] * 2, np.int32), "TIFF"))
    assert "floating point" in reason(saved(grey([[0, 1]] * 2, np.float32), "TIFF"))


def test_of_several_pages_the_first_counts() -> None:
    content = saved(one("L", 10), "TIFF", save_all=True, append_images=[one("L", 20)])
    assert colour_of(content, 1) == [10]


# --- turned, cut out, resized ---

TURNED = {
    1: [[1, 2], [3, 4]],
    2: [[2, 1], [4, 3]],
    3: [[4, 3], [2, 1]],
    4: [[3, 4], [1, 2]],
    5: [[1, 3], [2, 4]],
    6: [[3, 1], [4, 2]],
    7: [[4, 2], [3, 1]],
    8: [[2, 4], [1, 3]],
    9: [[1, 2], [3, 4]],  # no such orientation
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation, expected", TURNED.items())
def test_exif_orientation(kind: str, orientation: int, expected: list[list[int]]) -> None:
    """Blocks of 16 pixels, which JPEG keeps apart."""
    image = grey(np.kron(np.array(TURNED[1]) * 50, np.ones((16, 16))).tolist())
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    pixels = read(saved(image, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {})), 32)
    np.testing.assert_allclose(pixels[0, 8::16, 8::16], np.array(expected) * 50, atol=3)


@pytest.mark.parametrize("data", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_data_turn_nothing(data: bytes) -> None:
    assert colour_of(saved(Image.new("L", (2, 2), 60), "JPEG", exif=data), 1) == [60]


def test_the_central_square_is_cut_out() -> None:
    wide = grey([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    assert read(saved(wide)).tolist() == [[[2, 3], [7, 8]]]
    assert read(saved(wide.transpose(Image.Transpose.TRANSPOSE))).tolist() == [[[2, 7], [3, 8]]]


def test_resizing_is_antialiased() -> None:
    """Lines of one pixel become grey, whatever their place; a flat image stays as it is, smaller or larger."""
    lines = np.tile(np.array([0, 255], dtype=np.uint8), (512, 256))
    assert np.abs(read(saved(Image.fromarray(lines)), 16).astype(int) - 128).max() <= 2
    for side in (1, 3, 100, 1000):
        assert (read(saved(Image.new("L", (side, side), 91)), 16) == 91).all()


@pytest.mark.parametrize("side", [70, 200, 1100])
def test_a_jpeg_decoded_at_a_fraction_looks_the_same(side: int) -> None:
    x = np.linspace(0, 6, side)
    smooth = (127 + 100 * np.sin(x[:, None]) * np.cos(x)).astype(np.uint8)
    by_jpeg, by_png = (read(saved(Image.fromarray(smooth), *how), 32) for how in (("JPEG",), ("PNG",)))
    assert np.abs(by_jpeg.astype(int) - by_png).max() <= 6


@pytest.mark.parametrize("side, decoded", [(127, 127), (128, 64), (256, 64), (700, 88)])
def test_a_large_jpeg_is_decoded_at_a_fraction(side: int, decoded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never below twice the requested side."""
    sizes: list[tuple[int, int]] = []
    real = decoding._turned

    def noted(image: Image.Image, original: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return real(image, original)

    monkeypatch.setattr(decoding, "_turned", noted)
    read(saved(Image.new("L", (side, side), 9), "JPEG"), 32)
    assert sizes == [(decoded, decoded)]


# --- damaged and hostile files ---


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG file of 8-bit grey with any header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_handmade_png_is_read() -> None:
    assert read(png(2, 2, b"\0\x01\x02\0\x03\x04")).tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize("side", [10_000, 20_000, 65_535])
def test_a_bomb_is_refused_from_its_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    content = png(side, side)
    assert len(content) < 100
    assert "more than 50 megapixels" in reason(content)


def noise(kind: str) -> bytes:
    return saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)


DAMAGED = {
    "empty": (b"", "empty file"),
    "text": (b"not an image", "not an image of a supported format"),
    "page": (b"<html>404 Not Found</html>", "not an image of a supported format"),
    "a format that is not on the list": (saved(one("L", 1), "GIF"), "not supported (GIF)"),
    "half a JPEG": (noise("JPEG")[:2000], "damaged (image file is truncated"),
    "half a PNG": (noise("PNG")[:2000], "damaged (image file is truncated"),
    "half a BMP": (noise("BMP")[:2000], "damaged ("),
    "half a TIFF": (noise("TIFF")[:2000], "damaged ("),
    "a PNG without pixels": (png(2, 2), "damaged ("),
    "a PNG of no width": (png(0, 2), "damaged ("),
}


@pytest.mark.parametrize("content, expected", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_give_a_reason(content: bytes, expected: str) -> None:
    assert expected in reason(content)


def test_half_a_webp() -> None:
    assert reason(noise("WEBP")[:500])


FUZZ = settings(max_examples=100, derandomize=True, database=None, deadline=None)
WHOLE = {kind: noise(kind) for kind in ("JPEG", "PNG")}


def reads_or_refuses(content: bytes) -> None:
    try:
        read(content, 16, 3)
    except DataError as error:
        assert str(error) and "\n" not in str(error)


@FUZZ
@given(magic=st.sampled_from((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"P5 ")), rest=st.binary())
def test_random_bytes(magic: bytes, rest: bytes) -> None:
    reads_or_refuses(magic + rest)


@FUZZ
@given(kind=st.sampled_from(sorted(WHOLE)), seed=st.integers(0, 2**32), changes=st.integers(1, 20), cut=st.booleans())
def test_mutated_files(kind: str, seed: int, changes: int, cut: bool) -> None:
    """Valid files with bytes changed, most of them in the headers, and perhaps the end cut off."""
    draw, content = random.Random(seed), bytearray(WHOLE[kind])
    for _ in range(changes):
        content[draw.randrange(draw.choice((60, 700, len(content))))] = draw.randrange(256)
    reads_or_refuses(bytes(content[: draw.randrange(len(content))] if cut else content))
