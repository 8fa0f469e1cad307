"""python -m fastgan.cluster RUN [IMAGES]: which class each image belongs to, and how sure Q is.

Legend: N images, C channels, S side.
"""

from __future__ import annotations

import contextlib
import csv
import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fastgan import data, inference, run_folder, trained
from fastgan.command_line import parse, positional, run_command
from fastgan.errors import ConfigError, DataError
from fastgan.sorting import check_place, sort_into

# What Pillow may take a file for, and the endings of such files.
FORMATS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",), "GIF": (".gif",), "WEBP": (".webp",)}
FORMATS |= {"TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm")}
ENDINGS = {ending for endings in FORMATS.values() for ending in endings}


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What to label, and where to."""

    run: Annotated[Path, positional()]
    """The run's folder."""
    images: Annotated[Path | None, positional()] = None
    """A folder of image files, its subfolders included. Left out: the run's own training images, by index."""
    out: Path | None = None
    """The table to write, csv. Left out: RUN/assignments.csv."""
    sort_into: Path | None = None
    """A new folder to sort the files into, a subfolder a class: as hard links, or where those cannot be as symbolic
    links or copies. The files themselves stay where they are."""
    data_dir: Path | None = None
    """Where the run's data set lies now, if it has moved and IMAGES is left out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""


def read_images(folder: Path, size: int, channels: int) -> tuple[list[Path], Tensor]:
    """Image files in and below `folder`, sorted, and their central squares as uint8 [N, C, S, S]; C is 1 or 3.

    Raises:
        DataError: there are none, or one cannot be read; it is named.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise DataError(f"{folder}: no folder with images in it ({', '.join(sorted(ENDINGS))}); name one")

    def read(path: Path) -> Tensor:
        try:
            with Image.open(path, formats=tuple(FORMATS)) as image:
                square = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (size, size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be read as an image ({error}); mend it or move it away") from error
        return torch.from_numpy(np.array(square)).reshape(size, size, channels).permute(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        return paths, torch.stack(list(threads.map(read, paths)))


def write_table(out: Path, names: Sequence[str], first: str, codes_N2: Tensor, confidences_N2: Tensor) -> None:
    """A csv file, whole or not at all; `first` heads the column of names.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    rows = zip(names, codes_N2.tolist(), confidences_N2.tolist(), strict=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Names that are no valid text, as some file systems allow, go out as the bytes that they are.
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow((first, "class", "confidence", "second_class", "second_confidence"))
            table.writerows((name, k, f"{p:.6f}", also, f"{q:.6f}") for name, (k, also), (p, q) in rows)
        partial.replace(out)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be written ({error.strerror or error}); name a .csv file in a folder that can"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone, or never made
            partial.unlink()


def main(argv: Sequence[str]) -> int:
    """Parse, read, label, write. Returns the exit code."""
    asked = parse(
        ClusterConfig,
        argv,
        prog="python -m fastgan.cluster",
        description="The class of each image and how sure Q is of it, as a csv file; or the files sorted by class.",
    )
    device = run_folder.choose_device(asked.device)
    run = trained.load(asked.run, device)
    out = asked.out if asked.out is not None else run.run.path / "assignments.csv"
    if asked.sort_into is not None:
        if asked.images is None:
            raise ConfigError("--sort-into: sorts files; name their folder after the run's")
        check_place(asked.sort_into, asked.images)
    paths: list[Path] = []
    if asked.images is not None:
        paths, images = read_images(asked.images, run.config.image_size, run.networks.shape.channels)
    else:
        images = data.load(
            run.config if asked.data_dir is None else replace(run.config, data_dir=asked.data_dir)
        ).images
    codes, confidences = inference.best_two(run.networks, images, run.config, device)
    names = [str(path) for path in paths] or [str(index) for index in range(len(images))]
    write_table(out, names, "path" if paths else "index", codes, confidences)
    print(f"wrote the classes of {len(names):,} images to {out}")
    if asked.sort_into is not None:
        how = sort_into(asked.sort_into, paths, codes[:, 0].tolist(), run.config.classes)
        print(f"sorted them into {asked.sort_into}: {', '.join(f'{count:,} {kind}' for kind, count in how.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
