"""Cells from two laboratories with two stains: the report says by what a model has sorted them, whichever it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cells
import pytest
import torch
from torch import Tensor

from fastgan import train
from fastgan.config import command_line
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import folder, loading
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import code_summary, confusion, diagnosis, metrics
from fastgan.evaluation.code_summary import RunState
from fastgan.inference import trained_run
from fastgan.inference.labelling import assign
from fastgan.models.networks import Networks, Shape
from fastgan.reporting import html_report

CPU = torch.device("cpu")


def laboratories(images: ImageSet) -> Tensor:
    return torch.tensor([cells.LABORATORIES.index(path.split("/")[1]) for path in images.paths or ()])


def page(place: Path, images: ImageSet, codes_N: Tensor, monkeypatch: pytest.MonkeyPatch) -> html_report.Page:
    """The page of a model that is very sure of these codes, of every view of an image."""
    logits_NK = 8 * torch.nn.functional.one_hot(codes_N, 3).float()

    def read(*args: Any) -> tuple[Tensor, Tensor]:
        return logits_NK, logits_NK

    def read_transforms(*args: Any) -> tuple[Tensor, Tensor]:
        return torch.arange(len(codes_N)), logits_NK.softmax(1)

    monkeypatch.setattr(code_summary, "read", read)
    monkeypatch.setattr(confusion, "read_transforms", read_transforms)
    network = NetworkConfig(width=4, hidden=8, embedding=4)
    config = TrainConfig(
        dataset="folder", data_dir=place, image_size=32, channels=3, classes=3, network=network, epochs=8000
    )
    networks = Networks(Shape(32, 3, 3, network))
    networks.initialise(0)
    prior_K, settings = metrics.cluster_sizes(codes_N, 3), {"settings": {}, "environment": {}}
    state = RunState(config, networks, networks.generator, prior_K, images, 320_000, [], settings, CPU)
    return html_report.collect(state)


@pytest.mark.parametrize("labelled", [True, False])
def test_groups_by_stain_are_called_that(labelled: bool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder.full(cells.write(here, 120), 32, 3, labels_from_folders=labelled)
    made = page(here, images, laboratories(images), monkeypatch)
    found = {finding.title: finding for finding, _ in made.findings}
    (title,) = [title for title in found if title.startswith("The groups follow ")]
    text = found[title].text
    assert "mean colour (" in text and "second-level subfolder (" in text
    assert " subfolder (" not in text.partition(", not ")[2].replace("second-level", "") or not labelled
    assert ("not the labels (" in text) == labelled and ("Sure is not right" in found) == labelled
    assert ("2 groups mix classes" in found) == labelled
    html = html_report.render(made)
    assert all(shown.caption in html for shown in found[title].shown) and len(found[title].shown) == 2
    (strips,) = [strips for finding, strips in made.findings if finding.title == title]
    assert [len(strip.shots) for strip in strips] == [8, 8]
    assert "mostly class" not in html


@pytest.mark.parametrize("labelled", [True, False])
def test_groups_by_shape_raise_no_alarm(labelled: bool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without labels the subfolders, which are the shapes, are followed: it says that this may be what is wanted."""
    images = folder.full(cells.write(here, 120), 32, 3, labels_from_folders=True)
    shapes = images.labels
    assert shapes is not None
    images = images if labelled else folder.full(here, 32, 3)
    found = {finding.title: finding for finding, _ in page(here, images, shapes, monkeypatch).findings}
    follows = {title for title in found if "follow" in title}
    assert follows == (set() if labelled else {"The groups follow subfolder"})
    if not labelled:
        text = found["The groups follow subfolder"]
        assert "mean colour" in text.text.partition(", not ")[2] and "all is well" in text.remedy
    assert not {title for title in found if "class" in title}


@pytest.mark.slow
def test_a_trained_model_is_told_by_what_it_sorted(here: Path) -> None:
    """A narrow network, just past what counts as hardly trained: minutes of one core. By what it sorts is open."""
    cells.write(here, 400)
    run = here.parent / "run"
    flags = ["--dataset", "folder", "--data-dir", str(here), "--labels-from-folders", "--image-size", "32"]
    flags += ["--classes", "3", "--network.width", "16", "--network.hidden", "128", "--device", "cpu"]
    shown = 400 // 64 * 64  # an epoch: whole batches
    flags += ["--epochs", str(-(-diagnosis.FEW_SHOWN // shown) + 10), "--amp", "--threads", "1"]
    assert command_line.run_command(train.main, [*flags, "--run-dir", str(run)]) == 0
    text = (run / html_report.NAME).read_text(encoding="utf-8")
    loaded = trained_run.load(run, CPU)
    images = loading.load(loaded.config)
    codes_N, _ = assign(loaded.networks, images.images, loaded.config, CPU)
    assert images.labels is not None
    by_shape, by_stain = (
        metrics.clustering(codes_N, truth, 3, int(truth.max()) + 1)["ami"]
        for truth in (images.labels, laboratories(images))
    )
    title = re.search(r"<h3>The groups follow ([\w -]+)</h3>", text)
    if by_stain > 0.5:
        assert title is not None and title[1] in ("mean colour", "second-level subfolder")
    if by_shape > 0.8:
        assert "Sure is not right" not in text and "mixes classes" not in text
    else:
        assert "Sure is not right" in text or "mix classes" in text or "mixes classes" in text
    assert max(by_shape, by_stain) > 0.3, "it found neither"
