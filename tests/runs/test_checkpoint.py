"""Checkpoints: a round trip is exact, and damaged ones are refused by their hash."""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from fastgan.errors import CheckpointCorruptError, CheckpointWriteError
from fastgan.runs import checkpoint


def _parts(value: float) -> checkpoint.Parts:
    generator = torch.Generator().manual_seed(3)
    return {
        "model": {"a.weight": torch.randn(7, 5, generator=generator) + value, "b": torch.arange(4)},
        "training": {"images_seen": torch.tensor(12), "scale": torch.tensor(0.1, dtype=torch.float64)},
    }


def test_round_trip_is_exact_and_parts_can_be_read_alone(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 640, _parts(1.0))
    assert checkpoint.newest(tmp_path) == (path, 640)
    for part, tensors in _parts(1.0).items():
        loaded = checkpoint.load(path, part)
        assert set(loaded) == set(tensors)
        for name, value in tensors.items():
            assert loaded[name].dtype == value.dtype
            assert torch.equal(loaded[name], value)


def test_the_newest_two_are_kept_and_order_is_by_number(tmp_path: Path) -> None:
    for images in (900, 1_000, 10_000, 1_100):
        checkpoint.save(tmp_path, images, _parts(images))
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [1_100, 10_000]
    assert checkpoint.newest(tmp_path)[1] == 10_000


def test_saving_the_same_moment_again_replaces_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 5, _parts(0.0))
    path = checkpoint.save(tmp_path, 5, _parts(9.0))
    assert torch.equal(checkpoint.load(path, "model")["a.weight"], _parts(9.0)["model"]["a.weight"])
    checkpoint.verify(path)


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, _parts(0.0))
    flips = random.Random(0)
    for _ in range(50):
        victim = flips.choice(sorted(path.glob("*.safetensors")))
        whole = victim.read_bytes()
        bit = flips.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        victim.write_bytes(damaged)
        with pytest.raises(CheckpointCorruptError, match=r"SHA-256"):
            checkpoint.verify(path)
        victim.write_bytes(whole)
    checkpoint.verify(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "file missing", "manifest missing", "manifest text", "manifest {}"])
def test_a_damaged_newest_falls_back_to_the_one_before(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = checkpoint.save(tmp_path, 5, _parts(0.0))
    bad = checkpoint.save(tmp_path, 6, _parts(1.0))
    model, manifest = bad / "model.safetensors", bad / "manifest.json"
    if damage == "cut":
        model.write_bytes(model.read_bytes()[:-9])
    elif damage == "empty":
        model.write_bytes(b"")
    elif damage == "file missing":
        model.unlink()
    elif damage == "manifest missing":
        manifest.unlink()
    else:
        manifest.write_text("not json" if damage == "manifest text" else "{}")
    assert checkpoint.newest(tmp_path) == (good, 5)
    assert "trying the one before" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"images_seen": 1e999}', '{"images_seen": 6.5}', '{"images_seen": "6"}']
)
def test_a_manifest_that_no_save_writes_is_refused(tmp_path: Path, text: str) -> None:
    path = checkpoint.save(tmp_path, 6, _parts(1.0))
    values = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(text if text[0] == "[" else json.dumps(values | json.loads(text)))
    with pytest.raises(CheckpointCorruptError, match="manifest.json is missing or unreadable"):
        checkpoint.verify(path)


def test_nothing_left_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointCorruptError, match="holds no checkpoint"):
        checkpoint.newest(tmp_path)
    path = checkpoint.save(tmp_path, 5, _parts(0.0))
    (path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointCorruptError, match="train again in another --run-dir"):
        checkpoint.newest(tmp_path)


def test_a_partial_save_is_ignored_and_later_removed(tmp_path: Path) -> None:
    good = checkpoint.save(tmp_path, 5, _parts(0.0))
    left = tmp_path / ".partial-000000000006"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) == (good, 5)
    checkpoint.save(tmp_path, 7, _parts(0.0))
    assert not left.exists()


def test_a_folder_that_cannot_be_written_names_the_space(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointWriteError, match=r"needed \d+ bytes"):
        checkpoint.save(tmp_path / "file", 5, _parts(0.0))


def test_a_failed_save_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = checkpoint.save(tmp_path, 5, _parts(0.0))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        checkpoint.save(tmp_path, 6, _parts(0.0))
    assert checkpoint.newest(tmp_path) == (good, 5)
    assert [p.name for p in tmp_path.iterdir()] == [good.name]


class _Hostile:
    """Touches a file when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


def test_a_pickle_in_place_of_weights_is_never_run(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "run", 5, _parts(0.0))
    canary = tmp_path / "canary"
    (path / "model.safetensors").write_bytes(pickle.dumps(_Hostile(canary)))
    with pytest.raises(CheckpointCorruptError):
        checkpoint.newest(tmp_path / "run")
    with pytest.raises(CheckpointCorruptError):  # even without a check of the hash
        checkpoint.load(path, "model")
    assert not canary.exists()
