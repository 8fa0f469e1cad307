"""The judge: of which images it is trained and tested, where it is kept, and what is withheld without a good one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from fastgan import advice, command_line, evaluate, evaluation, inference, judge, train
from fastgan.config import NetworkConfig, TrainConfig
from fastgan.data import ImageSet, JudgeSet, held_out
from fastgan.judge_network import Judge, JudgeNetwork
from fastgan.model import Networks, Shape

CPU = torch.device("cpu")
WITHHELD = ("nmi", "ent", "empty_columns", "prior_error", "cluster_size_error", "frechet_distance", "diversity")


def flat(count: int, classes: int = 2, size: int = 8, *, known: bool = True) -> ImageSet:
    """Images of noise, brighter by class; where the class is not `known` to them, of noise alone."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 60, (count, 1, size, size), generator=draw)
    if known:
        images = images + (labels * 190 // (classes - 1)).view(-1, 1, 1, 1)
    paths = tuple(f"{label}/{number}.png" for number, label in enumerate(labels.tolist()))
    return ImageSet("folder", images.to(torch.uint8), labels, classes, paths, tuple("abcdefgh"[:classes]))


def config(**other: Any) -> TrainConfig:
    network = NetworkConfig(width=4, hidden=8, embedding=4)
    values: dict[str, Any] = {"dataset": "folder", "imbalance": "none", "classes": 3, "image_size": 8}
    return TrainConfig(network=network, **(values | other))


def evaluated(images: ImageSet, found: Judge | None) -> dict[str, Any]:
    """What an evaluation of untrained networks says."""
    own = config()
    networks = Networks(Shape(8, 1, own.classes, own.network))
    networks.initialise(0)
    return evaluation.Evaluator(images, found, own, CPU)(networks, networks.generator, torch.full((3,), 1 / 3)).row


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FEWEST_STEPS", 40)
    monkeypatch.setattr(judge, "MOST_STEPS", 40)
    monkeypatch.setattr(evaluation, "PER_CODE", 20)


# --- the share that is held out ---


def test_of_youtube_faces_whole_videos_are_held_out() -> None:
    """A: four videos; B: one, whose frames are split; C: two, of which the longer is most of the person's frames."""
    videos = {"A/0": 10, "A/1": 10, "A/2": 10, "A/5": 10, "B/3": 10, "C/0": 30, "C/2": 6}
    paths = tuple(f"aligned_images_DB/{video}/{n}.jpg" for video, count in videos.items() for n in range(count))
    labels = torch.tensor(["ABC".index(path.split("/")[1]) for path in paths])
    images = torch.zeros(len(paths), 1, 8, 8, dtype=torch.uint8)
    shares = held_out.judge_set(ImageSet("youtube-faces", images, labels, 3, paths, ("A", "B", "C")))
    assert shares.train_rows is not None and shares.test_rows is not None
    train, test = ({paths[row] for row in rows.tolist()} for rows in (shares.train_rows, shares.test_rows))
    assert train | test == set(paths) and not train & test
    held = {video: sum(path.split("/", 1)[1].startswith(f"{video}/") for path in test) for video in videos}
    assert sorted(held[f"A/{n}"] for n in (0, 1, 2, 5)) == [0, 0, 0, 10]
    assert held["B/3"] == 2
    assert (held["C/0"], held["C/2"]) == (0, 6)


def test_every_class_of_two_images_is_trained_on_and_tested() -> None:
    labels = torch.tensor([0] * 50 + [1] * 11 + [2] * 2 + [3])[torch.randperm(64, generator=torch.manual_seed(0))]
    images = ImageSet("folder", torch.zeros(64, 1, 8, 8, dtype=torch.uint8), labels, 4)
    shares = held_out.judge_set(images)
    assert shares.train_rows is not None and shares.test_rows is not None
    assert torch.bincount(labels[shares.test_rows], minlength=4).tolist() == [10, 2, 1, 0]
    assert torch.cat((shares.train_rows, shares.test_rows)).sort().values.tolist() == list(range(64))
    assert shares.train.images is images.images and shares.test.images is images.images
    again = held_out.judge_set(images).test_rows
    assert again is not None and again.equal(shares.test_rows)


def test_steps_go_by_the_number_of_images() -> None:
    def planned(count: int, size: int = 64) -> judge.Plan:
        images = torch.zeros(1, dtype=torch.uint8).expand(count, 3, size, size)
        return judge.plan(held_out.judge_set(ImageSet("folder", images, torch.arange(count) % 10, 10)))

    assert planned(1_000) == judge.Plan(300, 128, 4, True, 0.95)
    assert planned(3_200).steps == 800
    assert planned(100_000, 256) == judge.Plan(1500, 128, 16, True, 0.95)
    assert planned(100).batch == 80


def test_the_plans_of_mnist_and_digits_are_as_ever() -> None:
    for name, count, steps, needed in (("mnist", 60_000, 3 * 468, 0.99), ("digits", 1438, 40 * 11, 0.96)):
        images = ImageSet(name, torch.zeros(1, dtype=torch.uint8).expand(count, 1, 16, 16), torch.zeros(count), 10)
        assert judge.plan(JudgeSet(name, images, images)) == judge.Plan(steps, 128, 1, False, needed)


# --- the network ---


@pytest.mark.parametrize(("size", "side"), [(8, 2), (16, 4), (28, 7), (32, 8)])
def test_judges_of_small_images_keep_their_networks(size: int, side: int) -> None:
    """Those that were saved must go on being read."""
    shapes = {name: tuple(value.shape) for name, value in JudgeNetwork(1, 10, size).state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if len(shape) > 1} == {
        "features.0.weight": (32, 1, 3, 3),
        "features.4.weight": (64, 32, 3, 3),
        "features.9.weight": (128, 64 * side**2),
        "classes.weight": (10, 128),
    }
    assert {name.partition(".weight")[0] for name, shape in shapes.items() if len(shape) == 1 and "weight" in name} == {
        "features.1",
        "features.5",
        "features.10",
    }


@pytest.mark.parametrize("size", [48, 64, 80, 128, 160, 256])
def test_larger_images_meet_a_small_linear_layer(size: int) -> None:
    network = JudgeNetwork(3, 5, size).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 5)
    assert sum(value.numel() for value in network.parameters()) < 1_300_000


# --- training ---


@pytest.mark.usefixtures("few_steps")
def test_a_judge_reads_images_batch_by_batch() -> None:
    """The images may outgrow the memory: only rows of them are ever taken."""
    images, taken = flat(300), []

    class Mapped:
        shape, device = images.images.shape, CPU

        def __len__(self) -> int:
            return 300

        def __getitem__(self, rows: Any) -> torch.Tensor:
            found = images.images[rows]
            taken.append(len(found))
            return found

    mapped = dataclasses.replace(images, images=Mapped())  # type: ignore[arg-type]
    found = judge.train(held_out.judge_set(mapped), CPU)
    assert found.accuracy == 1.0 and found.believed and max(taken) == 128
    again = judge.train(held_out.judge_set(images), CPU)
    assert judge._digest(again.network.state_dict(), "1") == judge._digest(found.network.state_dict(), "1")


@pytest.mark.usefixtures("few_steps")
def test_a_judge_that_knows_the_frequent_class_alone_is_not_believed() -> None:
    images = flat(400, known=False)
    images = dataclasses.replace(images, labels=(torch.arange(400) % 20 == 0).long())
    found = judge.train(held_out.judge_set(images), CPU)
    assert found.accuracy < 0.8 and not found.believed


# --- where it is kept ---


def test_other_images_or_labels_have_another_judge() -> None:
    images = flat(40)
    assert images.labels is not None and images.paths is not None
    other = images.images.clone()
    other[7, 0, 3, 3] ^= 1
    changed = [
        dataclasses.replace(images, images=other),
        dataclasses.replace(images, labels=images.labels.flip(0)),
        dataclasses.replace(images, paths=("0/other.png", *images.paths[1:])),
        dataclasses.replace(images, class_names=("a", "c")),
        dataclasses.replace(images, images=images.images.view(40, 1, 4, 16)),
    ]
    keys = [judge.identity(each) for each in (images, *changed)]
    assert len(set(keys)) == len(keys) and judge.identity(flat(40)) == keys[0]


@pytest.mark.usefixtures("few_steps")
def test_a_judge_of_ones_own_images_is_trained_once_and_kept_beside_them(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, images = config(data_dir=here), flat(200)
    found = evaluation.obtain_judge(own, images, CPU)
    assert found is not None and found.believed
    assert "the judge's accuracy on 40 held-out images is 100.0%" in capsys.readouterr().err
    assert [path.suffix for path in (here / ".fastgan-cache").iterdir()] == [".safetensors"]
    row = evaluated(images, found)
    assert set(WITHHELD) < set(row) and row["judge_accuracy"] == 1.0 and 0 <= row["nmi"] <= 1

    monkeypatch.setattr(judge, "train", lambda *_: pytest.fail("trained again"))
    again = evaluation.obtain_judge(own, images, CPU)
    assert again is not None and again.accuracy == 1.0 and capsys.readouterr().err == ""
    assert again.network.state_dict()["classes.weight"].equal(found.network.state_dict()["classes.weight"])
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        evaluation.obtain_judge(own, flat(210), CPU)


@pytest.mark.usefixtures("few_steps")
def test_a_judge_that_cannot_be_kept_in_one_place_is_kept_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = judge.save_file

    def full(tensors: Any, path: str, **other: Any) -> None:
        if "first" in path:
            raise SafetensorError("I/O error: no space left")  # what safetensors makes of every OSError
        real(tensors, path, **other)

    monkeypatch.setattr(judge, "save_file", full)
    (tmp_path / "file").touch()
    places = [tmp_path / "file" / "no", tmp_path / "first", tmp_path / "second"]
    judge.obtain("folder", 8, lambda: held_out.judge_set(flat(100)), places, CPU, key="k")
    assert (tmp_path / "second" / "fastgan-judge-k-8px.safetensors").exists()


@pytest.mark.parametrize("change", ["accuracy", "weights"])
def test_a_judge_whose_file_was_changed_is_not_read(change: str, tmp_path: Path) -> None:
    """Its accuracy decides whether it is believed, and is as well guarded as its weights."""
    path = tmp_path / "judge.safetensors"
    judge._write(Judge(JudgeNetwork(1, 3, 8), 0.94, 0.95), path)
    kept = judge._read(path, 8, 0.95, CPU)
    assert kept is not None and kept.accuracy == 0.94
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.94", b"0.99") if change == "accuracy" else content[:-1] + b"\x7f")
    assert path.read_bytes() != content and judge._read(path, 8, 0.95, CPU) is None


# --- what is withheld ---


@pytest.mark.usefixtures("few_steps")
def test_without_a_good_judge_nothing_is_said_of_generated_images(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = flat(200, known=False)
    found = evaluation.obtain_judge(config(data_dir=here), images, CPU)
    assert found is not None and not found.believed
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{100 * found.accuracy:.1f}%" in said and "95% is needed; label more images" in said
    row = evaluated(images, found)
    assert not set(WITHHELD) & set(row) and "cluster_accuracy" in row
    assert (row["judge_accuracy"], row["judge_required"]) == (found.accuracy, 0.95)


def test_just_below_is_below() -> None:
    assert "94.9%" in advice.withheld(0.94999, 0.95)
    network = JudgeNetwork(1, 2, 8)
    assert Judge(network, 0.95, 0.95).believed and not Judge(network, 0.94999, 0.95).believed


@pytest.mark.parametrize(
    ("count", "classes", "said"), [(90, 2, "90 labelled images are too few"), (90, 1, "one class")]
)
def test_too_few_images_or_classes_train_no_judge(
    here: Path, capsys: pytest.CaptureFixture[str], count: int, classes: int, said: str
) -> None:
    images = dataclasses.replace(flat(count), labels=torch.arange(count) % classes, label_count=classes)
    assert evaluation.obtain_judge(config(data_dir=here), images, CPU) is None
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_images_are_drawn_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = config()
    networks = Networks(Shape(8, 1, own.classes, own.network))
    networks.initialise(0)
    codes = torch.arange(50) % 3
    whole = evaluation.Sampler(networks.generator, own, CPU, "test")(codes, offset=2)
    monkeypatch.setattr(inference, "BATCH_AREA", 64 * 7)
    parts = list(evaluation.Sampler(networks.generator, own, CPU, "test").parts(codes, offset=2))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert torch.cat(parts).allclose(whole, atol=1e-6)
    monkeypatch.undo()
    assert inference.together(256) == 11 and inference.together(28) == inference.together(8) == 1000


@pytest.mark.usefixtures("few_steps")
def test_a_labelled_folder_is_judged_from_end_to_end(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    for number in range(160):
        path = here / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 60, (8, 8, 3), dtype=np.uint8) + np.uint8(number % 2 * 190)).save(path)
    run = tmp_path / "run"
    flags = f"--dataset folder --data-dir {here} --labels-from-folders --image-size 8 --classes 2 --epochs 1"
    flags += f" --run-dir {run} --network.width 4 --network.hidden 8 --device cpu --grouping.at"
    assert command_line.run_command(train.main, flags.split()) == 0
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["judge_accuracy"] == 1.0 and 0 <= last["nmi"] <= 1 and last["prior_error"] >= 0
    assert "withheld" not in (run / "report.html").read_text()
    capsys.readouterr()
    assert command_line.run_command(evaluate.main, [str(run), "--json", str(tmp_path / "f.json")]) == 0
    assert "the judge's accuracy on held-out real images" in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["nmi"] == pytest.approx(last["nmi"], abs=1e-6)
