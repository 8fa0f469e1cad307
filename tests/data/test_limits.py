"""Limits of decoding: on what is decoded, not on what a header says; and the settings of older runs."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from image_files import png, saved
from PIL import Image

from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import from_json, to_json
from fastgan.data import opening
from fastgan.data.decode import Form, decode, quiet
from fastgan.data.refused import FORMATS
from fastgan.data.scan import OTHER_KINDS, SUFFIXES
from fastgan.errors import DataError


def claimed(width: int, height: int, **options: Any) -> bytes:
    """A JPEG file of 16 x 16 pixels whose header claims another size."""
    content = saved(Image.new("RGB", (16, 16), (90, 120, 30)), "JPEG", **options)
    frame = content.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]


def reason(content: bytes, crop: int | None = None) -> str:
    with quiet(), pytest.raises(DataError) as caught:
        decode(io.BytesIO(content), Form(16, 3), crop)
    return str(caught.value)


def test_a_large_photograph_is_read_at_an_eighth() -> None:
    with quiet():
        picture = decode(io.BytesIO(saved(Image.new("L", (8192, 6144), 77), "JPEG")), Form(64, 3))
    assert (picture.pixels == 77).all() and picture.source[-2:] == (8192, 6144)


def test_a_jpeg_is_refused_for_what_would_be_decoded_or_kept() -> None:
    for content in (claimed(20_000, 20_000), claimed(8192, 6144, progressive=True)):  # libjpeg fills up what is missing
        with quiet():
            decode(io.BytesIO(content), Form(16, 3))
    assert "more than 50 megapixels" in reason(claimed(65_000, 65_000))
    assert "more than 50 megapixels" in reason(claimed(8192, 6144), crop=110)  # which takes the full size
    assert "20000 x 20000 pixels of a progressive JPEG" in reason(claimed(20_000, 20_000, progressive=True))


def test_a_jpeg_of_a_scan_a_colour_is_kept_whole() -> None:
    content = claimed(20_000, 20_000)
    scan = content.index(b"\xff\xda")
    one = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    with quiet():
        for scans, expected in ((content[scan:], True), (one + content[scan + 14 :], False)):
            image = opening.opened(io.BytesIO(content[:scan] + scans), content[:64])
            assert opening._one_scan(image) is expected


def test_a_text_that_would_fill_the_memory_is_passed_over() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    content = png(np.full((4, 4), 9, np.uint8), before=[(b"zTXt", b"k\0\0" + packed)])
    with quiet():
        assert (decode(io.BytesIO(content), Form(4, 1)).pixels == 9).all()


def test_the_suffixes_are_those_of_the_formats() -> None:
    Image.init()
    assert set(SUFFIXES) == {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}
    assert not set(SUFFIXES) & set(OTHER_KINDS)


def test_settings_from_before_there_were_any_mean_what_they_did() -> None:
    values = to_json(TrainConfig())
    del values["ground"], values["intensity_range"]
    before = from_json(values)
    assert (before.ground, before.intensity_range) == ("black", "type")
    chosen = TrainConfig(intensity_range=(0.0, 4095.0), ground="#102030")
    assert from_json(to_json(chosen)) == chosen
