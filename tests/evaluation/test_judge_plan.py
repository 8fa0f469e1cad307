"""The bars of the judges of published data sets, and what is withheld below them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import get_args

import pytest
import small_sets
import torch
from labelled_images import few_steps, flat

from fastgan import train
from fastgan.config import command_line
from fastgan.config.schema import OWN_IMAGES, Dataset
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.evaluation import judge, judge_plan
from fastgan.evaluation.judge_network import JudgeNetwork

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def zeros(name: str, count: int, channels: int, size: int) -> JudgeSet:
    images = torch.zeros(1, dtype=torch.uint8).expand(count, channels, size, size)
    part = ImageSet(name, images, torch.arange(count) % 10, 10)
    return JudgeSet(name, part, part)


def test_every_published_set_has_a_bar_and_the_documents_say_which() -> None:
    names = {name.partition("-letters")[0].partition("-balanced")[0] for name in judge_plan.PUBLISHED}
    names -= {"emnist-digits", "fashion-mnist-5"}
    assert names == set(get_args(Dataset)) - set(OWN_IMAGES)
    table = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("## The judge's bar")[2]
    told = dict(re.findall(r"^\| `?([\w -]+?)`? \| (\d+)% \|", table, flags=re.MULTILINE))
    ours = {"fmnist-5": "fashion-mnist-5", "emnist letters": "emnist-letters", "emnist digits": "emnist-digits"}
    ours["emnist balanced"] = "emnist-balanced"
    bars = {ours.get(name, name): int(bar) / 100 for name, bar in told.items() if name != "your own"}
    assert bars == {name: found.required for name, found in judge_plan.PUBLISHED.items()}


def test_judges_of_photographs_are_deeper_and_see_what_a_mirror_shows_where_it_may() -> None:
    cifar, svhn = (judge_plan.plan(zeros(name, 1280, 3, 32)) for name in ("cifar10", "svhn"))
    assert (cifar.steps, cifar.deep, cifar.mirror, cifar.reflect, cifar.shift) == (120, True, True, True, 2)
    assert (svhn.deep, svhn.mirror, svhn.reflect, svhn.own) == (True, False, True, False)
    for name in ("kmnist", "emnist-letters", "usps", "fashion-mnist", "mnist"):
        found = judge_plan.plan(zeros(name, 1280, 1, 28))
        assert not (found.deep or found.mirror or found.reflect or found.own) and found.shift == 1
    assert not judge_plan.plan(zeros("cifar10", 1280, 3, 8)).deep  # three poolings leave a pixel
    assert judge_plan.plan(zeros("usps", 60, 1, 16)).batch == 60  # fewer images than a batch


@pytest.mark.parametrize("size", [16, 28, 32, 64])
def test_a_deeper_judge_draws_on_four_convolutions(size: int) -> None:
    network = JudgeNetwork(3, 10, size, deep=True).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 10)
    kernels = [value for value in network.state_dict().values() if value.ndim == 4]
    assert len(kernels) == 4 and sum(value.numel() for value in network.parameters()) < 1_000_000


@pytest.mark.parametrize(("size", "deep"), [(32, True), (32, False), (64, False), (64, True)])
def test_a_judge_is_read_back_with_its_depth(
    size: int, deep: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_steps(monkeypatch)
    images = dataclasses.replace(flat(40, size=size), name="cifar10")
    data = JudgeSet("cifar10", images, images)
    monkeypatch.setitem(judge_plan.PUBLISHED, "cifar10", judge_plan.Published(0.8, 2, colour=deep))
    first, again = judge.obtain(data, CPU), judge.obtain(data, CPU)
    assert again.accuracy == first.accuracy
    assert all(first.network.state_dict()[name].equal(value) for name, value in again.network.state_dict().items())


def test_figures_of_generated_images_are_withheld_below_the_bar_of_a_set(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random images teach a judge nothing: only what is said of real images remains."""
    few_steps(monkeypatch)
    small_sets.usps(tmp_path / "data", monkeypatch)
    run = tmp_path / "run"
    flags = f"--dataset usps --data-dir {tmp_path / 'data'} --run-dir {run} --epochs 1 --batch-size 10 --device cpu"
    flags += " --network.width 4 --network.hidden 8 --network.embedding 4 --grouping.at"
    assert command_line.run_command(train.main, flags.split()) == 0
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["judge_required"] == 0.95 > last["judge_accuracy"]
    assert not {"nmi", "ent", "prior_error", "frechet_distance"} & set(last) and "cluster_accuracy" in last
    said = capsys.readouterr().err
    assert "training the judge for usps once" in said and "withheld" in said and "95% is needed" in said
    assert "withheld" in (run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["--imbalance none", "--imbalance fmnist-5 --classes 5"])
def test_the_judge_of_fashion_mnist_reaches_its_bar(flags: str, here: Path) -> None:
    place = os.environ.get("FASTGAN_FASHION_MNIST") or ROOT.parent / "shared" / "data" / "fashion-mnist"
    if not any(Path(place).glob("train-images-idx3-ubyte*")):
        pytest.skip(f"FashionMNIST is not in {place}; name its folder in FASTGAN_FASHION_MNIST")
    argv = f"--dataset fashion-mnist --data-dir {place} {flags}".split()
    own = train_config(argv, lambda _: pytest.fail("nothing is resumed"))
    assert judge.train(loading.load_judge_set(own), CPU).reliable
