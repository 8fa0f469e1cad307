"""PYTHONPATH=tests python -m image_family [--write]: what becomes of image files of many kinds, as a table.

The files are drawn here; tests/data/image_family.txt keeps the outcome of each, --write renews it. A line is a name,
then "read", the format, the kind of samples and the mean of the decoded picture and of its upper left quarter, or why
the file is not used.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from image_files import bmp, chunk, png, saved, tiff
from PIL import Image, PngImagePlugin

from fastgan.data import intensity
from fastgan.data.decode import Form, decode, quiet
from fastgan.errors import DataError

TABLE = Path(__file__).parent / "data" / "image_family.txt"
SIDE = 16
FORM = Form(SIDE, 3, "black", "auto")
X, Y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
GREY = (X * 9 + Y * 5 + 20).astype(np.uint8)  # 20 to 230, the upper left the darkest
RGB = np.stack([GREY, 255 - GREY, X * 15], axis=2).astype(np.uint8)
ALPHA = (Y * 16).astype(np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 3
TURNED = [(b"eXIf", EXIF.tobytes()[6:])]
BIG = zlib.compress(bytes(3_000_000))


def _with(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels.reshape(SIDE, SIDE, -1), alpha[..., None]], axis=2)


def _pngs() -> Iterator[tuple[str, bytes]]:
    for bits in (1, 2, 4, 8, 16):
        grey = GREY.astype(np.uint32) * 257 >> 16 - bits
        yield f"png grey {bits}", png(grey, bits)
        yield f"png grey {bits} interlaced", png(grey, bits, interlaced=True)
        yield f"png grey {bits} turned", png(grey, bits, before=TURNED)
        one = [(b"tRNS", np.array(grey[0, 0], ">u2").tobytes())]
        yield f"png grey {bits} one transparent", png(grey, bits, before=one)
    for bits in (1, 2, 4, 8):
        colours = [(b"PLTE", RGB.reshape(-1, 3)[: 2**bits].tobytes())]
        yield f"png palette {bits}", png(GREY.astype(int) % 2**bits, bits, 3, colours)
        yield (
            f"png palette {bits} transparent",
            png(GREY.astype(int) % 2**bits, bits, 3, [*colours, (b"tRNS", b"\0\x80")]),
        )
    for bits, factor in ((8, 1), (16, 257)):
        wide, clear = RGB * np.uint32(factor), ALPHA * np.uint32(factor)
        one = [(b"tRNS", wide[0, 0].astype(">u2").tobytes())]
        yield f"png colour {bits}", png(wide, bits, 2)
        yield f"png colour {bits} one transparent", png(wide, bits, 2, one)
        yield f"png grey with alpha {bits}", png(_with(wide[..., 0], clear), bits, 4)
        yield f"png grey with alpha {bits} turned", png(_with(wide[..., 0], clear), bits, 4, TURNED)
        yield f"png colour with alpha {bits}", png(_with(wide, clear), bits, 6)
    yield "png 12 bits in 16", png(GREY * np.uint32(16), 16)
    yield "png 12 bits in 16, colour", png(RGB * np.uint32(16), 16, 2)
    yield "png of no bits known", png(GREY, 8, 5)
    for name, content in (("profile", b"icc\0\0" + BIG), ("text", b"k\0\0" + BIG), ("utf-8", b"k\0\1\0\0\0" + BIG)):
        kind = {"profile": b"iCCP", "text": b"zTXt", "utf-8": b"iTXt"}[name]
        yield f"png with a large {name}", png(GREY, before=[(kind, content)])
        if name != "profile":
            yield f"png with a large {name} at its end", png(GREY, after=[(kind, content)])
    yield "png with a large profile, cut", png(GREY, before=[(b"iCCP", b"icc\0\0" + BIG)])[:-40]
    yield "png of much text", png(GREY, before=[(b"tEXt", b"k%d\0" % n + bytes(5_000_000)) for n in range(14)])
    whole = saved(Image.fromarray(RGB))
    yield "png without pixels", png(GREY)[:33] + png(GREY)[-12:]
    nothing = struct.pack(">IIBBBBB", 0, 2, 8, 0, 0, 0, 0)
    yield "png of no width", whole[:8] + chunk(b"IHDR", nothing) + whole[33:]
    yield "png of another checksum", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]
    yield "png cut", whole[:55]
    bomb = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    yield "png bomb", whole[:8] + chunk(b"IHDR", bomb) + whole[33:]
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    yield "png animated", saved(frames[0], save_all=True, append_images=frames[1:])
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "small")
    yield "png with a small text", saved(Image.fromarray(GREY), pnginfo=info)


def _tiffs() -> Iterator[tuple[str, bytes]]:
    for big in (False, True):
        end = "big" if big else "little"
        for photometric in (0, 1):
            name = f"{end}-endian, {'white' if photometric == 0 else 'black'} is zero"
            for kind in (np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64):
                grey = GREY / kind(255) if np.dtype(kind).kind == "f" else GREY.astype(kind) * kind(1)
                yield f"tiff {np.dtype(kind)} {name}", tiff(grey, big, photometric=photometric)
            for bits in (1, 4):
                yield f"tiff {bits} bits {name}", tiff(GREY >> 8 - bits, big, bits, photometric=photometric)
            twelve = GREY * np.uint16(16)
            yield f"tiff 12 bits {name}", tiff(twelve, big, 12, photometric=photometric)
            yield f"tiff uint16 turned {name}", tiff(twelve, big, photometric=photometric, orientation=3)
            yield f"tiff uint8 turned {name}", tiff(GREY, big, photometric=photometric, orientation=3)
    for extra in (0, 1, 2):
        yield f"tiff grey and sample of kind {extra}", tiff(_with(GREY, ALPHA), extra=extra)
        yield f"tiff 16-bit grey and sample of kind {extra}", tiff(_with(GREY, ALPHA) * np.uint16(257), extra=extra)
        yield f"tiff colour and sample of kind {extra}", tiff(_with(RGB, ALPHA), photometric=2, extra=extra)
        yield f"tiff 16-bit colour, {extra}", tiff(_with(RGB, ALPHA) * np.uint16(257), photometric=2, extra=extra)
    yield "tiff colour", tiff(RGB, photometric=2)
    yield "tiff colour of 16 bits", tiff(RGB * np.uint16(257), True, photometric=2)
    yield "tiff colour of floats", tiff(RGB / np.float32(255), photometric=2)
    yield "tiff cmyk", tiff(_with(RGB, ALPHA), photometric=5)
    yield "tiff lab", tiff(RGB, photometric=8)
    yield "tiff palette", tiff(GREY, photometric=3, colours=(np.arange(768) * 85).astype(np.uint16))
    yield "tiff of five samples", tiff(np.concatenate([RGB, RGB[..., :2]], axis=2), photometric=1)
    yield "tiff of complex numbers", tiff(GREY.astype(np.uint32), form=6)
    yield "tiff negative", tiff(GREY.astype(np.int16) - np.int16(100))
    yield "tiff of no numbers", tiff(np.full((SIDE, SIDE), np.nan, np.float32))
    for compression in (7, 34887, 50001, 9):
        yield f"tiff of compression {compression}", tiff(GREY, compression=compression)
    image = Image.fromarray(RGB)
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_lzma", "zstd"):
        yield f"tiff {name}", saved(image, "TIFF", compression=name)
        if name in ("tiff_lzw", "tiff_adobe_deflate", "zstd"):
            deep = Image.fromarray(GREY * np.uint16(257))
            yield f"tiff {name} of 16 bits", saved(deep, "TIFF", compression=name)
            white = saved(deep, "TIFF", compression=name, tiffinfo={262: 0})
            yield f"tiff {name} of 16 bits, white is zero", white
    yield "tiff group4", saved(Image.fromarray(GREY > 120), "TIFF", compression="group4")
    yield "tiff of 64-bit offsets", saved(image, "TIFF", big_tiff=True)
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    yield "tiff of two pages", saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield "tiff cut", tiff(GREY)[:100]
    yield "tiff without a directory", tiff(GREY)[:270]


def _bmps() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", saved(Image.fromarray(RGB).convert(mode), "BMP")
    rows = GREY[::-1]
    masks = {"565": (0xF800, 0x7E0, 0x1F), "555": (0x7C00, 0x3E0, 0x1F), "444": (0xF00, 0xF0, 0xF)}
    for name, three in masks.items():
        body = (rows.astype(np.uint16) * 257).astype("<u2").tobytes()
        yield f"bmp of masks {name}", bmp(SIDE, SIDE, 16, body, compression=3, extra=struct.pack("<III", *three))
    wide = _with(RGB[::-1], ALPHA)
    for name, three in {
        "bgrx": (0xFF0000, 0xFF00, 0xFF),
        "rgbx": (0xFF, 0xFF00, 0xFF0000),
        "odd": (7, 56, 448),
    }.items():
        extra = struct.pack("<III", *three)
        yield f"bmp of masks {name}", bmp(SIDE, SIDE, 32, wide.tobytes(), compression=3, extra=extra)
    yield "bmp of 16 bits", bmp(SIDE, SIDE, 16, (rows.astype(np.uint16) * 257).tobytes())
    yield "bmp top down", bmp(SIDE, -SIDE, 24, RGB.tobytes())
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1).tobytes()
    runs = b"".join(bytes([SIDE, int(row[0]), 0, 0]) for row in rows) + b"\0\1"
    yield "bmp of runs", bmp(SIDE, SIDE, 8, runs, compression=1, extra=colours)
    for compression in (4, 5, 6, 9):
        yield f"bmp of compression {compression}", bmp(SIDE, SIDE, 24, RGB.tobytes(), compression=compression)
    for bits in (2, 64):
        yield f"bmp of {bits} bits", bmp(SIDE, SIDE, bits, RGB.tobytes())
    short = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, 24)
    yield "bmp of a short header", b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + short + RGB[::-1].tobytes()
    yield "bmp of an odd header", b"BM" + struct.pack("<IHHI", 0, 0, 0, 30) + struct.pack("<I", 16) + RGB.tobytes()
    yield "bmp cut", saved(Image.fromarray(RGB), "BMP")[:200]
    yield "bmp array", b"BA" + struct.pack("<IIHH", 40, 0, 0, 0) + bytes(40)


def _photographs() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(RGB).resize((64, 64))
    for mode in ("L", "RGB", "CMYK"):
        whole = saved(image.convert(mode), "JPEG", quality=95)
        yield f"jpeg {mode}", whole
        yield f"jpeg {mode} cut", whole[: len(whole) * 2 // 3]
        yield f"jpeg {mode} progressive", saved(image.convert(mode), "JPEG", quality=95, progressive=True)
    yield "jpeg turned", saved(image, "JPEG", quality=95, exif=EXIF)
    yield "jpeg with a large profile", saved(image, "JPEG", quality=95, icc_profile=bytes(2_000_000))
    whole = saved(image, "JPEG", quality=95)
    frame = whole.index(b"\xff\xc0")
    yield "jpeg of 12 bits", whole[: frame + 4] + b"\x0c" + whole[frame + 5 :]
    yield "jpeg of two colours", whole[: frame + 9] + b"\x02" + whole[frame + 10 :]
    yield "jpeg lossless", whole[: frame + 1] + b"\xc3" + whole[frame + 2 :]
    yield "jpeg of several pictures", saved(image, "MPO", quality=95, save_all=True, append_images=[image])
    for mode in ("RGB", "RGBA"):
        picture = Image.fromarray(_with(RGB, ALPHA)).convert(mode)
        yield f"webp {mode}", saved(picture, "WEBP", lossless=True, exact=True)
        yield f"webp {mode} animated", saved(picture, "WEBP", lossless=True, save_all=True, append_images=[picture])
    yield "webp cut", saved(image, "WEBP")[:100]


def _maps() -> Iterator[tuple[str, bytes]]:
    size = f"{SIDE} {SIDE}\n".encode()
    plain = " ".join(map(str, GREY.reshape(-1))).encode()
    yield "pbm plain", b"P1\n" + size + b" ".join(b"%d" % bit for bit in (GREY > 120).reshape(-1))
    yield "pgm plain", b"P2\n" + size + b"255\n" + plain
    yield "pgm plain of 1000", b"P2\n" + size + b"1000\n" + plain
    yield "ppm plain", b"P3\n" + size + b"255\n" + " ".join(map(str, RGB.reshape(-1))).encode()
    yield "pbm", saved(Image.fromarray(GREY > 120), "PPM")
    yield "pgm", saved(Image.fromarray(GREY), "PPM")
    for most in (1000, 4095, 65_535):
        values = (GREY.astype(np.uint32) * most // 255).astype(">u2")
        yield f"pgm of {most}", b"P5\n" + size + b"%d\n" % most + values.tobytes()
    yield "ppm", saved(Image.fromarray(RGB), "PPM")
    yield "ppm of 16 bits", b"P6\n" + size + b"65535\n" + (RGB * np.uint16(257)).astype(">u2").tobytes()
    yield "pfm", b"Pf\n" + size + b"-1.0\n" + (GREY[::-1] / 255).astype("<f4").tobytes()
    yield "pfm of colours", b"PF\n" + size + b"-1.0\n" + (RGB / 255).astype("<f4").tobytes()
    yield "pam", b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0"
    yield "pgm cut", saved(Image.fromarray(GREY), "PPM")[:40]
    yield "pgm of no white", b"P5\n" + size + b"0\n" + GREY.tobytes()


def _others() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "text", b"not an image"
    yield "page", b"<html>404 Not Found</html>"
    yield "zeros", bytes(1000)
    yield "gif", saved(Image.fromarray(GREY), "GIF")
    yield "icon", saved(Image.fromarray(RGB), "ICO", sizes=[(16, 16)])
    for brand in (b"heic", b"mif1", b"avif", b"crx ", b"isom"):
        yield f"ftyp {brand.decode()}", struct.pack(">I4s4sI", 24, b"ftyp", brand, 0) + bytes(100)
    starts = {
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "jpeg xl": b"\xff\x0a",
        "jpeg xr": b"II\xbc\x01",
        "photoshop": b"8BPS\0\1",
        "pdf": b"%PDF-1.7",
        "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "openexr": b"v/1\x01",
        "radiance": b"#?RADIANCE\n",
        "fits": b"SIMPLE  =                    T",
        "zip": b"PK\x03\x04",
        "program": b"\x7fELF\2\1\1",
    }
    for name, start in starts.items():
        yield name, start + bytes(100)


def family() -> dict[str, bytes]:
    """Name -> content of an image file."""
    return {name: content for part in (_pngs, _tiffs, _bmps, _photographs, _maps, _others) for name, content in part()}


def outcome(content: bytes) -> str:
    """What becomes of a file; of a damaged one without Pillow's words, which change."""
    try:
        with quiet():
            picture = decode(io.BytesIO(content), FORM)
    except DataError as error:
        return "damaged" if str(error).startswith("damaged") else str(error)
    pixels: Any = picture.pixels
    _, samples, low, high, kind, *_ = picture.source
    about = f"{kind.decode()}, {samples.decode()}"
    if picture.deep is not None:
        black, white = intensity.choose("auto", np.array([samples]), np.array([low]), np.array([high]))
        pixels = intensity.to_bytes(picture.deep, float(black), float(white), 3, FORM.under)
        about += f" {low:g} to {high:g} of {black:g} to {white:g}"
    return f"read, {about}: {pixels.mean():.0f} {pixels[:, : SIDE // 2, : SIDE // 2].mean():.0f}"


def kept() -> dict[str, str]:
    """Name -> outcome, as in the table."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" | ", 1) for line in lines if " | " in line)


if __name__ == "__main__":
    lines = [f"{name} | {outcome(content)}\n" for name, content in family().items()]
    if "--write" in sys.argv[1:]:
        TABLE.write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")
