"""Classical clustering of the same images, for the table of worlds: what a user would try before she trains a GAN.

Each rival gets pixels in [0, 1], the number of classes K and a seed, and has one pipeline for all data sets: its
published settings, nothing tuned per set. Each labels the images that it was fitted on and others.

Legend: N training images, M held-out images, P pixels, D components, K classes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation import metrics
from fastgan.runtime.environment import environment

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]

COMPONENTS = 50  # of PCA, where images have so many pixels
STARTS = 10  # of k-means and of the Gaussian mixture: the best counts
UMAP_SETTINGS: dict[str, Any] = {"n_neighbors": 30, "min_dist": 0.0, "n_components": 10}  # umap-learn's for clustering
SMALLEST_CLUSTER = 0.01  # share of the images, for HDBSCAN
SPECTRAL_IMAGES = 10_000  # images that are cut by their graph; the others join their nearest neighbours
VOTERS = 10  # nearest neighbours that label an image


def kmeans(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """K-means on PCA's components."""
    return _kmeans(*_pca(train_NP, held_MP, seed), classes, seed)


def pca_gmm(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """A Gaussian mixture with full covariances on PCA's components."""
    return _mixture(*_pca(train_NP, held_MP, seed), classes, seed)


def spectral(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """Normalised spectral clustering of a graph of nearest neighbours on PCA's components."""
    train, held = _pca(train_NP, held_MP, seed)
    chosen = np.random.default_rng(seed).permutation(len(train))[:SPECTRAL_IMAGES]
    model = SpectralClustering(
        classes, affinity="nearest_neighbors", n_neighbors=VOTERS, assign_labels="cluster_qr", random_state=seed
    )
    with warnings.catch_warnings():  # a graph of several pieces is what clusters are
        warnings.simplefilter("ignore", UserWarning)
        found = model.fit_predict(train[chosen])
    vote = KNeighborsClassifier(VOTERS).fit(train[chosen], found)
    return _int(vote.predict(train)), _int(vote.predict(held)) if len(held) else _none()


def umap_kmeans(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """K-means on UMAP's embedding."""
    return _kmeans(*_umap(train_NP, held_MP, seed), classes, seed)


def umap_gmm(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """A Gaussian mixture with full covariances on UMAP's embedding."""
    return _mixture(*_umap(train_NP, held_MP, seed), classes, seed)


def umap_hdbscan(train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """HDBSCAN on UMAP's embedding: it finds the number of clusters. What it calls noise joins the nearest cluster."""
    train, held = _umap(train_NP, held_MP, seed)
    found = HDBSCAN(min_cluster_size=max(2, round(SMALLEST_CLUSTER * len(train))), copy=True).fit_predict(train)
    known = found >= 0
    if not known.any():
        return np.zeros(len(train), np.int64), np.zeros(len(held), np.int64)
    nearest = KNeighborsClassifier(1).fit(train[known], found[known])
    labels = _int(found)
    if not known.all():
        labels[~known] = nearest.predict(train[~known])
    return labels, _int(nearest.predict(held)) if len(held) else _none()


RIVALS: dict[str, Callable[[Pixels, Pixels, int, int], tuple[Labels, Labels]]] = {
    "kmeans": kmeans,
    "pca-gmm": pca_gmm,
    "spectral": spectral,
    "umap-kmeans": umap_kmeans,
    "umap-gmm": umap_gmm,
    "umap-hdbscan": umap_hdbscan,
}
"""The methods by the names of the table: each returns the cluster of every training and of every held-out image."""


def row(method: str, config: TrainConfig, images: ImageSet, held_out: ImageSet | None) -> dict[str, Any]:
    """Fit a rival and score it: what a sweep keeps of it, in the form of a trained run's row.

    Args:
        config: of the run in whose place it stands: its number of codes, seed and epochs.
        images: the training images; their labels serve scoring only.
    """
    begin = time.perf_counter()
    held = images.images[:0] if held_out is None else held_out.images
    found = RIVALS[method](_pixels(images.images), _pixels(held), config.classes, config.seed)
    codes, held_codes = (torch.from_numpy(x) for x in found)
    seconds = time.perf_counter() - begin
    assert images.labels is not None
    scores = metrics.clustering(codes, images.labels, int(codes.max()) + 1, images.label_count)
    figures = {f"cluster_{name}": value for name, value in scores.items()}
    figures |= {"clusters": float(len(torch.unique(codes))), "train_seconds": seconds}
    if held_out is not None:
        figures |= on_held_out(held_codes, held_out, images, int(max(codes.max(), held_codes.max())) + 1)
    about = environment(torch.device("cpu"))
    del about["command"]  # as in every row: paths of one machine
    return {
        "settings": {"method": method, "classes": config.classes, "seed": config.seed},
        "environment": about,
        "evaluations": {str(config.epochs): figures},
        "train_seconds": seconds,
    }


def on_held_out(codes_M: Tensor, held_out: ImageSet, train: ImageSet, codes: int) -> dict[str, float]:
    """Figures of held-out real images; the rarest class is that of the training images."""
    assert held_out.labels is not None and train.labels is not None
    rarest = int(torch.bincount(train.labels, minlength=train.label_count).argmin())
    found = metrics.clustering(codes_M, held_out.labels, codes, held_out.label_count, rarest=rarest)
    del found["share_error"]  # the classes have other frequencies there
    return {f"held_out_{name}": value for name, value in found.items()}


def _pixels(images_NCHW: Tensor) -> Pixels:
    """uint8 images as float32 rows in [0, 1]."""
    pixels: Pixels = images_NCHW.cpu().flatten(1).numpy().astype(np.float32) / 255.0
    return pixels


def check(methods: list[str]) -> None:
    """Raise ConfigError where a method needs a package that is missing."""
    if any(name.startswith("umap") for name in methods):
        try:
            import umap  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"--methods {','.join(methods)}: UMAP is not installed ({error}); pip install 'fastgan[rivals]', or "
                "leave its methods out"
            ) from error


def _pca(train_NP: Pixels, held_MP: Pixels, seed: int) -> tuple[Pixels, Pixels]:
    count = min(COMPONENTS, *train_NP.shape)
    model = PCA(count, random_state=seed).fit(train_NP)
    return model.transform(train_NP), model.transform(held_MP) if len(held_MP) else held_MP[:, :count]


def _umap(train_NP: Pixels, held_MP: Pixels, seed: int) -> tuple[Pixels, Pixels]:
    import umap

    with warnings.catch_warnings():  # that a seed makes it single-threaded, and what its dependencies deprecate
        warnings.simplefilter("ignore")
        model = umap.UMAP(**UMAP_SETTINGS, random_state=seed).fit(train_NP)
        held = model.transform(held_MP) if len(held_MP) else held_MP[:, : UMAP_SETTINGS["n_components"]]
    return model.embedding_, held


def _kmeans(train_ND: Pixels, held_MD: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    model = KMeans(classes, n_init=STARTS, random_state=seed).fit(train_ND)
    return _int(model.labels_), _int(model.predict(held_MD)) if len(held_MD) else _none()


def _mixture(train_ND: Pixels, held_MD: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    model = GaussianMixture(classes, n_init=STARTS, random_state=seed).fit(train_ND)
    return _int(model.predict(train_ND)), _int(model.predict(held_MD)) if len(held_MD) else _none()


def _int(labels: NDArray[Any]) -> Labels:
    return labels.astype(np.int64)


def _none() -> Labels:
    return np.zeros(0, np.int64)
