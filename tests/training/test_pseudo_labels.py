"""Groups of images from nearest neighbours: found where k-means fails, matched to the codes, reproducible."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from fastgan.config.schema import GroupingConfig
from fastgan.data.neighbours import nearest
from fastgan.evaluation.metrics import clustering
from fastgan.training.pixel_votes import decide_disputed, move_islands
from fastgan.training.pseudo_labels import _shared_information, _stable, find_groups
from fastgan.training.spectral import _between, _merge, neighbour_graph, normalised_cut, two_way_cut

CONFIG = GroupingConfig(landmarks=1000)


def rings(sizes: list[int], seed: int = 0, width: float = 0.3) -> tuple[Tensor, Tensor]:
    """Classes as arcs on a sphere in 16 dimensions: long, thin and of unequal sizes. Returns embeddings and classes."""
    random = torch.Generator().manual_seed(seed)
    points, labels = [], []
    for label, size in enumerate(sizes):
        centre, along = torch.randn(2, 16, generator=random)
        place = 2.0 * torch.rand(size, 1, generator=random) - 1.0
        points.append(4.0 * centre + 2.0 * place * along + width * torch.randn(size, 16, generator=random))
        labels.append(torch.full((size,), label))
    order = torch.randperm(sum(sizes), generator=random)
    return torch.cat(points)[order], torch.cat(labels)[order]


def accuracy(found: Tensor, labels: Tensor, classes: int) -> float:
    return clustering(found, labels, classes, classes)["accuracy"]


def test_finds_long_classes_of_unequal_sizes() -> None:
    """Twelve times as many images in one class as in another; k-means on the same embeddings cuts the large ones."""
    plain = []
    for seed in range(4):
        embed, labels = rings([600, 50, 300, 90, 400, 120], seed)
        assert accuracy(find_groups(embed, torch.zeros_like(labels), 6, CONFIG, seed), labels, 6) > 0.98, seed
        unit = torch.nn.functional.normalize(embed, dim=1).numpy()
        found = torch.from_numpy(KMeans(6, n_init=3, random_state=seed).fit_predict(unit)).long()
        plain.append(accuracy(found, labels, 6))
    assert np.mean(plain) < 0.95


def test_groups_are_matched_to_the_codes() -> None:
    """A group gets the code that most of its images have."""
    embed, labels = rings([300, 200, 100, 150])
    for names in itertools.islice(itertools.permutations(range(4)), 0, 24, 5):
        codes = torch.tensor(names)[labels]
        codes[::10] = 0  # some are wrong
        found = find_groups(embed, codes, 4, CONFIG, 0)
        assert (found == torch.tensor(names)[labels]).double().mean() > 0.98


def test_groups_depend_on_the_seed_and_not_on_global_generators() -> None:
    embed, labels = rings([300, 200, 500, 400])
    first = find_groups(embed, labels, 4, CONFIG, 3)
    torch.manual_seed(9)
    np.random.seed(9)
    again = find_groups(embed, labels, 4, CONFIG, 3)
    assert torch.equal(first, again)
    assert first.shape == labels.shape and first.dtype == torch.int64


@pytest.mark.parametrize("landmarks", [100, 400, 5000])
def test_few_landmarks_label_all_images(landmarks: int) -> None:
    embed, labels = rings([900, 500, 700])
    config = dataclasses.replace(CONFIG, landmarks=landmarks)
    found = find_groups(embed, labels, 3, config, 0)
    assert accuracy(found, labels, 3) > 0.97


@pytest.mark.parametrize("neighbours", [1, 5, 40])
def test_any_number_of_neighbours(neighbours: int) -> None:
    embed, labels = rings([60, 80, 100])
    found = find_groups(embed, labels, 3, dataclasses.replace(CONFIG, neighbours=neighbours), 0)
    assert found.min() >= 0 and found.max() < 3


@pytest.mark.parametrize("count", [12, 30])
def test_very_few_images(count: int) -> None:
    embed = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    found = find_groups(embed, torch.zeros(count, dtype=torch.int64), 10, CONFIG, 0)
    assert found.shape == (count,) and found.min() >= 0 and found.max() < 10


def test_duplicate_images_are_grouped() -> None:
    """An embedding that has collapsed gives some grouping, not an error: training may still recover."""
    embed = torch.ones(200, 8)
    embed[:50, 0] = -1.0
    found = find_groups(embed, torch.zeros(200, dtype=torch.int64), 10, CONFIG, 0)
    assert found.min() >= 0 and found.max() < 10


def test_nearest_equals_its_definition() -> None:
    embed, _ = rings([40, 50])
    unit = torch.nn.functional.normalize(embed, dim=1)
    similarity, index = nearest(unit, unit, 5, skip_first=True)
    full = unit @ unit.T
    full.fill_diagonal_(-2.0)
    expected = full.topk(5)
    torch.testing.assert_close(similarity, expected.values)
    assert torch.equal(index, expected.indices)


def merged(graph: sparse.csr_matrix, part_L: NDArray[np.int64], classes: int, linkage: float) -> NDArray[np.int64]:
    sizes = np.bincount(part_L).astype(float)
    return _merge(_between(graph, part_L), sizes, classes, (linkage, linkage))[part_L]


def test_parts_with_most_affinity_an_image_pair_merge_first() -> None:
    """Four parts in a row: 0-1 share 6 over 2x1 pairs, 1-2 share 2 over 1x1, 2-3 share 5 over 1x3."""
    part = np.array([0, 0, 1, 2, 3, 3, 3])
    links = {(0, 2): 3, (1, 2): 3, (2, 3): 2, (3, 4): 2, (3, 5): 2, (3, 6): 1}
    dense = np.zeros((7, 7))
    for (a, b), weight in links.items():
        dense[a, b] = dense[b, a] = weight
    graph = sparse.csr_matrix(dense)
    assert same(merged(graph, part, 3, 1.0), [0, 0, 0, 1, 2, 2, 2])  # 3 a pair, against 2 and 5/3
    assert same(merged(graph, part, 2, 1.0), [0, 0, 0, 1, 1, 1, 1])  # 5/3 a pair, against 2/3 now that 0 and 1 are one
    assert same(merged(graph, part, 1, 1.0), [0] * 7)
    assert same(merged(graph, part, 4, 1.0), part.tolist())


def test_linkage_decides_between_a_rare_class_and_two_halves_of_a_frequent_one() -> None:
    """Parts 0 and 1, 100 images each, are halves of one class; part 2, of 20 images, touches part 1 in a few places."""
    part = np.repeat([0, 1, 2], [100, 100, 20])
    affinity_PP = np.array([[9.0, 0.0080, 0.0], [0.0080, 9.0, 0.0100], [0.0, 0.0100, 9.0]])  # per image pair
    graph = sparse.csr_matrix(affinity_PP[part][:, part])
    rare_lost, kept = np.repeat([0, 1, 1], [100, 100, 20]), np.repeat([0, 0, 1], [100, 100, 20])
    assert same(merged(graph, part, 2, 1.0), rare_lost.tolist())
    assert same(merged(graph, part, 2, 0.75), kept.tolist())


def test_normalised_cut_by_hand() -> None:
    """Two pairs of images: 3 within each, 1 between them."""
    graph = sparse.csr_matrix(np.array([[0, 3, 1, 0], [3, 0, 0, 0], [1, 0, 0, 3], [0, 0, 3, 0]], dtype=float))
    assert normalised_cut(graph, np.array([0, 0, 1, 1])) == pytest.approx(1 / 7 + 1 / 7)
    assert normalised_cut(graph, np.array([0, 1, 1, 0])) == pytest.approx(2.0)
    assert normalised_cut(graph, np.array([0, 0, 0, 0])) == 0.0


def test_two_way_cut_by_hand() -> None:
    """A triangle and a pair, joined by one weak edge: the pair is the smaller side.

    It has 2 x 4.5 within it and 1 to the triangle: a tenth of its affinity leads out.
    """
    dense = np.zeros((5, 5))
    for a, b, weight in ((0, 2, 5.0), (2, 4, 5.0), (0, 4, 5.0), (1, 3, 4.5), (3, 4, 1.0)):
        dense[a, b] = dense[b, a] = weight
    side, share = two_way_cut(sparse.csr_matrix(dense))
    assert np.flatnonzero(side).tolist() == [1, 3] and share == pytest.approx(0.1)
    dense[3, 4] = dense[4, 3] = 0.0
    side, share = two_way_cut(sparse.csr_matrix(dense))
    assert np.flatnonzero(side).tolist() == [1, 3] and share == 0.0


def same(found: NDArray[np.int64], expected: list[int]) -> bool:
    """Whether two groupings differ only in their names."""
    return clustering(torch.from_numpy(found), torch.tensor(expected), 7, 7)["accuracy"] == 1.0


def test_disputed_images_get_no_group() -> None:
    """Of ten groupings one swaps names, one loses class 2, four move five images; a whole class is never disputed."""
    truth = np.repeat([0, 1, 2], [50, 40, 10])
    found = [truth.copy() for _ in range(10)]
    found[0] = np.array([1, 2, 0])[truth]
    found[1][truth == 2] = 1
    for moved in found[2:6]:
        moved[:5] = 1
    labels = _stable(found, truth, 3, 0.9)
    assert (labels[:5] == -1).all() and (labels[5:] == truth[5:]).all()
    assert same(_stable(found, truth, 3, 0.5), truth.tolist())


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_labelled_is_right_more_often(seed: int) -> None:
    """Wide classes that touch: a few images at the boundaries are left out, and the errors with them."""
    embed, labels = rings([600, 60, 500, 400], seed=seed, width=2.5)
    config = dataclasses.replace(CONFIG, landmarks=400, samples=3, stability=0.9)
    found = find_groups(embed, labels, 4, config, 0)
    whole = find_groups(embed, labels, 4, dataclasses.replace(config, stability=0.0), 0)
    known = found >= 0
    assert (whole >= 0).all() and 0.95 < known.double().mean() < 1.0
    wrong, of_all = (found[known] != labels[known]).double().mean(), (whole != labels).double().mean()
    assert wrong < 0.6 * of_all


def test_shared_information_is_normalised_mutual_information() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.integers(0, 5, 300), random.integers(0, 4, 300)
    theirs[:200] = ours[:200] % 4
    expected = normalized_mutual_info_score(ours, theirs)
    found = _shared_information([ours, theirs, ours, np.zeros_like(ours)], 5)
    assert found[0, 1] == found[1, 0] == pytest.approx(expected)
    assert found[0, 2] == pytest.approx(1.0) and found[0, 3] == 0.0 and not np.diag(found).any()


def test_disputed_images_are_decided_by_their_pixels_where_these_are_clear() -> None:
    """Twenty images like those of group 1, twenty between both groups, and nothing else changes."""
    random = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 255, (2, 1, 28, 28), generator=random).float()
    labels = torch.arange(200) % 2
    images = patterns[labels]
    images[20:40] = patterns.mean(0)
    images = (images + 20 * torch.rand(images.shape, generator=random)).clamp(0, 255).to(torch.uint8)
    groups = labels.numpy().copy()
    groups[:40] = -1
    found = decide_disputed(groups, images, 0.95, 0)
    assert np.array_equal(found[:20], labels[:20].numpy()) and np.array_equal(found[40:], groups[40:])
    assert (found[20:40] == -1).any()
    assert (decide_disputed(np.full(200, -1), images, 0.7, 0) == -1).all()


def test_what_an_embedding_tears_off_goes_where_it_looks_like() -> None:
    """A part of class 0 lies near class 1 in the embedding, disputed; its pixels are class 0's."""
    embed, labels = rings([600, 60, 500, 400], seed=2, width=2.5)
    random = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 255, (4, 1, 28, 28), generator=random).float()
    images = (patterns[labels] + 60 * torch.rand(len(labels), 1, 28, 28, generator=random)).clamp(0, 255)
    config = dataclasses.replace(CONFIG, landmarks=400, samples=3, stability=0.9, pixel_vote=0.7)
    without = find_groups(embed, labels, 4, config, 0)
    found = find_groups(embed, labels, 4, config, 0, images.to(torch.uint8))
    disputed = without < 0
    assert int(disputed.sum()) > 10 and torch.equal(found[~disputed], without[~disputed])
    assert (found[disputed] == labels[disputed]).double().mean() > 0.95


def islands(of: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, classes and images: classes 0 and 1, and an island on the edge of class 1 for each entry of `of`.

    An entry is the class that the island's pixels are of; 2 is halfway between both.
    """
    random = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 255, (2, 1, 28, 28), generator=random).float()
    patterns = torch.cat([patterns, patterns.mean(0, keepdim=True)])
    shown = torch.cat([torch.full((400,), 0), torch.full((400,), 1), *(torch.full((100,), kind) for kind in of)])
    centre = torch.tensor([3.0, 0.0, *(0.5 + 0.5 * island for island in range(len(of)))])  # radians
    angle = torch.cat([centre[:2].repeat_interleave(400), centre[2:].repeat_interleave(100)])
    embed = torch.cat([angle.cos()[:, None], angle.sin()[:, None], torch.zeros(len(angle), 6)], dim=1)
    embed = torch.nn.functional.normalize(embed + 0.06 * torch.randn(embed.shape, generator=random))
    images = patterns[shown] + 90 * torch.rand(len(shown), 1, 28, 28, generator=random)
    return embed, shown, images.clamp(0, 255).to(torch.uint8)


def test_an_island_goes_where_its_pixels_say() -> None:
    """Of three islands of group 1, the one that looks like group 0 moves, with the images that are no landmarks."""
    embed, shown, images = islands([0, 1, 2])
    groups = np.repeat([0, 1], [400, 700])
    landmarks = torch.randperm(len(shown), generator=torch.Generator().manual_seed(1))[:800]
    graph = neighbour_graph(embed[landmarks], 10)
    found = move_islands(groups, images, embed, landmarks, graph, 10, 2)
    assert np.array_equal(found, np.where(np.arange(1100) // 100 == 8, 0, groups))
    again = move_islands(found, images, embed, landmarks, graph, 10, 2)
    assert np.array_equal(again, found)


def test_islands_of_no_group_and_of_few_images_stay() -> None:
    embed, _, images = islands([0])
    groups = np.repeat([0, 1, -1], [400, 400, 100])
    found = move_islands(groups, images, embed, torch.arange(900), neighbour_graph(embed, 10), 10, 2)
    assert np.array_equal(found, groups)
    found = move_islands(groups, images, embed, torch.arange(900), neighbour_graph(embed, 10), 10, 3)  # no image in 2
    assert np.array_equal(found, groups)
    few = torch.cat([torch.arange(800), torch.arange(800, 815)])
    groups = np.repeat([0, 1], [400, 500])
    found = move_islands(groups, images, embed, few, neighbour_graph(embed[few], 10), 10, 2)
    assert np.array_equal(found, groups)


def literal_merge(affinity_PP: NDArray[np.float64], sizes: list[int], classes: int, linkage: float) -> list[set[int]]:
    """Agglomeration as it is defined: all affinities between groups anew after each merge."""
    groups = [{part} for part in range(len(sizes))]
    while len(groups) > classes:
        closest, pair = -1.0, (0, 1)
        for i, j in itertools.combinations(range(len(groups)), 2):
            size_i, size_j = (sum(sizes[part] for part in groups[k]) for k in (i, j))
            total = sum(affinity_PP[a, b] for a in groups[i] for b in groups[j])
            if total / (size_i * size_j) ** linkage > closest + 1e-12:
                closest, pair = total / (size_i * size_j) ** linkage, (i, j)
        groups[pair[0]] |= groups.pop(pair[1])
    return groups


@pytest.mark.parametrize("linkage", [1.0, 0.75])
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_merged_as_by_affinities_that_are_all_computed_anew(seed: int, linkage: float) -> None:
    random = np.random.default_rng(seed)
    part_L = np.concatenate([np.arange(14), random.integers(0, 14, 60)])
    one_way = sparse.random(74, 74, 0.2, random_state=seed)
    graph = (one_way + one_way.T).tocsr()
    member_PL = (part_L == np.arange(14)[:, None]).astype(float)
    expected = literal_merge(member_PL @ graph.toarray() @ member_PL.T, np.bincount(part_L).tolist(), 4, linkage)
    found_L = merged(graph, part_L, 4, linkage)
    assert {frozenset(part_L[found_L == group].tolist()) for group in range(4)} == set(map(frozenset, expected))
