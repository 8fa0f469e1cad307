"""What is looked at of many images is looked at in parts: nothing holds all that it reads as floats, or twice.

A process keeps what it has held once (`runtime/process.py`): one such place decides how much memory a run takes.
"""

from __future__ import annotations

import dataclasses
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.augment import suited
from fastgan.config.schema import TransformConfig
from fastgan.data import likeness, neighbours
from fastgan.data.image_set import ImageSet
from fastgan.evaluation.near_duplicates import near_duplicates
from fastgan.training import pixel_graphs, pixel_votes, spectral

COUNT, SHAPE = 1500, (3, 64, 64)
PIXELS = 3 * neighbours.SIDE**2  # of an image as neighbours are compared


class Held(TorchDispatchMode):
    """Bytes of the storages that operations within have made, at most at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self._known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, Tensor) and (storage := each.untyped_storage()).data_ptr() not in self._known:
                self._note(storage)
        return found

    def _note(self, storage: Any) -> None:
        size, key = storage.nbytes(), storage.data_ptr()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)

        def gone() -> None:
            self.now -= size
            self._known.discard(key)

        weakref.finalize(storage, gone)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (COUNT, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def most(act: Callable[[], object]) -> int:
    """Bytes that torch held for a call at most."""
    with Held() as held:
        act()
    assert held.most > 0
    return held.most


def test_transforms_are_chosen_without_the_images_as_floats(images: Tensor) -> None:
    assert most(lambda: suited.measure(images)) < 4 * images.nbytes


def test_the_parts_decide_nothing(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = suited.measure(images[:60])
    monkeypatch.setattr(suited, "TOGETHER", 7)
    assert dataclasses.astuple(suited.measure(images[:60])) == pytest.approx(dataclasses.astuple(whole), rel=1e-5)


def test_a_look_is_taken_without_the_images_as_floats(images: Tensor) -> None:
    tracemalloc.start()
    likeness.Look.of(ImageSet("images", images, None, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < peak < 2 * images.nbytes


def test_views_of_landmarks_are_held_some_at_a_time(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (neighbours, pixel_graphs):
        monkeypatch.setattr(module, "BATCH", 100)
    monkeypatch.setattr(pixel_graphs, "AT_ONCE", 10)
    views = 8
    graphs = pixel_graphs.PixelGraphs(TransformConfig(rotation=5.0), views, seed=0)
    held = most(lambda: graphs.of("all", images, torch.arange(COUNT), 5))
    assert held < 0.5 * views * COUNT * PIXELS * 4


def test_disputed_images_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BATCH", 100)
    kinds = torch.randint(0, 256, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    index_N = torch.arange(20_000) % 2
    groups_N = np.where(np.arange(20_000) < 200, index_N.numpy(), -1)
    found: list[object] = []
    pictures = kinds.to(torch.uint8)[index_N]
    held = most(lambda: found.append(pixel_votes.decide_disputed(groups_N, pictures, 0.5, 0)))
    assert held < 0.5 * 20_000 * neighbours.SIDE**2 * 4
    assert np.array_equal(found[0], index_N.numpy())


def test_islands_are_asked_without_a_copy_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many islands of one group, each of which the pixels of the rest are compared with."""
    monkeypatch.setattr(neighbours, "BATCH", 50)
    sizes = torch.tensor([600, *[30] * 20])
    kind_L = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    kinds = torch.randint(0, 256, (len(sizes), 1, 16, 16), generator=torch.Generator().manual_seed(0))
    unit = torch.eye(len(sizes))[kind_L]
    graph = spectral.neighbour_graph(unit, 10)
    groups_L = np.zeros(len(kind_L), np.int64)
    everything = torch.arange(len(kind_L))
    held = most(
        lambda: pixel_votes.move_islands(groups_L, kinds.to(torch.uint8)[kind_L], unit, everything, graph, 10, 2)
    )
    assert held < 2.2 * len(kind_L) * neighbours.SIDE**2 * 4


def test_duplicates_are_looked_for_without_the_images_as_floats(images: Tensor) -> None:
    nearly = torch.cat([images, images[:1000] ^ 1])
    found: list[object] = []
    held = most(lambda: found.extend(near_duplicates(nearly, 0)))
    assert found and held < 4 * nearly.nbytes
