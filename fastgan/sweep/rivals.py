"""Classical clustering of the same images, for the table of worlds: what a user would try before she trains a GAN.

Each rival gets pixels in [0, 1], the number of classes K and a seed, and has one pipeline for all data sets: its
published settings, nothing tuned per set. Each labels the images that it was fitted on and others.

Legend: N training images, M held-out images, P pixels, D components, K classes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.evaluation import metrics
from fastgan.evaluation.evaluator import held_out_row
from fastgan.runtime.environment import environment

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]
Embed = Callable[[Pixels], Any]
Predict = Callable[[Pixels], Any]

COMPONENTS = 50  # of PCA, where images have so many pixels
STARTS = 10  # of k-means and of the Gaussian mixture: the best counts
RIDGES = (1e-6, 1e-4, 1e-2)  # added to covariances, the next where a component has too few images for the one before
UMAP_SETTINGS: dict[str, Any] = {"n_neighbors": 30, "min_dist": 0.0, "n_components": 10}  # umap-learn's for clustering
SMALLEST_CLUSTER = 0.01  # share of the images, for HDBSCAN
SPECTRAL_IMAGES = 10_000  # images that are cut by their graph; the others join their nearest neighbours
VOTERS = 10  # nearest neighbours that label an image


def label(method: str, train_NP: Pixels, held_MP: Pixels, classes: int, seed: int) -> tuple[Labels, Labels]:
    """Fit one of RIVALS: the cluster of every training and of every held-out image, of which there may be none."""
    embed, cluster = RIVALS[method]
    with _own_threads():
        train_ND, embed_held = embed(train_NP, seed)
        found_N, predict = cluster(train_ND, classes, seed)
        found_M = predict(embed_held(held_MP)) if len(held_MP) else found_N[:0]
    return found_N.astype(np.int64), found_M.astype(np.int64)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Within, libraries keep to the number of threads of torch; it is restored, since importing UMAP raises it."""
    count = torch.get_num_threads()
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(count)


def row(method: str, config: TrainConfig, images: ImageSet, held_out: ImageSet | None) -> dict[str, Any]:
    """Fit a rival and score it: what a sweep keeps of it, in the form of a trained run's row.

    Args:
        config: of the run in whose place it stands: its number of codes, seed and epochs.
        images: the training images; their labels serve scoring only.
    """
    begin = time.perf_counter()
    held = images.images[:0] if held_out is None else held_out.images
    found = label(method, _pixels(images.images), _pixels(held), config.classes, config.seed)
    codes, held_codes = (torch.from_numpy(x) for x in found)
    seconds = time.perf_counter() - begin
    assert images.labels is not None
    scores = metrics.clustering(codes, images.labels, int(codes.max()) + 1, images.label_count)
    figures = {f"cluster_{name}": value for name, value in scores.items()}
    figures |= {"clusters": float(len(torch.unique(codes))), "train_seconds": seconds}
    if held_out is not None:
        figures |= held_out_row(held_codes, held_out, images, int(max(codes.max(), held_codes.max())) + 1)
    about = environment(torch.device("cpu"))
    del about["command"]  # as in every row: paths of one machine
    return {
        "settings": {"method": method, "classes": config.classes, "seed": config.seed},
        "environment": about,
        "evaluations": {str(config.epochs): figures},
        "train_seconds": seconds,
    }


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


def _pca(train_NP: Pixels, seed: int) -> tuple[Pixels, Embed]:
    """The first principal components."""
    model = PCA(min(COMPONENTS, *train_NP.shape), random_state=seed).fit(train_NP)
    return model.transform(train_NP), model.transform


def _umap(train_NP: Pixels, seed: int) -> tuple[Pixels, Embed]:
    """UMAP's embedding."""
    import umap

    def quietly(call: Embed) -> Embed:
        def quiet(pixels_NP: Pixels) -> Any:
            with warnings.catch_warnings():  # that a seed makes it single-threaded, and what its packages deprecate
                warnings.simplefilter("ignore")
                return call(pixels_NP)

        return quiet

    model = umap.UMAP(**UMAP_SETTINGS, random_state=seed)
    quietly(model.fit)(train_NP)
    return model.embedding_, quietly(model.transform)


def _kmeans(train_ND: Pixels, classes: int, seed: int) -> tuple[Labels, Predict]:
    """K-means."""
    model = KMeans(classes, n_init=STARTS, random_state=seed).fit(train_ND)
    return model.labels_, model.predict


def _mixture(train_ND: Pixels, classes: int, seed: int) -> tuple[Labels, Predict]:
    """A Gaussian mixture with full covariances."""
    for ridge in RIDGES:
        model = GaussianMixture(classes, n_init=STARTS, random_state=seed, reg_covar=ridge)
        try:
            model.fit(train_ND)
            break
        except ValueError:  # a covariance that has no inverse
            if ridge == RIDGES[-1]:
                raise
    return model.predict(train_ND), model.predict


def _spectral(train_ND: Pixels, classes: int, seed: int) -> tuple[Labels, Predict]:
    """Normalised spectral clustering of a graph of nearest neighbours."""
    chosen_LD = train_ND[np.random.default_rng(seed).permutation(len(train_ND))[:SPECTRAL_IMAGES]]
    model = SpectralClustering(
        classes, affinity="nearest_neighbors", n_neighbors=VOTERS, assign_labels="cluster_qr", random_state=seed
    )
    with warnings.catch_warnings():  # a graph of several pieces is what clusters are
        warnings.simplefilter("ignore", UserWarning)
        found_L = model.fit_predict(chosen_LD)
    vote = KNeighborsClassifier(VOTERS).fit(chosen_LD, found_L)
    return vote.predict(train_ND), vote.predict


def _hdbscan(train_ND: Pixels, classes: int, seed: int) -> tuple[Labels, Predict]:
    """HDBSCAN, which finds the number of clusters. What it calls noise joins the nearest cluster."""
    found_N = HDBSCAN(min_cluster_size=max(2, round(SMALLEST_CLUSTER * len(train_ND))), copy=True).fit_predict(train_ND)
    known_N = found_N >= 0
    if not known_N.any():
        return np.zeros_like(found_N), lambda others_MD: np.zeros(len(others_MD), found_N.dtype)
    nearest = KNeighborsClassifier(1).fit(train_ND[known_N], found_N[known_N])
    if not known_N.all():
        found_N[~known_N] = nearest.predict(train_ND[~known_N])
    return found_N, nearest.predict


RIVALS: dict[str, tuple[Callable[[Pixels, int], tuple[Pixels, Embed]], Callable[..., tuple[Labels, Predict]]]] = {
    "kmeans": (_pca, _kmeans),
    "pca-gmm": (_pca, _mixture),
    "spectral": (_pca, _spectral),
    "umap-kmeans": (_umap, _kmeans),
    "umap-gmm": (_umap, _mixture),
    "umap-hdbscan": (_umap, _hdbscan),
}
"""The methods by the names of the table: an embedding of the pixels and a clustering of that."""
