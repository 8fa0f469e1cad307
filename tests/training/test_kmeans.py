"""k-means by tensor operations, as on a GPU, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from fastgan.training.kmeans import kmeans, lloyd


def spread(points_LD: Tensor, found_L: Tensor) -> float:
    """The sum of squared distances to the means of clusters."""
    return sum(
        float((points_LD[found_L == k] - points_LD[found_L == k].mean(0)).square().sum()) for k in found_L.unique()
    )


@pytest.mark.parametrize("clusters", [2, 40])
def test_clusters_are_as_tight_as_those_of_scikit_learn(clusters: int) -> None:
    random = torch.Generator().manual_seed(clusters)
    points = torch.randn(30, 8, generator=random)[torch.randint(0, 30, (1500,), generator=random)]
    points = torch.nn.functional.normalize(points + 0.3 * torch.randn(1500, 8, generator=random))
    ours = np.mean([spread(points, lloyd(points, clusters, seed)) for seed in range(5)])
    theirs = np.mean([KMeans(clusters, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(5)])
    assert ours < 1.03 * theirs


def test_clear_clusters_are_found_and_each_seed_gives_the_same_again() -> None:
    labels = torch.arange(600) % 6
    points = torch.eye(6)[labels] + 0.05 * torch.randn(600, 6, generator=torch.Generator().manual_seed(0))
    found = lloyd(points, 6, 1)
    assert all(len(found[labels == k].unique()) == 1 for k in range(6)) and len(found.unique()) == 6
    assert torch.equal(found, lloyd(points, 6, 1))


def test_fewer_distinct_points_than_clusters() -> None:
    points = torch.eye(3).repeat(10, 1)
    for found in (lloyd(points, 8, 0), torch.from_numpy(kmeans(points, 8, 0))):
        assert len(found.unique()) == 3 and int(found.min()) >= 0 and int(found.max()) < 8
        assert all(len(found[k::3].unique()) == 1 for k in range(3))
