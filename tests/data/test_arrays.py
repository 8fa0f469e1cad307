"""Images that are arrays already, in memory and in .npz files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan import train
from fastgan.config import command_line
from fastgan.config.presets import preset
from fastgan.config.train_command import train_config
from fastgan.data import arrays, loading
from fastgan.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 12, 12), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "channels", "expected"),
    [
        (GREY, 1, GREY[:, None]),
        (GREY, 3, np.repeat(GREY[:, None], 3, 1)),
        (GREY[..., None], 1, GREY[:, None]),
        (GREY[:, None], 1, GREY[:, None]),
        (COLOUR, 3, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), 3, COLOUR.transpose(0, 3, 1, 2)),
        (np.concatenate([COLOUR, COLOUR[..., :1]], 3), 3, COLOUR.transpose(0, 3, 1, 2)),  # a fourth channel is left out
        (GREY.astype(np.int64), 1, GREY[:, None]),
        (GREY.astype(np.uint16), 1, GREY[:, None]),
        (GREY / 255, 1, GREY[:, None]),
        ((GREY / 255).astype(np.float32), 1, GREY[:, None]),
        (GREY > 127, 1, np.where(GREY > 127, 255, 0)[:, None]),
        (GREY[:, ::-1, ::-1], 1, GREY[:, None, ::-1, ::-1]),  # negative strides
        (np.asfortranarray(COLOUR), 3, COLOUR.transpose(0, 3, 1, 2)),
    ],
)
def test_every_form_becomes_the_same_pixels(images: np.ndarray, channels: int, expected: np.ndarray) -> None:
    found = arrays.to_pixels(images, 12, channels)
    assert found.dtype == torch.uint8 and found.is_contiguous()
    assert np.array_equal(found.numpy(), expected)


def test_colours_become_grey_as_pillow_makes_them() -> None:
    found = arrays.to_pixels(COLOUR, 12, 1)[:, 0].numpy().astype(int)
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR]).astype(int)
    assert np.abs(found - pillow).max() <= 1


def test_the_central_square_is_resized() -> None:
    wide = np.zeros((2, 10, 30), np.uint8)
    wide[:, :, 10:20] = 200
    assert np.array_equal(arrays.to_pixels(wide, 8, 1).numpy(), np.full((2, 1, 8, 8), 200))


def test_many_images_are_converted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = arrays.to_pixels(COLOUR, 8, 3)
    monkeypatch.setattr(arrays, "PART", 2)
    assert torch.equal(arrays.to_pixels(COLOUR, 8, 3), whole)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GREY[0], r"shape \(12, 12\); give"),
        (GREY[:0], r"shape \(0, 12, 12\); give"),
        (np.zeros((5, 12, 12, 12), np.uint8), "neither its last nor its second axis has 1, 3 or 4 channels"),
        (GREY.astype(str), "give numbers"),
        (GREY.astype(complex), "give numbers"),
        (GREY.astype(np.float32), r"floats from 0 to 255; scale them to \[0, 1\]"),
        (GREY / 255 - 0.5, r"scale them to \[0, 1\]"),
        (np.where(GREY > 250, np.nan, 0.5), r"with NaN; leave them out, or fill"),
        (GREY.astype(np.int32) - 3, "integers from -3 to"),
        (GREY.astype(np.uint16) * 256, "scale them to 0 to 255"),
    ],
)
def test_what_is_no_image_is_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrays.to_pixels(images, 12, 1, "these")


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((5, 28, 28), (28, 1)),
        ((5, 28, 28, 1), (28, 1)),
        ((5, 28, 28, 3), (28, 3)),
        ((5, 3, 30, 50), (28, 3)),
        ((5, 63, 99, 4), (56, 3)),
        ((5, 500, 400), (64, 1)),
        ((5, 5, 5), (8, 1)),
    ],
)
def test_side_and_channels_follow_from_the_arrays(shape: tuple[int, ...], form: tuple[int, int]) -> None:
    assert arrays.suited_form(np.zeros(shape, np.uint8)) == form


def saved(path: Path, **named: Any) -> Path:
    np.savez(path, **named)
    return path


LABELS = np.array([3, 7, 7, 3, 9])


@pytest.mark.parametrize(
    ("named", "numbers", "names"),
    [
        ({"images": GREY, "labels": LABELS}, [0, 1, 1, 0, 2], ("3", "7", "9")),
        ({"x": GREY, "y": LABELS[:, None]}, [0, 1, 1, 0, 2], ("3", "7", "9")),
        ({"images": GREY, "labels": np.array(list("cabca"))}, [2, 0, 1, 2, 0], ("a", "b", "c")),
        ({"arr_0": GREY, "arr_1": LABELS > 5}, [0, 1, 1, 0, 1], ("0", "1")),
        ({"X": GREY}, None, None),
    ],
)
def test_the_arrays_of_a_file_are_found_by_their_names(
    tmp_path: Path, named: dict[str, Any], numbers: list[int] | None, names: tuple[str, ...] | None
) -> None:
    found = arrays.image_set("a", arrays.read(saved(tmp_path / "a.npz", **named)), 12, 1)
    assert found is not None and np.array_equal(found.images.numpy(), GREY[:, None])
    assert (None if found.labels is None else found.labels.tolist()) == numbers and found.class_names == names


def test_held_out_images_share_the_numbers_of_the_classes(tmp_path: Path) -> None:
    named = {"train_images": GREY, "train_labels": LABELS[:, None]}
    named |= {"test_images": GREY[:2], "test_labels": np.array([[9], [1]])}
    path = saved(tmp_path / "medical.npz", val_images=GREY, val_labels=LABELS, **named)
    config = loading.sized(
        train_config(
            ["--dataset", "npz", "--data-dir", str(path), "--batch-size", "2", "--classes", "2"],
            lambda _: preset("npz"),
        )
    )
    assert (config.image_size, config.channels) == (12, 1)
    images, held_out = loading.load(config), loading.load_held_out(config)
    assert images.class_names == ("1", "3", "7", "9") and held_out is not None
    assert images.labels is not None and images.labels.tolist() == [1, 2, 2, 1, 3]
    assert held_out.labels is not None and held_out.labels.tolist() == [3, 0]
    assert held_out.label_count == images.label_count == 4


def test_a_single_array_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    found = arrays.read(tmp_path / "a.npy")
    assert isinstance(found.images, np.memmap) and found.labels is None and np.array_equal(found.images, GREY)


def archive(**named: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **named)
    return file.getvalue()


def flipped() -> bytes:
    """A compressed file with one byte changed in its middle."""
    file = io.BytesIO()
    np.savez_compressed(file, images=GREY)
    content = bytearray(file.getvalue())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npz", None, "no such file"),
        ("empty.npz", b"", "not a readable .npz or .npy file"),
        ("words.npz", b"words", "not a readable .npz or .npy file"),
        ("cut.npz", archive(images=GREY)[:300], "not a readable .npz or .npy file"),
        ("flipped.npz", flipped(), "not a readable .npz or .npy file"),
        ("objects.npz", archive(images=np.array([{}])), "not a readable .npz or .npy file"),
        ("other.npz", archive(pictures=GREY), "holds pictures; the images must be named one of images"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        arrays.read(tmp_path / name)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:4], "5 images but 4 labels; give one for each, or leave them out"),
        (LABELS * 0, "all labels are the same; give those of two classes or more, or leave them out"),
        (LABELS / 2, "give one integer or word an image"),
        (np.eye(5, dtype=int), "give one integer or word an image"),
    ],
)
def test_labels_that_do_not_match_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrays.image_set("a", arrays.Arrays(GREY, labels, None, None), 12, 1)


def test_equal_images_are_refused_by_the_command_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path / "same.npz", images=np.repeat(GREY[:1], 20, 0))
    words = f"--dataset npz --data-dir {file} --run-dir {tmp_path / 'run'} --classes 2 --batch-size 8 --device cpu"
    assert command_line.run_command(train.main, words.split()) == 2
    said = "all 20 images are of (nearly) one colour or equal to each other; give images that differ"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {file}: {said}"
    assert not (tmp_path / "run").exists()


def test_a_size_is_left_open_for_arrays_alone() -> None:
    for flag in ("--image-size", "--channels"):
        with pytest.raises(ConfigError, match=f"{flag} 0: must be"):
            train_config(["--dataset", "folder", "--data-dir", "x", flag, "0"], lambda _: preset("folder"))
