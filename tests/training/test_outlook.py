"""What train says before it begins: images, epochs and a guess of the time; nothing of the run changes by it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from own_images import put, speckled
from PIL import Image

from fastgan import train
from fastgan.config.command_line import run_command
from fastgan.config.presets import preset
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.identity import identify
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import evaluator
from fastgan.inference import labelling
from fastgan.runs import checkpoint
from fastgan.training import outlook
from fastgan.training.engine import Engine
from fastgan.training.resolve import resolve

SMALL = [
    "--network.width",
    "4",
    "--network.hidden",
    "8",
    "--network.embedding",
    "4",
    "--device",
    "cpu",
    "--threads",
    "1",
]
OWN = ["--batch-size", "8", "--classes", "2", "--augment", "torchvision"]
FOLDER = ["--dataset", "folder", "--image-size", "8", "--channels", "1", *OWN]


@pytest.fixture
def engine() -> Engine:
    config = train_config(
        [*SMALL, "--epochs", "4", "--pretrain-epochs", "1", "--grouping.at"], lambda _: preset("digits")
    )
    images = loading.load(config)
    return Engine(resolve(config, images)[0], images, torch.device("cpu"))


def test_a_look_ahead_changes_nothing(engine: Engine) -> None:
    def state() -> dict[str, torch.Tensor]:
        step = engine.step
        return {k: v.clone() for k, v in {**step.live_state(), **step.model.state_dict()}.items()}

    before, random, numbers = state(), torch.get_rng_state(), np.random.get_state()[1]
    found = outlook.outlook(engine, ImageSet("digits", engine.feed.images, None, 0))
    after = state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(after[name].any() for name in after.keys() - before.keys())  # moments, made by the first step
    assert torch.equal(random, torch.get_rng_state()) and np.array_equal(numbers, np.random.get_state()[1])
    assert engine.step.networks.training and all(
        each.grad is None or not each.grad.any() for each in engine.step.networks.parameters()
    )
    assert min(found.rate, found.pretraining_rate, found.seconds) > 0 and found.memory > 10_000_000
    assert found.disk > checkpoint.KEPT * sum(each.nbytes for each in engine.step.networks.parameters())


def test_the_estimate_is_of_steps_groupings_and_evaluations(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that labelling alone moves: 0.01 s an image."""
    clock, firsts = [0.0], []

    def read(networks: Any, images: torch.Tensor, *_: Any) -> None:
        clock[0] += 0.01 * len(images)

    def rate(trainer: Engine, first: int, **form: Any) -> float:
        firsts.append(first)
        return 100.0 if first == 0 else 50.0

    monkeypatch.setattr(labelling, "read", read)
    monkeypatch.setattr(outlook.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(outlook, "step_rate", rate)
    monkeypatch.setattr(outlook, "grouping_seconds", lambda trainer, images, count: 7.0)
    monkeypatch.setattr(outlook.threads, "busy_with_others", lambda since: 1.25)
    images = ImageSet("digits", engine.feed.images, None, 0)
    engine.config = dataclasses.replace(engine.config, eval_every=2)
    found = outlook.outlook(engine, images)
    count, epoch = len(images.images), engine.epoch_images
    assert firsts == [0, epoch] and (found.pretraining_rate, found.rate, found.busy) == (100, 50, 1.25)
    steps = epoch / 100 + 3 * epoch / 50
    assert found.seconds == pytest.approx(steps + 3 * count * 0.01)  # two evaluations and the page
    grouping = dataclasses.replace(engine.config.grouping, at=(1, 2))
    engine.config = dataclasses.replace(engine.config, grouping=grouping)
    labelled = dataclasses.replace(images, labels=torch.zeros(count, dtype=torch.int64), label_count=10)
    drawn = 2 * 2 * (1000 * engine.config.classes + count)
    assert outlook.outlook(engine, labelled).seconds == pytest.approx(steps + 14 + (3 * count + drawn) * 0.01)


def test_what_an_evaluation_draws_is_known_here() -> None:
    assert (outlook.PER_CODE, outlook.DIVERSITY) == (evaluator.PER_CODE, evaluator.DIVERSITY)


@pytest.mark.parametrize(
    ("rate", "width", "said"),
    [
        (1e6, 16, ""),
        (0.6, 16, "more than an hour: --network.width 8 instead of 16 would take about 48 min, by a few steps of it"),
        (0.001, 32, "more than an hour: --network.width 8 instead of 32 would take about "),
        (0.001, 8, "more than an hour: fewer --epochs, a smaller --image-size or a GPU shorten it"),
    ],
)
def test_a_long_run_is_told_of_a_narrower_network(
    rate: float, width: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By steps of such networks; one of half the width is here four times as fast."""
    config = train_config([*SMALL, "--epochs", "6", "--grouping.at"], lambda _: preset("digits"))
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, width=width), pretrain_epochs=0)
    images = loading.load(config)
    engine = Engine(resolve(config, images)[0], images, torch.device("cpu"))
    monkeypatch.setattr(outlook, "step_rate", lambda one, *_, **__: rate * (width / one.config.network.width) ** 2)
    monkeypatch.setattr(outlook.threads, "busy_with_others", lambda since: 0.0)
    lines = outlook.describe(engine.config, engine, images, identify(images), chosen=False)
    assert ("while other processes" in lines[0]) is False
    assert lines[1:] == [] if not said else lines[-1].startswith(said)


def test_images_are_told_in_a_line(here: Path) -> None:
    for number in range(5):
        speckled(here / f"{number}.png", number)
    put(here / "flat.png", 9)
    (here / "twin.png").write_bytes((here / "1.png").read_bytes())
    with Image.open(here / "2.png") as image:
        image.save(here / "other.bmp")
    config = dataclasses.replace(preset("folder"), data_dir=here, image_size=8, channels=1, classes=2, batch_size=2)
    found = loading.load(config)
    said = outlook.of_images(found, identify(found))
    assert said == "8 images (PNG 7, BMP 1), 2 equal to another, 1 of (nearly) one colour"
    plain = ImageSet("a.npz", found.images[:5].clone(), None, 0)
    assert outlook.of_images(plain, identify(plain)) == "5 images"
    both = ImageSet("a.npz", torch.cat([plain.images, plain.images[:1], torch.full((1, 1, 8, 8), 7).byte()]), None, 0)
    assert outlook.of_images(both, identify(both)) == "7 images, 1 equal to another, 1 of (nearly) one colour"


@pytest.mark.parametrize(("most", "lines"), [(16, 2), (200, 1)])
def test_values_of_a_scale_of_their_own_are_told_with_the_images(most: int, lines: int) -> None:
    pixels = torch.arange(most + 1, dtype=torch.uint8).repeat(3, 1)[:, None, None]
    images = ImageSet("images", pixels, None, 0)
    elsewhere: Any = SimpleNamespace(device=torch.device("cuda"))  # where no time is guessed
    config = dataclasses.replace(preset("npz"), data_dir=Path("a.npz"))
    said = outlook.describe(config, elsewhere, images, identify(images), chosen=False, named=False)
    assert said[0] == "images: 3 images, 2 equal to another" and len(said) == lines
    assert lines == 1 or "no pixel is above 16 of 255" in said[1]


def test_train_says_it_before_it_begins_and_ends_with_the_same_weights(
    here: Path, tmp_path: Path, no_judge: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        speckled(here / f"{number}.png", number)
    arrays = tmp_path / "a.npz"
    np.savez(arrays, images=np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8))
    kinds = {"folder": ([*FOLDER, "--data-dir", str(here)], "20 images (PNG 20)")}
    kinds["npz"] = (["--dataset", "npz", *OWN, "--data-dir", str(arrays)], "20 images")
    for name, (flags, said) in kinds.items():
        run = [*SMALL, *flags, "--epochs", "2", "--grouping.at", "--run-dir"]
        assert run_command(train.main, [*run, str(tmp_path / name)]) == 0
        lines = capsys.readouterr().err.splitlines()
        place = next(i for i, line in enumerate(lines) if line.endswith(f": {said}"))
        assert lines[place + 1].startswith("this run: about ") and " images/s" in lines[place + 1]
        assert " of memory or more, " in lines[place + 1] and not any(line.startswith("epochs: ") for line in lines)
        with monkeypatch.context() as patch:
            patch.setattr(outlook, "describe", lambda *_, **__: [])
            assert run_command(train.main, [*run, str(tmp_path / f"{name}-without")]) == 0
        ours, theirs = (
            checkpoint.load(checkpoint.newest(tmp_path / each / "checkpoints")[0], "model")
            for each in (name, f"{name}-without")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        capsys.readouterr()
    again = ["--resume", "--run-dir", str(tmp_path / "folder"), "--epochs", "3"]
    assert run_command(train.main, again) == 0 and "this run:" not in capsys.readouterr().err


def test_epochs_that_are_left_open_are_told(
    here: Path, tmp_path: Path, no_judge: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--epochs 0 is no untrained run: it is as many as schedule.py chooses."""
    monkeypatch.setattr("fastgan.config.schedule.SHOWN", 48)
    monkeypatch.setattr("fastgan.config.schedule.FEWEST_EPOCHS", 2)
    for number in range(20):
        speckled(here / f"{number}.png", number)
    flags = [*SMALL, *FOLDER, "--data-dir", str(here), "--grouping.at", "--run-dir"]
    assert run_command(train.main, [*flags, str(tmp_path / "run"), "--epochs", "0"]) == 0
    said = "epochs: 3, for --epochs 0 leaves their number open: 48 images are shown; 1 or more set another number"
    assert said in capsys.readouterr().err.splitlines()
