"""Image files that are damaged, unusual or hostile: cases 14 to 16."""

from __future__ import annotations

import contextlib
import io
import random
import re
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_images import png_bomb
from PIL import Image

from fastgan.augment.dali import DaliTransform, DaliUnavailableError
from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TransformConfig
from fastgan.data import decode, folder
from fastgan.errors import DataError
from faults import Result, children

KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP", ".pgm": "PPM"}
FORM = "--dataset folder --image-size 16 --channels 1 --batch-size 2 --classes 2 --device cpu"
MEAN = 1e-3  # between the two backends, on [-1, 1], as tests/augment/test_dali.py allows
GROWTH = 60 * 1024  # KiB that reading a bomb may take


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _photograph(draw: np.random.Generator, side: int = 64) -> Image.Image:
    return Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8))


def damaged(count: int, place: Path) -> Result:
    """Empty files, text, programs and images cut anywhere before their last tenth, among good ones."""
    draw, pixels, result = random.Random(0), np.random.default_rng(0), Result()
    others = (b"", b"text", b"<html>404 Not Found</html>", b"\x7fELF\2\1\1" + bytes(100), b"\xff\xd8\xff", bytes(9_999))
    for number in range(count):
        here = place / f"images-{number}"
        here.mkdir()
        for good in range(3):
            (here / f"good{good}.png").write_bytes(saved(_photograph(pixels, 16)))
        suffix, kind = list(KINDS.items())[number % len(KINDS)]
        if number % 3 == 2:
            content = others[number // 3 % len(others)]
        else:
            whole = saved(_photograph(pixels).convert("L") if suffix == ".pgm" else _photograph(pixels), kind)
            content = whole[: draw.randrange(1, len(whole) * 9 // 10)]
        bad = here / f"bad-{number}{suffix}"
        bad.write_bytes(content)
        run = place / f"run-{number}"
        argv = [*FORM.split(), "--data-dir", str(here), "--run-dir", str(run)]
        ended = children.run([*argv, "--cache-dir", str(place / "cache")], place / f"{number}.log")
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            images = folder.full(here, 16, 1, skip_bad=True, cache_dir=place / "cache")
        listed = re.search(r"left out 1 bad file, listed in (\S+)", said.getvalue())
        result.count(
            ended.complaint(2, str(here), bad.name, "--skip-bad"),
            run.exists() and "a run folder was made",
            len(images.images) != 3 and f"--skip-bad kept {len(images.images)}",
            (listed is None or bad.name not in Path(listed[1]).read_text()) and f"not listed: {said.getvalue()}",
        )
    result.note = "refused before training with file and reason; with --skip-bad left out, counted and listed"
    return result


# --- case 15 ---


def _over_black(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return rgb * (alpha / 255.0)


def _modes(draw: np.random.Generator, side: int) -> dict[str, tuple[bytes, np.ndarray, float]]:
    """Mode -> a file, the RGB pixels [S, S, 3] that it must come to by arithmetic, and by how much these may be off."""
    rgb = draw.integers(0, 256, (side, side, 3)).astype(np.uint8)
    alpha, grey = rgb[..., :1][:, ::-1], rgb[..., 1]
    indices = draw.integers(0, 16, (side, side)).astype(np.uint8)
    colours = draw.integers(0, 256, (16, 3)).astype(np.uint8)
    palette = Image.fromarray(indices, "P")
    palette.putpalette(colours.tobytes())
    cmyk = draw.integers(0, 256, (side, side, 4)).astype(np.uint8)
    wide = draw.integers(0, 65_536, (side, side)).astype(np.uint16)
    bits = grey > 127

    def rgb_of(values: np.ndarray) -> np.ndarray:
        return np.repeat(values[..., None], 3, axis=2).astype(float)

    inks = (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255.0
    both = np.concatenate((rgb, alpha), axis=2)
    return {
        "RGB": (saved(Image.fromarray(rgb)), rgb.astype(float), 0),
        "RGBA": (saved(Image.fromarray(both)), _over_black(rgb, alpha), 1),
        "palette": (saved(palette), colours[indices].astype(float), 0),
        "grey": (saved(Image.fromarray(grey)), rgb_of(grey), 0),
        "grey with alpha": (saved(Image.fromarray(both).convert("LA")), np.empty(0), 0),
        "CMYK": (saved(Image.fromarray(cmyk, "CMYK"), "TIFF"), inks, 1),
        "16 bits": (saved(Image.fromarray(wide)), rgb_of(wide >> 8), 0),
        "1 bit": (saved(Image.fromarray(bits)), rgb_of(bits * 255), 0),
    }


def modes(count: int, place: Path) -> Result:
    """RGB, RGBA, palette, grey, CMYK, 16 bits and 1 bit, held against arithmetic; both backends agree on them."""
    draw, result, side = np.random.default_rng(0), Result(), 32
    backends = "; the backends' mean difference at most "
    worst, absent = 0.0, ""
    for number in range(count):
        files = _modes(draw, side)
        name = list(files)[number % len(files)]
        content, expected, off = files[name]
        pixels = decode.decode(io.BytesIO(content), decode.Form(side, 3)).pixels
        luma = decode.decode(io.BytesIO(content), decode.Form(side, 1)).pixels[0].astype(float)
        wrong = ""
        if expected.size:
            error = np.abs(pixels.transpose(1, 2, 0) - expected).max()
            grey = np.abs(luma - pixels.transpose(1, 2, 0) @ [0.299, 0.587, 0.114]).max()
            wrong = f"{name}: {error:.1f} from what it should be" if error > off else ""
            wrong = wrong or (f"{name}: grey is {grey:.1f} off the luma" if grey > 1 else "")
        images = torch.from_numpy(np.stack([pixels] * 4))
        seed, config = torch.tensor(number), TransformConfig(interpolation="bilinear", hue=30.0, brightness=0.3)
        found = []
        try:
            for transform in (
                DaliTransform(config, seed, channels=3, size=side, most=4, device=torch.device("cpu")),
                TensorTransform(config, seed, torch.float32),
            ):
                transform.start(images, 0)
                found.append(transform.finish())
            apart = float((found[0] - found[1]).abs().mean())
            worst = max(worst, apart)
            wrong = wrong or (f"{name}: the backends are {apart:.5f} apart" if apart > MEAN else "")
        except DaliUnavailableError:
            absent = "; DALI is not installed: the backends were not compared"
        result.count(wrong)
    result.note = "one conversion, held against arithmetic" + (absent or f"{backends}{worst:.1e}")
    return result


# --- case 16 ---


def _bombs() -> list[tuple[str, bytes]]:
    tiff = saved(Image.new("L", (8, 8)), "TIFF")
    wide = tiff.replace(struct.pack("<HHII", 256, 4, 1, 8), struct.pack("<HHII", 256, 4, 1, 60_000))
    return [
        ("bomb.png", png_bomb()),
        ("claims.png", png_bomb(64, said=30_000)),
        ("larger.png", png_bomb(64, said=2**31 - 1)),
        (
            "bomb.bmp",
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0),
        ),
        ("bomb.pgm", b"P5 50000 50000 255\n" + bytes(100)),
        ("bomb.tif", wide.replace(struct.pack("<HHII", 257, 4, 1, 8), struct.pack("<HHII", 257, 4, 1, 60_000))),
    ]


def _peak() -> int:
    found = re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _read_all(here: Path) -> int:
    before = _peak()
    try:
        folder.full(here, 64, 3)
    except DataError as error:
        print(error)
    grown = _peak() - before
    print(f"grown by {grown} KiB")
    return 3 if grown > GROWTH else 2


def bombs(count: int, place: Path) -> Result:
    """Images of 95 megapixels and more in small files; memory is watched in a child."""
    result, most = Result(), 0
    for number in range(count):
        files = _bombs()
        name, content = files[number % len(files)]
        here = place / f"images-{number}"
        here.mkdir()
        (here / name).write_bytes(content)
        environment = {"XDG_CACHE_HOME": str(place / "cache")}
        child = children.Child(partial(_read_all, here), place / f"{number}.log", environment, None)
        ended = child.wait()
        grown = re.search(r"grown by (\d+) KiB", ended.said)
        most = max(most, int(grown[1]) if grown else 0)
        result.count(ended.complaint(2, name), not re.search("megapixels|damaged|no image", ended.said) and ended.said)
    result.note = f"refused from the header; resident memory grew by {most / 1024:.1f} MiB at most"
    return result
