"""Opening an image file with Pillow: the formats allowed, what is mended of Pillow's reading, and the limits."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from fastgan.data.refused import FORMATS
from fastgan.errors import DataError

MOST_PIXELS = 50_000_000  # to decode of one image: some 200 MB
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
MOST_KEPT = 6 * MOST_PIXELS  # bytes that libjpeg may keep of the coefficients of a JPEG of several scans
HEAD = 64  # bytes by which a format is recognised
JPEG, PNG, TIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", tuple(TiffImagePlugin.PREFIXES)
TEXTS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")  # PNG's chunks that no pixel depends on
PHOTOMETRIC, SAMPLE_FORMAT = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, TiffImagePlugin.SAMPLEFORMAT
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1  # kinds of grey


class Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF file; grey of more than 8 bits is read in both byte orders, inverted or not, signed or not.

    Pillow knows some of these only, and inverts none: they are opened as the next kind that it knows. inverted: whether
    low values are bright, of more than 8 bits. unsigned: whether 32-bit integers are, which Pillow reads as signed.
    """

    inverted = unsigned = False

    def _setup(self) -> None:
        tags = self.tag_v2
        bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
        if bits > 8 and tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO:
            self.inverted, tags[PHOTOMETRIC] = True, BLACK_IS_ZERO
        if bits == 32 and tags.get(PHOTOMETRIC) == BLACK_IS_ZERO and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
            self.unsigned, tags[SAMPLE_FORMAT] = True, (2,)
        super()._setup()


def opened(file: BinaryIO, head: bytes) -> Any:
    """The image in a file that begins with `head`, of which only the header has been read."""
    # Image.open would hold Pillow's own limit against the size in the header, of which a JPEG is decoded at a part.
    if head.startswith(JPEG):
        return JpegImagePlugin.jpeg_factory(file)
    if head.startswith(PNG):
        return PngImagePlugin.PngImageFile(file)
    return Tiff(file) if head.startswith(TIFF) else Image.open(file, formats=FORMATS)


def without_texts(file: BinaryIO) -> io.BytesIO:
    """A PNG file without texts and profile; ValueError if it is cut off within a chunk."""
    file.seek(0)
    parts = [file.read(len(PNG))]
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big") + 4  # with the checksum
        if head[4:] in TEXTS:
            file.seek(length, io.SEEK_CUR)
            continue
        content = file.read(length)
        if len(content) < length:
            raise ValueError("broken PNG file (chunk cut off)")
        parts += (head, content)
    return io.BytesIO(b"".join(parts))


def check_work(image: Any, width: int, height: int) -> None:
    """Refuse what would take too much memory to decode."""
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{width} x {height} pixels: {TOO_LARGE}")
    if isinstance(image, JpegImagePlugin.JpegImageFile) and width * height > MOST_PIXELS:
        layers = [down * across for _, down, across, _ in image.layer]
        per_pixel = 2 * sum(layers) / max(max(layers, default=1), 1)
        if per_pixel * width * height > MOST_KEPT and not _one_scan(image):
            raise DataError(f"{width} x {height} pixels of a progressive JPEG, kept whole: {TOO_LARGE}")


def _one_scan(image: Any) -> bool:
    """Whether a JPEG's first scan, whose header was read last, holds all colours to the end."""
    place, length = image.fp.tell(), 6 + 2 * len(image.layer)
    image.fp.seek(max(place - length, 0))
    header = image.fp.read(3)
    image.fp.seek(place)
    return "progressive" not in image.info and header == bytes((0, length, len(image.layer)))


def raw_mode(image: Any) -> str:
    """How Pillow unpacks a file that it has not read yet; "" of WebP."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def mend_transparency(image: Any, raw: str) -> None:
    """A PNG's transparent colour as Pillow unpacks pixels: it leaves the number of another depth as it is."""
    colour = image.info.get("transparency")
    if raw in ("L;2", "L;4") and isinstance(colour, int):
        image.info["transparency"] = colour * (85 if raw == "L;2" else 17)
    elif raw == "RGB;16B" and isinstance(colour, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in colour)
