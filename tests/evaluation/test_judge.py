"""The judge: of which images it is trained and tested, and what is withheld without a good one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_images import config, few_steps, flat
from PIL import Image

from fastgan import evaluate, train
from fastgan.config import command_line
from fastgan.data import held_out
from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.evaluation import evaluator, judge, judge_plan
from fastgan.evaluation.judge_network import Judge, JudgeNetwork
from fastgan.inference import labelling, sampling
from fastgan.models.networks import Networks, Shape
from fastgan.runtime import precision
from fastgan.runtime.stages import Stage

CPU = torch.device("cpu")
WITHHELD = ("nmi", "ent", "empty_columns", "prior_error", "cluster_size_error", "frechet_distance", "diversity")


def evaluated(images: ImageSet, found: Judge | None) -> dict[str, Any]:
    """What an evaluation of untrained networks says."""
    own = config()
    networks = Networks(Shape(8, 1, own.classes, own.network))
    networks.initialise(0)
    return evaluator.Evaluator(images, found, own, CPU)(networks, networks.generator, torch.full((3,), 1 / 3)).row


@pytest.fixture(name="few_steps")
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)


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
    def planned(count: int, size: int = 64) -> judge_plan.Plan:
        images = torch.zeros(1, dtype=torch.uint8).expand(count, 3, size, size)
        return judge_plan.plan(held_out.judge_set(ImageSet("folder", images, torch.arange(count) % 10, 10)))

    assert planned(1_000) == judge_plan.Plan(300, 128, 4, True, 0.95)
    assert planned(3_200).steps == 800
    assert planned(100_000, 256) == judge_plan.Plan(1500, 128, 16, True, 0.95)
    assert planned(100).batch == 80


def test_the_plans_of_mnist_and_digits() -> None:
    for name, count, steps, needed in (("mnist", 60_000, 2 * 468, 0.99), ("digits", 1438, 40 * 11, 0.96)):
        images = ImageSet(name, torch.zeros(1, dtype=torch.uint8).expand(count, 1, 16, 16), torch.zeros(count), 10)
        assert judge_plan.plan(JudgeSet(name, images, images)) == judge_plan.Plan(steps, 128, 1, False, needed)


# --- the network ---


@pytest.mark.parametrize(("size", "side"), [(8, 2), (16, 4), (28, 7), (32, 8)])
def test_judges_of_small_images_have_two_convolutions(size: int, side: int) -> None:
    state = JudgeNetwork(1, 10, size).state_dict()
    assert sorted(tuple(value.shape) for value in state.values() if value.ndim > 1) == [
        (10, 128),
        (32, 1, 3, 3),
        (64, 32, 3, 3),
        (128, 64 * side**2),
    ]


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
    assert found.accuracy == 1.0 and found.reliable and max(taken) == 128
    again = judge.train(held_out.judge_set(images), CPU)
    assert judge._digest(again.network.state_dict(), "1") == judge._digest(found.network.state_dict(), "1")


@pytest.mark.usefixtures("few_steps")
def test_a_judge_that_knows_the_frequent_class_alone_is_not_reliable() -> None:
    images = flat(400, known=False)
    images = dataclasses.replace(images, labels=(torch.arange(400) % 20 == 0).long())
    found = judge.train(held_out.judge_set(images), CPU)
    assert found.accuracy < 0.8 and not found.reliable


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("chosen", [precision.Precision(torch.bfloat16), precision.FULL], ids=lambda each: each.name)
def test_a_judge_is_trained_in_the_fastest_precision_and_says_how_far_it_is(
    chosen: precision.Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 without instructions for it, MNIST's took two cores seven minutes."""
    stages: list[Stage] = []
    outputs: list[torch.dtype] = []

    @contextmanager
    def stage(name: str, total: int) -> Iterator[Stage]:
        stages.append(Stage(name, total))
        yield stages[-1]

    def note(module: torch.nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            outputs.append(output.dtype)

    monkeypatch.setattr(judge, "stage", stage)
    monkeypatch.setattr(judge, "fastest", lambda _: chosen)
    noted = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        judge.train(held_out.judge_set(flat(100)), CPU)
    finally:
        noted.remove()
    assert outputs[0] == chosen.dtype and outputs[-1] == torch.float32  # it judges in full
    assert [(each.name, each.done, each.total) for each in stages] == [("training the judge", 3200, 3200)]


def test_the_judge_of_two_hundred_small_images_takes_few_steps() -> None:
    images = ImageSet("folder", torch.zeros(200, 1, 16, 16, dtype=torch.uint8), torch.arange(200) % 10, 10)
    assert judge_plan.plan(held_out.judge_set(images)).steps == 300  # seconds


# --- what is withheld ---


@pytest.mark.usefixtures("few_steps")
def test_without_a_good_judge_nothing_is_said_of_generated_images(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = flat(200, known=False)
    found = judge.obtain_judge(config(data_dir=here), images, CPU)
    assert found is not None and not found.reliable
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{100 * found.accuracy:.1f}%" in said and "95% is needed; if they are yours, label more images" in said
    row = evaluated(images, found)
    assert not set(WITHHELD) & set(row) and "cluster_accuracy" in row
    assert (row["judge_accuracy"], row["judge_required"]) == (found.accuracy, 0.95)


@pytest.mark.usefixtures("few_steps")
def test_with_a_good_judge_all_is_told() -> None:
    images = flat(200)
    row = evaluated(images, judge.train(held_out.judge_set(images), CPU))
    assert set(WITHHELD) < set(row) and row["judge_accuracy"] == 1.0 and 0 <= row["nmi"] <= 1


def test_just_below_is_below() -> None:
    assert "94.9%" in judge.withheld(0.94999, 0.95)
    network = JudgeNetwork(1, 2, 8)
    assert Judge(network, 0.95, 0.95).reliable and not Judge(network, 0.94999, 0.95).reliable


@pytest.mark.parametrize(
    ("count", "classes", "said"), [(90, 2, "90 labelled images are too few"), (90, 1, "one class")]
)
def test_too_few_images_or_classes_train_no_judge(
    here: Path, capsys: pytest.CaptureFixture[str], count: int, classes: int, said: str
) -> None:
    images = dataclasses.replace(flat(count), labels=torch.arange(count) % classes, label_count=classes)
    assert judge.obtain_judge(config(data_dir=here), images, CPU) is None
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]


def test_images_are_drawn_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = config()
    networks = Networks(Shape(8, 1, own.classes, own.network))
    networks.initialise(0)
    codes = torch.arange(50) % 3
    whole = sampling.Sampler(networks.generator, own, CPU, "test")(codes, offset=2)
    monkeypatch.setattr(labelling, "BATCH_AREA", 64 * 7)
    parts = list(sampling.Sampler(networks.generator, own, CPU, "test").parts(codes, offset=2))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert torch.cat(parts).allclose(whole, atol=1e-6)
    monkeypatch.undo()
    assert labelling.eval_batch(256) == 11 and labelling.eval_batch(28) == labelling.eval_batch(8) == 1000


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
