"""Small Hugging Face data sets in every form, made with package `datasets` or with the stand-in for it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_sets import pictures

from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.image_set import ImageSet


def png(pixels: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def made(library: Any, count: int = 12, *, grey: bool = False, label: str = "label", image: str = "image") -> Any:
    """Images of 20 x 17 pixels, cats and dogs in turn."""
    shape = (count, 17, 20) if grey else (count, 17, 20, 3)
    columns = {image: [png(pixels) for pixels in pictures(*shape)], "id": list(range(count))}
    features = {image: library.Image(), "id": library.Value("int64")}
    if label:
        columns[label] = [row % 2 for row in range(count)]
        features[label] = library.ClassLabel(names=["cat", "dog"])
    return library.Dataset.from_dict(columns, features=library.Features(features))


def config(folder: Path, flags: str = "") -> TrainConfig:
    words = f"--dataset hf --data-dir {folder} --batch-size 4 --classes 2 {flags}".split()
    return loading.sized(train_config(words, lambda _: pytest.fail("nothing is resumed")))


def labels(images: ImageSet | None) -> list[int]:
    assert images is not None and images.labels is not None
    return images.labels.tolist()


def save_one(library: Any, folder: Path) -> None:
    made(library).save_to_disk(str(folder))


def save_parts(library: Any, folder: Path) -> None:
    library.DatasetDict(train=made(library), test=made(library, 5)).save_to_disk(str(folder))


def save_parquet(library: Any, folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    made(library, 7).to_parquet(str(folder / "data" / "train-00000-of-00002.parquet"))
    made(library, 5).to_parquet(str(folder / "data" / "train-00001-of-00002.parquet"))
    made(library, 5).to_parquet(str(folder / "data" / "validation-00000-of-00001.parquet"))


def save_shards(folder: Path, *names: str) -> None:
    """Tar files in WebDataset's layout, each of six images and their classes."""
    folder.mkdir()
    for number, name in enumerate(names):
        with tarfile.open(folder / name, "w") as shard:
            for row, pixels in enumerate(pictures(6 * len(names), 17, 20, 3)[6 * number : 6 * number + 6]):
                for ending, content in (("png", png(pixels)["bytes"]), ("cls", str(row % 2).encode())):
                    member = tarfile.TarInfo(f"{number}/{row:05}.{ending}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
