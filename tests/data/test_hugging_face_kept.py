"""--dataset hf: images are decoded once, and again where the set has changed; tar files, and single files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hf_sets import config, labels, made, png, save_one, save_parquet, save_parts, save_shards
from PIL import Image
from small_sets import pictures

from fastgan import __main__ as entry
from fastgan import page
from fastgan.config import command_line
from fastgan.data import loading
from fastgan.errors import DataError

# Reading parquet files, the library leaves files of the cache open until they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("save", [save_one, save_parts, save_parquet])
def test_images_are_decoded_once(
    save: Callable[[Any, Path], None], library: Any, tmp_path: Path, sides_decoded: list[int]
) -> None:
    save(library, tmp_path / "saved")
    own = config(tmp_path / "saved")
    sides_decoded.clear()  # those by which the side was chosen
    first = [loading.load(own), loading.load_held_out(own)]
    assert len(sides_decoded) == 12 + (0 if save is save_one else 5)
    sides_decoded.clear()
    again = [loading.load(own), loading.load_held_out(own)]
    assert not sides_decoded
    for before, after in zip(first, again, strict=True):
        assert (before is None) == (after is None)
        assert before is None or (before.images.equal(after.images) and labels(before) == labels(after))
    loading.load(config(tmp_path / "saved", "--image-size 8"))
    assert sides_decoded.count(8) >= 12  # another form


def test_a_set_that_has_changed_is_decoded_anew(library: Any, tmp_path: Path) -> None:
    save_parquet(library, tmp_path / "saved")
    before = loading.load(config(tmp_path / "saved")).images.clone()
    file = tmp_path / "saved" / "data" / "train-00001-of-00002.parquet"
    other = library.Dataset.from_dict(
        {"image": [png(255 - pixels) for pixels in pictures(5, 17, 20, 3)], "id": [0] * 5, "label": [0] * 5},
        features=made(library).features,
    )
    other.to_parquet(str(file))
    after = loading.load(config(tmp_path / "saved")).images
    assert after[:7].equal(before[:7]) and after[7:].equal(255 - before[7:])


def test_what_was_left_out_is_remembered(library: Any, tmp_path: Path, sides_decoded: list[int]) -> None:
    columns = {"image": [png(pixels) for pixels in pictures(6, 16, 16)], "label": [0, 1, 0, 1, 0, 1]}
    columns["image"][1]["bytes"] = b"words"
    features = library.Features({"image": library.Image(), "label": library.Value("int64")})
    library.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    own = config(tmp_path / "saved", "--skip-bad --image-size 16 --channels 1")
    first = loading.load(own)
    sides_decoded.clear()
    assert labels(loading.load(own)) == labels(first) == [0, 0, 1, 0, 1] and not sides_decoded
    with pytest.raises(DataError, match="1 of 6 images cannot be used .row 1: .*--skip-bad"):
        loading.load(config(tmp_path / "saved", "--image-size 16 --channels 1"))


def test_files_that_a_set_only_names_are_read_each_time(library: Any, tmp_path: Path) -> None:
    """Nothing of the set tells that one of them has changed."""
    paths = [tmp_path / f"{row}.png" for row in range(6)]
    for path, pixels in zip(paths, pictures(6, 16, 16), strict=True):
        Image.fromarray(pixels).save(path)
    value = library.Value("string")
    features = library.Features({"image": {"bytes": library.Value("binary"), "path": value}})
    rows = [{"bytes": None, "path": str(path)} for path in paths]
    (tmp_path / "saved").mkdir()
    library.Dataset.from_dict({"image": rows}, features=features).to_parquet(str(tmp_path / "saved" / "all.parquet"))
    own = config(tmp_path / "saved", "--image-size 16 --channels 1")
    before = loading.load(own).images.clone()
    Image.fromarray(255 - pictures(6, 16, 16)[2]).save(paths[2])
    after = loading.load(own).images
    assert after[2].equal(255 - before[2]) and after[3:].equal(before[3:])


# --- other forms ---


def test_tar_files_of_a_webdataset_are_read(library: Any, tmp_path: Path, sides_decoded: list[int]) -> None:
    save_shards(tmp_path / "shards", "train-0000.tar", "train-0001.tar", "val-0000.tar")
    own = config(tmp_path / "shards")
    assert (own.image_size, own.channels) == (16, 3)
    images, others = loading.load(own), loading.load_held_out(own)
    assert labels(images) == [0, 1] * 6 and labels(others) == [0, 1] * 3
    made(library).save_to_disk(str(tmp_path / "saved"))
    expected = [loading.load(config(tmp_path / "saved"))]
    assert images.images[:6].equal(expected[0].images[:6])
    sides_decoded.clear()
    assert loading.load(own).images.equal(images.images) and not sides_decoded


@pytest.mark.parametrize("flags", [pytest.param("--dataset hf --data-dir", marks=pytest.mark.slow), ""])
def test_one_file_is_enough(flags: str, library: Any, tmp_path: Path, no_judge: None) -> None:
    made(library).to_parquet(str(tmp_path / "cats.parquet"))
    save_shards(tmp_path / "shards", "some.tar")
    for number, file in enumerate((tmp_path / "cats.parquet", tmp_path / "shards" / "some.tar")):
        run = tmp_path / f"run-{number}"
        words = f"train {flags} {file} --run-dir {run} --epochs 1 --batch-size 4 --classes 2 --network.width 4"
        words += " --network.hidden 8 --network.embedding 4 --grouping.at --device cpu"
        assert entry.main(words.split()) == 0 and (run / "report.html").exists()
        assert command_line.run_command(page.main, [str(run)]) == 0
