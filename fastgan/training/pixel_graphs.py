"""Which images look alike by pixels, whatever transform lies between them: graphs beside those of Q's embedding.

Two images of one class may be far apart by pixels because one is turned. An image's neighbours are therefore those of
which some view, the image itself or a transform of it, is nearest. Of the ten nearest landmarks by pixels 91% are of
the same digit, with eight views 94%, with 24 of them 95% (MNIST's split 13).

Legend: N images, L landmarks, B some of them, V views, P pixels, CHW an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from scipy import sparse
from torch import Tensor

from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.data.neighbours import AT_ONCE, BATCH, SIDE, centred, nearest_to_views, pooled
from fastgan.seeding import stream_seed
from fastgan.training import spectral


class PixelGraphs:
    """The graphs of a run's samples of landmarks, each made once: pixels do not change while Q learns.

    Args:
        transform: the run's identity-preserving transform.
        views: of each landmark, itself included.
        seed: of the transforms.
    """

    def __init__(self, transform: TransformConfig, views: int, seed: int) -> None:
        self.transform, self.views, self.seed = transform, views, seed
        self._found: dict[str, sparse.csr_matrix] = {}

    def of(self, name: str, images_NCHW: Tensor, chosen_L: Tensor, neighbours: int) -> sparse.csr_matrix:
        """Symmetric affinities [L, L] of some of the images.

        Args:
            name: of the sample; the graph is that of its first call.
            images_NCHW: uint8, on any device.
            chosen_L: which of them, int64 on the CPU.
            neighbours: of each; fewer where there are fewer images.
        """
        if name not in self._found:
            plain_LP = self._plain(images_NCHW, chosen_L)
            mean_P = plain_LP.mean(0)
            unit_LP = centred(plain_LP, mean_P)
            views = self._views(images_NCHW, chosen_L, unit_LP, mean_P)
            self._found[name] = spectral.affinities(
                *nearest_to_views(unit_LP, views, min(neighbours, len(unit_LP) - 1))
            )
        return self._found[name]

    def _plain(self, images_NCHW: Tensor, chosen_L: Tensor) -> Tensor:
        """The landmarks themselves, float32 [L, P]."""
        plain_LP = torch.empty(0)
        for start in range(0, len(chosen_L), BATCH):
            part_BP = pooled(_smaller(images_NCHW, chosen_L[start : start + BATCH]).float() / 127.5 - 1.0)
            if start == 0:  # made once and filled, as in `neighbours.pixels`
                plain_LP = part_BP.new_empty(len(chosen_L), part_BP.shape[1])
            plain_LP[start : start + BATCH] = part_BP
        return plain_LP

    def _views(self, images_NCHW: Tensor, chosen_L: Tensor, unit_LP: Tensor, mean_P: Tensor) -> Iterator[Tensor]:
        """All views of some landmarks at a time, unit vectors [V, B, P]: those of all would be the most that a run of
        many images holds."""
        device = images_NCHW.device
        draw = TensorTransform(
            self.transform, torch.tensor(stream_seed(self.seed, "pixel-views"), device=device), torch.float32
        )
        for start in range(0, len(chosen_L), BATCH):
            images = _smaller(images_NCHW, chosen_L[start : start + BATCH])
            views_VBP = unit_LP.new_empty(self.views, len(images), unit_LP.shape[1])
            views_VBP[0] = unit_LP[start : start + BATCH]
            for view in range(1, self.views):
                draw.start(images, view * len(chosen_L) + start)
                views_VBP[view] = centred(pooled(draw.finish()), mean_P)
            yield views_VBP


def _smaller(images_NCHW: Tensor, index_B: Tensor) -> Tensor:
    """Some of the images, uint8, of twice the side of the comparison at most: what is lost is lost there anyhow."""
    images = images_NCHW[index_B.to(images_NCHW.device)]
    if min(images.shape[2:]) <= 2 * SIDE:
        return images
    smaller = images.new_empty(*images.shape[:2], 2 * SIDE, 2 * SIDE)
    for some, own in zip(images.split(AT_ONCE), smaller.split(AT_ONCE), strict=True):
        own.copy_(torch.nn.functional.adaptive_avg_pool2d(some.float(), 2 * SIDE).round())
    return smaller


def pixel_graphs(config: TrainConfig) -> PixelGraphs | None:
    """Those of a run, None where its settings leave pixels out."""
    views = config.grouping.pixel_views
    return PixelGraphs(config.transform, views, config.seed) if views else None
