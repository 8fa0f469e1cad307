"""Why a file cannot be decoded: it is damaged, or of a kind that is not supported, and of which."""

from __future__ import annotations

import contextlib
import re
from typing import Any, BinaryIO

from PIL import (
    BmpImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
NOT_SUPPORTED = "not supported"  # prefix of the reason for a file that may be whole
# Of Pillow's messages, those about a kind of file, not about this one.
_KIND = re.compile(r"(?i)unsupported|not (yet )?supported|cannot handle|unknown (pixel mode|data organi|compression)")
_OPTIONAL = tuple(f"compression {number}" for number in (34925, 50000, 50001, 50002))  # LZMA, Zstandard, WebP, JPEG XL
# By their first bytes, from the given one on.
_OTHERS = (
    (4, re.compile(rb"ftyp(heic|heix|heim|heis|hevc|mif1|msf1)"), "HEIC"),
    (4, re.compile(rb"ftypavi[fs]"), "AVIF"),
    (4, re.compile(rb"ftypcrx"), "camera raw"),
    (4, re.compile(rb"ftyp"), "video"),
    (0, re.compile(rb"GIF8[79]a"), "GIF"),
    (0, re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (0, re.compile(rb"8BPS"), "Photoshop"),
    (0, re.compile(rb"%PDF|%!PS"), "PDF or PostScript"),
    (0, re.compile(rb"\s*(<\?xml[^>]*>\s*)?<svg"), "SVG"),
    (0, re.compile(rb"\0\0\x01\0"), "icon"),
    (0, re.compile(rb"BA[^\0]{0,8}\0|IC|PT|CI|CP"), "OS/2 bitmap"),
    (0, re.compile(rb"v/1\x01"), "OpenEXR"),
    (0, re.compile(rb"#\?(RADIANCE|RGBE)"), "Radiance"),
    (0, re.compile(rb"II\xbc"), "JPEG XR"),
    (0, re.compile(rb"P[7F]\s"), "PAM or colour PFM"),
    (0, re.compile(rb"\x89HDF|CDF"), "HDF5 or NetCDF"),
    (0, re.compile(rb"SIMPLE  ="), "FITS"),
    (0, re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc|Rar!"), "archive"),
)
_FACTORIES: dict[str, Any] = {
    "JPEG": (JpegImagePlugin._accept, JpegImagePlugin.JpegImageFile),
    "PNG": (PngImagePlugin._accept, PngImagePlugin.PngImageFile),
    "BMP": (BmpImagePlugin._accept, BmpImagePlugin.BmpImageFile),
    "WEBP": (WebPImagePlugin._accept, WebPImagePlugin.WebPImageFile),
    "TIFF": (lambda head: head.startswith(tuple(TiffImagePlugin.PREFIXES)), TiffImagePlugin.TiffImageFile),
    "PPM": (PpmImagePlugin._accept, PpmImagePlugin.PpmImageFile),
}


def reason(error: Exception, file: BinaryIO, head: bytes) -> str:
    """What to say of a file that raised `error` when it was decoded, and that begins with `head`."""
    kind = next((name for name, (accepts, _) in _FACTORIES.items() if accepts(head) is True), None)
    said = _said(error)
    if isinstance(error, UnidentifiedImageError):
        if kind is None:
            other = next((name for at, start, name in _OTHERS if start.match(head, at)), None)
            return "not an image of a supported format" if other is None else f"{NOT_SUPPORTED} ({other})"
        said = _opening(file, _FACTORIES[kind][1]) or said
    layout = _layout(file) if kind == "TIFF" else ""
    if layout and (_KIND.search(said) or said.isdigit()):
        return f"{NOT_SUPPORTED} (TIFF of {layout})"
    if layout and said.startswith("decoder error") and layout.endswith(_OPTIONAL):
        return f"{NOT_SUPPORTED} by this libtiff, or damaged (TIFF of {layout})"
    return f"{NOT_SUPPORTED} ({said})" if _KIND.search(said) else f"damaged ({said})"


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _opening(file: BinaryIO, factory: Any) -> str | None:
    """What the format's own reader says, which Pillow keeps to itself; None if it says nothing."""
    try:
        file.seek(0)
        with factory(file):
            return None
    except Exception as error:  # noqa: BLE001 - as in decode
        return _said(error)


def _layout(file: BinaryIO) -> str:
    """The kind of a TIFF file's pixels, or "" if its tags cannot be read."""
    with contextlib.suppress(Exception):
        file.seek(0)
        header = file.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(
            header + (file.read(8) if header[2:4] in (b"+\0", b"\0+") else b"")
        )
        file.seek(tags.next)
        tags.load(file)
        bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, len(bits))
        form = {1: "", 2: "signed ", 3: "floating-point "}.get(
            tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], "other "
        )
        return (
            f"{samples} {form}{'sample' if samples == 1 else 'samples'} of {bits[0]} bits, "
            f"{'big' if tags.prefix == TiffImagePlugin.MM else 'little'}-endian, photometric interpretation "
            f"{tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0)}, compression "
            f"{tags.get(TiffImagePlugin.COMPRESSION, 1)}"
        )
    return ""
