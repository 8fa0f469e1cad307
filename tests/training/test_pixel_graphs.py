"""Pixels beside the embedding: neighbours whatever transform lies between, and a style that an embedding tears off."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sklearn.metrics import recall_score
from torch import Tensor

from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import GroupingConfig, TransformConfig
from fastgan.data.neighbours import nearest_to_views
from fastgan.evaluation.metrics import clustering
from fastgan.training import spectral
from fastgan.training.pixel_graphs import PixelGraphs
from fastgan.training.pseudo_labels import find_groups

TURNED = TransformConfig(rotation=60.0, zoom=(1.0, 1.0))


def shapes(kinds: int, seed: int) -> Tensor:
    """Blurred random patterns, float32 [kinds, 1, 28, 28] from 0 to 255."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(kinds, 1, 7, 7, generator=random)
    return 255 * torch.nn.functional.interpolate(coarse, 28, mode="bicubic").clamp(0, 1)


def test_an_image_is_never_its_own_neighbour_and_the_nearest_view_counts() -> None:
    random = torch.Generator().manual_seed(0)
    unit, *others = torch.nn.functional.normalize(torch.randn(3, 1200, 12, generator=random), dim=2)
    views = torch.stack([unit, others[0], others[1]])
    similarity, index = nearest_to_views(unit, views.split(500, dim=1), 5)
    full = torch.stack([unit @ view.T for view in views]).amax(0).fill_diagonal_(-2.0)
    expected = full.topk(5)
    torch.testing.assert_close(similarity, expected.values)
    assert torch.equal(index, expected.indices)


def test_turned_images_are_neighbours_by_their_views() -> None:
    """Each of eight patterns, turned by up to 60 degrees: eight views find more of the same pattern than one does."""
    labels = torch.arange(8).repeat_interleave(30)
    plain = shapes(8, seed=2)[labels].to(torch.uint8)
    turn = TensorTransform(TURNED, torch.tensor(7), torch.float32)
    turn.start(plain, 0)
    images = ((turn.finish() + 1) * 127.5).round().to(torch.uint8)
    right = []
    for views in (1, 8):
        graph = PixelGraphs(TURNED, views, seed=0).of("landmarks", images, torch.arange(240), 10).tocoo()
        assert (graph != graph.T).nnz == 0
        right.append(graph.data[labels[graph.row] == labels[graph.col]].sum() / graph.data.sum())
    assert right[1] > right[0] + 0.02
    assert right[1] > 0.9


def test_a_graph_is_made_once_and_follows_its_seed() -> None:
    images = shapes(40, seed=3).to(torch.uint8)
    graphs = PixelGraphs(TURNED, 4, seed=0)
    first = graphs.of("landmarks", images, torch.arange(40), 10)
    assert graphs.of("landmarks", images, torch.arange(40), 10) is first
    assert (PixelGraphs(TURNED, 4, seed=0).of("any", images, torch.arange(40), 10) != first).nnz == 0
    assert (PixelGraphs(TURNED, 4, seed=1).of("any", images, torch.arange(40), 10) != first).nnz > 0
    assert graphs.of("few", images, torch.arange(6), 10).shape == (6, 6)


@pytest.mark.parametrize(("channels", "side"), [(3, 8), (1, 64), (3, 70)])
def test_images_of_any_size(channels: int, side: int) -> None:
    images = torch.randint(0, 256, (30, channels, side, side), generator=torch.Generator().manual_seed(0))
    graph = PixelGraphs(TURNED, 2, seed=0).of("all", images.to(torch.uint8), torch.arange(30), 5)
    assert graph.shape == (30, 30) and graph.nnz >= 150


def torn() -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, classes and images, in which class 0 has a style that the embedding puts far from it.

    Class 2 is rare and lies beside class 1; its pixels are of another pattern. The style's are class 0's, and a bar.
    """
    random = torch.Generator().manual_seed(1)
    sizes, centres, shown = [500, 60, 500, 40], [0.0, 2.0, 4.0, 4.45], [0, 0, 1, 2]
    kind = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    angle = torch.tensor(centres)[kind]
    embed = torch.cat([angle.cos()[:, None], angle.sin()[:, None], torch.zeros(len(kind), 6)], dim=1)
    embed += 0.08 * torch.randn(embed.shape, generator=random)
    labels = torch.tensor(shown)[kind]
    images = shapes(3, seed=5)[labels] * 0.8
    images[kind == 1, :, 13:15, 8:20] += 15.0
    images += 60 * torch.rand(images.shape, generator=random)
    return torch.nn.functional.normalize(embed), labels, images.clamp(0, 255).to(torch.uint8)


def test_pixels_join_a_style_to_its_class_and_so_keep_the_rare_one() -> None:
    embed, labels, images = torn()
    config = GroupingConfig(landmarks=1100, linkage=0.75)
    whole = TransformConfig(rotation=5.0, zoom=(1.0, 1.0))
    without = find_groups(embed, labels, 3, config, 0, images)
    found = find_groups(embed, labels, 3, config, 0, images, PixelGraphs(whole, 4, seed=0))
    assert recall_score(labels, without, average=None)[2] < 0.1  # the style has a group, and class 2 has none
    assert clustering(found, labels, 3, 3)["accuracy"] > 0.99


def test_the_cut_of_both_graphs_tells_the_right_groups() -> None:
    """The embedding's own merges cut pixels; every grouping whose cut of both graphs is near the lowest is right."""
    embed, labels, images = torn()
    graph = spectral.neighbour_graph(embed, 10)
    whole = TransformConfig(rotation=5.0, zoom=(1.0, 1.0))
    pixels = PixelGraphs(whole, 4, seed=0).of("landmarks", images, torch.arange(len(embed)), 10)
    found = spectral.groupings(graph, 3, 0.75, 0, pixels_LL=pixels)
    both = graph / graph.sum() + pixels / pixels.sum()
    for group_L, cut in found:
        assert cut == pytest.approx(spectral.normalised_cut(both, group_L))
    lowest = min(cut for _, cut in found)
    right = [clustering(torch.from_numpy(group_L), labels, 3, 3)["accuracy"] > 0.99 for group_L, _ in found]
    near = [cut <= spectral.SLACK_OF_BOTH * lowest for _, cut in found]
    assert all(right[i] for i in range(30) if near[i])
    assert 0 < sum(near) <= sum(right) < 25
    assert all(cut == spectral.normalised_cut(graph, group_L) for group_L, cut in spectral.groupings(graph, 3, 0.75, 0))


def test_without_views_nothing_changes() -> None:
    embed, labels, images = torn()
    config = dataclasses.replace(GroupingConfig(landmarks=1100, linkage=0.75), pixel_views=0)
    assert torch.equal(find_groups(embed, labels, 3, config, 0, images), find_groups(embed, labels, 3, config, 0))
