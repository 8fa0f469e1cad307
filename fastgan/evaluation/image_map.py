"""A map of images: places in the plane where images that Q finds alike lie close together.

Legend: N images, M of them that are on the map, D embedding.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.seeding import shuffled, stream_seed

MOST = 2000  # images on a map
OF_EACH = 5  # images of each group, at least, that are on it
FEWEST_FOR_UMAP = 50


@dataclass(frozen=True)
class ImageMap:
    """index_M: images, int64; places_M2: where they lie, float32 in [0, 1]; method: "UMAP" or "PCA"."""

    index_M: Tensor
    places_M2: Tensor
    method: str


def image_map(embeddings_ND: Tensor, codes_N: Tensor, seed: int, most: int = MOST) -> ImageMap:
    """Place images by their embeddings, by UMAP where umap-learn is installed, else by PCA.

    Of more than `most` images some are drawn by the seed, at least OF_EACH of each group as far as there is room.
    """
    index_M = _drawn(codes_N, seed, most)
    unit_MD = F.normalize(embeddings_ND[index_M].float(), dim=1)
    places_M2 = _umap(unit_MD, seed) if len(index_M) >= FEWEST_FOR_UMAP else None
    method = "PCA" if places_M2 is None else "UMAP"
    if places_M2 is None:
        places_M2 = _pca(unit_MD)
    # A few far places would leave all others no room.
    low, high = places_M2.quantile(torch.tensor([0.005, 0.995]), dim=0)
    places_M2 = ((places_M2 - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return ImageMap(index_M, places_M2, method)


def _drawn(codes_N: Tensor, seed: int, most: int) -> Tensor:
    """The images on the map, sorted by index."""
    order_N = shuffled(len(codes_N), seed, "image-map")
    if len(codes_N) <= most:
        return order_N.sort().values
    seen = Counter[int]()
    wanted = torch.zeros(len(codes_N), dtype=torch.bool)
    for place, code in enumerate(codes_N[order_N].tolist()):
        seen[code] += 1
        wanted[place] = seen[code] <= OF_EACH
    return torch.cat([order_N[wanted], order_N[~wanted]])[:most].sort().values


def _pca(unit_MD: Tensor) -> Tensor:
    """The first two principal components; of each, the axis's largest entry is positive."""
    unit_MD = unit_MD - unit_MD.mean(0)
    _, axes_DD = torch.linalg.eigh(unit_MD.T @ unit_MD)
    axes_D2 = axes_DD[:, [-1, -2]] if axes_DD.shape[1] > 1 else axes_DD.expand(-1, 2)
    largest_2 = axes_D2.gather(0, axes_D2.abs().argmax(0, keepdim=True))[0]
    return unit_MD @ (axes_D2 * torch.where(largest_2 < 0, -1.0, 1.0))


def _umap(unit_MD: Tensor, seed: int) -> Tensor | None:
    """Places by UMAP; None where it is not installed, or cannot run here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a seed makes it run in one thread, which it warns of
            import umap

            state = stream_seed(seed, "image-map") % 2**32
            apart_MM = (1 - unit_MD @ unit_MD.T).clamp_min(0).fill_diagonal_(0)  # its own take 100 times as long
            places = umap.UMAP(metric="precomputed", random_state=state).fit_transform(apart_MM.numpy())
        return torch.from_numpy(places).float()
    except Exception:  # noqa: BLE001 - a map by PCA serves as well
        return None
