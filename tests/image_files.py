"""Image files written byte by byte, of kinds that Pillow reads and does not write, or writes in its own way only."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(rows: np.ndarray, bits: int) -> list[bytes]:
    """Rows of samples [H, n], each of so many bits, the first in the highest bits; big-endian."""
    if bits >= 8:
        kind = {8: ">u1", 16: ">u2", 32: ">u4"}[bits]
        return [row.astype(kind).tobytes() for row in rows]
    found = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in found]


def png(
    pixels: np.ndarray,
    bits: int = 8,
    colour: int = 0,
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG file.

    Args:
        pixels: samples, [H, W] or [H, W, samples]. colour: the colour type. before, after: chunks beside the pixels.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, width, -1)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    body = b""
    for x, y, across, down in passes:
        part = flat[y::down, x::across]
        if part.size:
            body += b"".join(b"\0" + row for row in packed(part.reshape(len(part), -1), bits))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(body)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def tiff(pixels: np.ndarray, big: bool = False, bits: int | None = None, **tags: int | Sequence[int]) -> bytes:
    """An uncompressed TIFF file.

    Args:
        pixels: [H, W] or [H, W, samples], of the type to write. big: big-endian. bits: a sample, if not the type's.
        tags: photometric (1), orientation, compression (1), extra (of samples), form (the sample format), planar.
    """
    order = ">" if big else "<"
    height, width = pixels.shape[:2]
    samples = pixels[0, 0].size
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if bits is not None and bits != 8 * pixels.dtype.itemsize:
        body = b"".join(packed(pixels.reshape(height, -1), bits)) if bits < 8 else _twelve(pixels)
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    found: dict[int, Any] = {
        256: width,
        257: height,
        258: [bits or 8 * pixels.dtype.itemsize] * samples,
        259: tags.get("compression", 1),
        262: tags.get("photometric", 1),
        273: 8,
        277: samples,
        278: height,
        279: len(body),
        339: [tags.get("form", form)] * samples,
    }
    named = {"orientation": 274, "planar": 284, "extra": 338, "colours": 320}
    found |= {number: tags[name] for name, number in named.items() if name in tags}
    aside, entries = body, b""
    for number, value in sorted(found.items()):
        values = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        kind, size = ("H", 2) if number not in (273, 279) else ("I", 4)
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(content) > 4:
            aside += b"\0" * (len(aside) % 2)
            content, aside = struct.pack(f"{order}I", 8 + len(aside)), aside + content
        entries += struct.pack(f"{order}HHI", number, 3 if size == 2 else 4, len(values)) + content.ljust(4, b"\0")
    aside += b"\0" * (len(aside) % 2)
    head = (b"MM" if big else b"II") + struct.pack(f"{order}HI", 42, 8 + len(aside))
    return head + aside + struct.pack(f"{order}H", len(found)) + entries + bytes(4)


def _twelve(pixels: np.ndarray) -> bytes:
    """12 bits a sample, of an even width."""
    first, second = pixels[:, 0::2].astype(int), pixels[:, 1::2].astype(int)
    three = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return three.astype(np.uint8).tobytes()


def bmp(width: int, height: int, bits: int, body: bytes, *, compression: int = 0, extra: bytes = b"") -> bytes:
    """A BMP file with a header of 40 bytes; `extra` follows it: masks or colours."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, 0, 0)
    place = 14 + len(info) + len(extra)
    return b"BM" + struct.pack("<IHHI", place + len(body), 0, 0, place) + info + extra + body
