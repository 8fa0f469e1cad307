"""Which images of a group are shown, which stand out, which are there twice, and where they lie on a map."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cells
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastgan.data.neighbours import pixels
from fastgan.evaluation.group_images import BETWEEN, BINS, PARTS, Readings, group_images, outliers, spread_over
from fastgan.evaluation.image_map import OF_EACH, image_map
from fastgan.evaluation.near_duplicates import near_duplicates

FLAT = torch.zeros(40, 1, 2, 2, dtype=torch.uint8)  # images that all look alike


def readings(probabilities_NK: torch.Tensor, embeddings_ND: torch.Tensor | None = None) -> Readings:
    best = probabilities_NK.topk(2, dim=1)
    if embeddings_ND is None:
        embeddings_ND = torch.randn(len(probabilities_NK), 4, generator=torch.Generator().manual_seed(0))
    return Readings(embeddings_ND, best.indices, best.values)


def test_images_are_typical_by_their_place_and_not_by_confidence() -> None:
    angles_N = torch.tensor([0.0, 0.1, 0.2, 1.2])
    embeddings_ND = torch.stack([angles_N.cos(), angles_N.sin()], 1) * torch.tensor([[9.0], [1.0], [0.1], [1.0]])
    sure_N = torch.tensor([0.7, 0.8, 0.9, 0.99])
    found = group_images(readings(torch.stack([sure_N, 1 - sure_N], 1), embeddings_ND), 0, 0, FLAT)
    # Their mean direction lies at 0.36: the length of an embedding does not count.
    assert found.typical_M.tolist() == [2, 1, 0, 3]
    assert found.unsure_M.tolist() == [0, 1, 2, 3]
    assert sorted(found.random_M.tolist()) == [0, 1, 2, 3]
    assert sum(found.histogram) == 4 and len(found.histogram) == BINS and found.histogram[-1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_typical_images_show_each_look_of_a_group(seed: int) -> None:
    """Round cells of which nine in ten have one stain, and the most typical hundred all do."""
    images, shapes_N, laboratories_N = cells.draw(900, seed=seed)
    one = np.flatnonzero((shapes_N == 1) & (laboratories_N == 0))
    other = np.flatnonzero((shapes_N == 1) & (laboratories_N == 1))[: len(one) // 9]
    order_M = np.concatenate([one[:100], other, one[100:]])
    pixels_MP = pixels(torch.from_numpy(images), torch.from_numpy(order_M))
    shown = spread_over(pixels_MP, seed)
    assert len(shown) == PARTS == len(set(shown.tolist())) and int(shown[0]) == 0, (
        "the most typical of all is the first"
    )
    stains = laboratories_N[order_M[shown.numpy()]]
    assert 1 <= stains.sum() <= 4, "both stains, the rarer one in fewer pictures"
    assert laboratories_N[order_M[:PARTS]].sum() == 0
    assert torch.equal(spread_over(pixels_MP, seed), shown)


def test_few_or_equal_images_are_all_typical() -> None:
    assert spread_over(torch.rand(5, 4), 0).tolist() == [0, 1, 2, 3, 4]
    assert spread_over(torch.zeros(30, 4), 0).tolist() == list(range(PARTS))


def test_images_between_two_groups_are_of_either_the_most_undecided_first() -> None:
    probabilities_NK = torch.tensor(
        [[0.6, 0.4, 0.0], [0.45, 0.55, 0.0], [0.99, 0.01, 0.0], [0.55, 0.0, 0.45], [1 - BETWEEN / 2, BETWEEN / 2, 0.0]]
    )
    found = group_images(readings(probabilities_NK), 0, 0, FLAT)
    assert found.neighbour == 1 and found.between_M.tolist() == [1, 0]
    alone = group_images(readings(torch.tensor([[1.0, 0.0], [1.0, 0.0]])), 0, 0, FLAT)
    assert alone.neighbour is None and len(alone.between_M) == 0
    empty = group_images(readings(torch.tensor([[1.0, 0.0], [1.0, 0.0]])), 1, 0, FLAT)
    assert len(empty.typical_M) == 0 and sum(empty.histogram) == 0


def test_planted_outliers_are_found_and_few_others() -> None:
    """Over 20 groups of 200 images, each with one image of another kind."""
    draw = torch.Generator().manual_seed(0)
    centres_KD = torch.randn(20, 32, generator=draw)
    embeddings_ND = (centres_KD[:, None] + 0.3 * torch.randn(20, 200, 32, generator=draw)).flatten(0, 1)
    planted = list(range(7, 4000, 200))
    embeddings_ND[planted] = torch.randn(20, 32, generator=draw)
    probabilities_NK = torch.nn.functional.one_hot(torch.arange(20).repeat_interleave(200), 20).float()
    found = outliers(readings(probabilities_NK, embeddings_ND), 20)
    assert set(planted) <= set(found.index_M[:25].tolist())
    assert len(found.index_M) <= 20 + 8, "of 3,980 images as the others, at most 8 are named"
    assert found.scores_M.tolist() == sorted(found.scores_M.tolist(), reverse=True)
    nothing = outliers(readings(probabilities_NK[:30], torch.ones(30, 8)), 20)
    assert len(nothing.index_M) == 0


def test_copies_and_nearly_equal_images_are_found_and_others_not() -> None:
    draw = torch.Generator().manual_seed(0)
    images_NCHW = torch.randint(0, 256, (300, 3, 20, 20), generator=draw, dtype=torch.uint8)
    images_NCHW[250] = images_NCHW[100] = images_NCHW[3]
    noise = torch.randint(-8, 9, (3, 20, 20), generator=draw)
    images_NCHW[299] = (images_NCHW[40].int() + noise).clamp(0, 255).to(torch.uint8)
    found = near_duplicates(images_NCHW, seed=0)
    assert [(pair.first, pair.second) for pair in found] == [(3, 100), (3, 250), (40, 299)]
    assert found[0].distance == 0 < found[2].distance < 0.1
    assert near_duplicates(images_NCHW[:200:9], seed=0) == []


def test_near_duplicates_are_those_that_comparing_all_pairs_finds() -> None:
    draw = torch.Generator().manual_seed(1)
    base = torch.randint(40, 216, (40, 1, 12, 12), generator=draw)
    images_NCHW = (base.repeat_interleave(5, 0) + torch.randint(-8, 9, (200, 1, 12, 12), generator=draw)).to(
        torch.uint8
    )
    far_NN = torch.cdist(images_NCHW.flatten(1).float(), images_NCHW.flatten(1).float())
    found = near_duplicates(images_NCHW, seed=0)
    usual = float(far_NN[found[0].first, found[0].second]) / found[0].distance
    wanted = {(i, j) for i, j in torch.nonzero((far_NN < 0.1 * usual).triu(1)).tolist()}
    assert {(pair.first, pair.second) for pair in found} == wanted and len(wanted) > 20


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_equal_images_need_no_pairs(count: int) -> None:
    assert near_duplicates(torch.full((count, 1, 16, 16), 7, dtype=torch.uint8), seed=0) == []


def test_a_map_lays_alike_images_together_and_holds_small_groups() -> None:
    draw = torch.Generator().manual_seed(0)
    codes_N = torch.cat([torch.zeros(3000, dtype=torch.int64), torch.ones(40, dtype=torch.int64)])
    embeddings_ND = torch.randn(2, 8, generator=draw)[codes_N] + 0.1 * torch.randn(3040, 8, generator=draw)
    found = image_map(embeddings_ND, codes_N, seed=0, most=100)
    own_M = codes_N[found.index_M]
    assert len(found.index_M) == 100 and int((own_M == 1).sum()) >= OF_EACH
    assert found.method in ("PCA", "UMAP") and float(found.places_M2.min()) >= 0 and float(found.places_M2.max()) <= 1
    middles = [found.places_M2[own_M == code].median(0).values for code in (0, 1)]
    assert float((middles[0] - middles[1]).norm()) > 0.5
    again = image_map(embeddings_ND, codes_N, seed=0, most=100)
    assert torch.equal(again.places_M2, found.places_M2)


@pytest.mark.parametrize("works", [True, False])
def test_umap_is_used_where_it_is_installed_and_works(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stand:
        def __init__(self, **settings: object) -> None:
            assert settings["metric"] == "precomputed" and isinstance(settings["random_state"], int)

        def fit_transform(self, apart: NDArray[np.float32]) -> object:
            unit = torch.nn.functional.normalize(points_ND, dim=1)
            np.testing.assert_allclose(apart, 1 - (unit @ unit.T).numpy(), atol=1e-6)
            assert apart.min() >= 0 and not apart.diagonal().any()
            if not works:
                raise RuntimeError("numba")
            return torch.arange(120.0).reshape(60, 2).numpy()

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Stand))
    points_ND = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    found = image_map(points_ND, torch.zeros(60).long(), seed=0)
    assert found.method == ("UMAP" if works else "PCA") and found.places_M2.shape == (60, 2)
