"""--dataset hf: by package `datasets` where it is installed, and by a stand-in for it everywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hf_stand_in
import numpy as np
import pytest
from hf_sets import config, labels, made, png, save_one, save_parquet, save_parts, save_shards
from PIL import Image
from small_sets import pictures

from fastgan import cluster, train
from fastgan.config import command_line
from fastgan.config.train_command import train_config
from fastgan.data import cache_contents, loading
from fastgan.errors import ConfigError, DataError

# Reading parquet files, the library leaves files of the cache open until they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(("save", "held"), [(save_one, 0), (save_parts, 5), (save_parquet, 5)])
def test_every_form_is_read(save: Callable[[Any, Path], None], held: int, library: Any, tmp_path: Path) -> None:
    save(library, tmp_path / "saved")
    own = config(tmp_path / "saved")
    assert (own.image_size, own.channels) == (16, 3)  # 17 is none that the networks can draw
    images, others = loading.load(own), loading.load_held_out(own)
    assert images.images.shape == (12, 3, 16, 16) and images.class_names == ("cat", "dog")
    expected = [0, 1] * 6 if save is not save_parquet else [0, 1] * 3 + [0] + [0, 1] * 2 + [0]
    assert labels(images) == expected
    assert (others is None) == (held == 0) and (others is None or labels(others) == [0, 1, 0, 1, 0])


def test_pixels_are_decoded_as_files_are(library: Any, tmp_path: Path) -> None:
    made(library, grey=True).save_to_disk(str(tmp_path / "saved"))
    own = config(tmp_path / "saved", "--image-size 8")
    assert own.channels == 1
    for row, pixels in enumerate(pictures(12, 17, 20)):
        Image.fromarray(pixels).save(tmp_path / f"{row:02}.png")
    files = train_config(
        f"--dataset folder --data-dir {tmp_path} --image-size 8 --channels 1 --batch-size 4 --classes 2".split(),
        lambda _: pytest.fail("nothing is resumed"),
    )
    assert loading.load(own).images.equal(loading.load(files).images)


def test_what_is_kept_is_listed_in_the_cache_and_removed_with_it(library: Any, tmp_path: Path) -> None:
    save_parquet(library, tmp_path / "saved")
    before = loading.load(config(tmp_path / "saved")).images.clone()
    kept = cache_contents.contents()
    assert {each.kind for each in kept} == {"decoded images", "parquet or tar files, unpacked"}
    assert [each.of for each in kept] == [str(tmp_path / "saved")] * 2
    assert cache_contents.empty() == sum(each.size for each in kept) and cache_contents.contents() == ()
    assert loading.load(config(tmp_path / "saved")).images.equal(before)


@pytest.mark.parametrize(
    ("image", "label", "found"),
    [("image", "label", True), ("img", "fine_label", True), ("scan", "breed", True), ("photo", "", False)],
)
def test_columns_are_recognised(image: str, label: str, found: bool, library: Any, tmp_path: Path) -> None:
    made(library, image=image, label=label).save_to_disk(str(tmp_path / "saved"))
    images = loading.load(config(tmp_path / "saved"))
    assert len(images.images) == 12 and (images.labels is not None) == found


def test_words_are_classes_too_and_unlabelled_parts_are_not_held_out(library: Any, tmp_path: Path) -> None:
    words = {"img": [png(pixels) for pixels in pictures(4, 16, 16)], "labels": ["owl", "hen", "owl", "elk"]}
    features = library.Features({"img": library.Image(), "labels": library.Value("string")})
    train_part = library.Dataset.from_dict(words, features=features)
    library.DatasetDict(train=train_part).save_to_disk(str(tmp_path / "words"))
    images = loading.load(config(tmp_path / "words"))
    assert images.class_names == ("elk", "hen", "owl") and labels(images) == [2, 1, 2, 0]
    hidden = made(library, 5)
    names = library.Features({"image": library.Image(), "label": library.Value("int64")})
    hidden = library.Dataset.from_dict(
        {"image": [png(pixels) for pixels in pictures(5, 16, 16)], "label": [-1] * 5}, features=names
    )
    library.DatasetDict(train=made(library), test=hidden).save_to_disk(str(tmp_path / "hidden"))
    own = config(tmp_path / "hidden")
    assert len(labels(loading.load(own))) == 12 and loading.load_held_out(own) is None


def test_bad_images_are_named_or_left_out(library: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"image": [png(pixels) for pixels in pictures(6, 16, 16)], "label": [0, 1, 0, 1, 0, 1]}
    columns["image"][1]["bytes"] = b"words"
    columns["image"][4]["bytes"] = columns["image"][4]["bytes"][:60]
    features = library.Features({"image": library.Image(), "label": library.Value("int64")})
    library.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"2 of 6 images cannot be used \(row 1: .*; row 4: .*--skip-bad"):
        loading.load(config(tmp_path / "saved"))
    images = loading.load(config(tmp_path / "saved", "--skip-bad"))
    assert labels(images) == [0, 0, 1, 1]
    assert "left out 2 bad images (row 1: " in capsys.readouterr().err
    assert images.images.reshape(4, -1).float().var(1).min() > 1000  # none of those kept is empty


def test_a_long_tail_of_a_hugging_face_set(library: Any, tmp_path: Path) -> None:
    save_one(library, tmp_path / "saved")
    own = config(tmp_path / "saved", "--imbalance long-tailed:3")
    assert sorted(labels(loading.load(own))) == [0] * 6 + [1] * 2 and labels(loading.load_held_out(own)) == [1] * 4


def test_a_run_from_end_to_end(
    library: Any, tmp_path: Path, no_judge: None, capsys: pytest.CaptureFixture[str]
) -> None:
    save_parts(library, tmp_path / "saved")
    run = tmp_path / "run"
    flags = f"--dataset hf --data-dir {tmp_path / 'saved'} --run-dir {run} --epochs 1 --batch-size 4 --classes 2"
    flags += " --network.width 4 --network.hidden 8 --network.embedding 4 --grouping.at --device cpu"
    assert command_line.run_command(train.main, flags.split()) == 0
    assert json.loads((run / "run.json").read_text())["settings"]["image_size"] == 16
    assert command_line.run_command(cluster.main, [str(run), "--out", str(tmp_path / "table.csv")]) == 0
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 13


# --- what cannot be used ---


def test_a_missing_library_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert command_line.run_command(train.main, ["--dataset", "hf", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: --dataset hf: needs the package datasets, which is not installed; pip install datasets"]


def test_a_folder_must_be_named() -> None:
    with pytest.raises(ConfigError, match="--dataset hf: needs the folder of the images; add --data-dir DIR"):
        train_config(["--dataset", "hf"], lambda _: pytest.fail("nothing is resumed"))


def damage(library: Any, folder: Path) -> None:
    save_one(library, folder)
    for path in folder.iterdir():
        path.write_bytes(b"{")


def two_sets(library: Any, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        made(library).to_parquet(str(folder / name / "train.parquet"))


def two_kinds(library: Any, folder: Path) -> None:
    save_shards(folder, "train-0.tar")
    made(library).to_parquet(str(folder / "train.parquet"))


def flat(library: Any, folder: Path) -> None:
    columns = {"image": [png(np.full((16, 16), row, np.uint8)) for row in range(12)]}
    features = library.Features({"image": library.Image()})
    library.Dataset.from_dict(columns, features=features).save_to_disk(str(folder))


def no_images(library: Any, folder: Path) -> None:
    features = library.Features({"text": library.Value("string")})
    library.Dataset.from_dict({"text": ["a", "b"]}, features=features).save_to_disk(str(folder))


def no_training_part(library: Any, folder: Path) -> None:
    library.DatasetDict(left=made(library), right=made(library)).save_to_disk(str(folder))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda _, folder: None, "no such folder; name the one of save_to_disk"),
        (lambda _, folder: folder.mkdir(), "no Hugging Face data set, which has state.json, dataset_dict.json, or"),
        (lambda _, folder: folder.touch(), "neither a folder nor a .parquet or .tar file; name one of these"),
        (two_kinds, "holds files of two kinds"),
        (flat, "all 12 images are of (nearly) one colour or equal to each other once decoded; give images that differ"),
        (damage, "cannot be read as a Hugging Face data set"),
        (two_sets, "holds several data sets"),
        (no_images, "its columns text hold no images"),
        (no_training_part, "none of its parts left, right is named train"),
    ],
)
def test_folders_that_cannot_be_used_are_one_line(
    write: Callable[[Any, Path], None], words: str, library: Any, tmp_path: Path
) -> None:
    write(library, tmp_path / "saved")
    with pytest.raises(DataError) as caught:
        loading.load(config(tmp_path / "saved"))
    assert words in str(caught.value) and str(tmp_path / "saved") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [save_one, save_parts, save_parquet])
def test_a_folder_without_images_that_is_such_a_set_is_recognised(
    save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    save(hf_stand_in, tmp_path / "saved")
    (tmp_path / "saved" / "dataset_info.json").touch()
    own = train_config(["--dataset", "folder", "--data-dir", str(tmp_path / "saved")], lambda _: pytest.fail("resumed"))
    with pytest.raises(DataError, match="is of a Hugging Face data set; use --dataset hf, or another --data-dir"):
        loading.load(own)
