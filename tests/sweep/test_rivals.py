"""Classical clusterings as methods of a sweep."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys

import numpy as np
import pytest
import torch

from fastgan.config.presets import preset
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation import metrics
from fastgan.evaluation.evaluator import held_out_row
from fastgan.sweep import rivals
from fastgan.sweep.rivals import RIVALS

HAS_UMAP = importlib.util.find_spec("umap") is not None


def blobs(counts: tuple[int, ...], seed: int) -> ImageSet:
    """Images of 8x8 pixels: each class has its own bright quarter, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.randint(0, 60, (len(labels), 1, 8, 8), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 150
    return ImageSet("blobs", images.to(torch.uint8), labels, len(counts))


TRAIN, HELD_OUT = blobs((600, 300, 150), 0), blobs((20, 20, 20), 1)


@pytest.mark.parametrize("method", list(RIVALS))
@pytest.mark.filterwarnings("ignore")  # of UMAP's dependencies
def test_each_finds_clear_classes(method: str) -> None:
    if method.startswith("umap") and not HAS_UMAP:
        pytest.skip("umap-learn is not installed")
    config = dataclasses.replace(preset("digits"), classes=3, epochs=7)
    threads = torch.get_num_threads()
    row = rivals.row(method, config, TRAIN, HELD_OUT)
    assert torch.get_num_threads() == threads == row["environment"]["threads"]  # later runs of a process depend on it
    figures = row["evaluations"]["7"]
    assert figures["cluster_accuracy"] > 0.95 and figures["cluster_macro_accuracy"] > 0.95
    assert figures["held_out_accuracy"] > 0.95 and figures["clusters"] >= 3
    assert figures["train_seconds"] == row["train_seconds"] > 0
    assert "held_out_share_error" not in figures and "command" not in row["environment"]


def test_a_mixture_of_more_components_than_their_images_allow() -> None:
    """As many full covariances as Labeled Faces in the Wild has people, each of fewer images than dimensions."""
    faces = 30 * np.random.default_rng(0).random((200, 64), dtype=np.float32)  # as far apart as images of many pixels
    faces[:60] = faces[0]  # copies: a component without any spread
    found, _ = rivals.label("pca-gmm", faces, faces[:0], 60, 0)
    assert len(found) == 200 and len(np.unique(found)) > 20


@pytest.mark.parametrize("method", [name for name in RIVALS if not name.startswith("umap")])
def test_seeds_and_repeats(method: str) -> None:
    pixels = TRAIN.images.flatten(1).numpy().astype(np.float32) / 255
    first, none = rivals.label(method, pixels, pixels[:0], 3, 0)
    again, _ = rivals.label(method, pixels, pixels[:0], 3, 0)
    assert np.array_equal(first, again) and len(none) == 0 and first.dtype == np.int64


def test_the_rarest_class_is_that_of_the_training_images() -> None:
    codes = torch.where(HELD_OUT.labels == 2, 0, HELD_OUT.labels)  # type: ignore[arg-type]  # class 2 is lost
    figures = held_out_row(codes, HELD_OUT, TRAIN, 3)
    assert figures["held_out_rarest_recall"] == 0.0
    assert metrics.clustering(codes, HELD_OUT.labels, 3, 3)["rarest_recall"] == 1.0  # type: ignore[arg-type]


def test_without_umap_its_methods_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    rivals.check(["kmeans", "elastic"])
    with pytest.raises(ConfigError, match=r"UMAP is not installed .*fastgan\[rivals\]"):
        rivals.check(["kmeans", "umap-gmm"])
