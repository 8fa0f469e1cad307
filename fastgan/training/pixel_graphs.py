"""Which images look alike by pixels, whatever transform lies between them: graphs beside those of Q's embedding.

Two images of one class may be far apart by pixels because one is turned. An image's neighbours are therefore those of
which some view, the image itself or a transform of it, is nearest. Of the ten nearest landmarks by pixels 91% are of
the same digit, with eight views 94%, with 24 of them 95% (MNIST's split 13).

Legend: N images, L landmarks, B some of them, V views, P pixels, CHW an image.
"""

from __future__ import annotations

import torch
from scipy import sparse
from torch import Tensor

from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.seeding import stream_seed
from fastgan.training import spectral
from fastgan.training.neighbours import BATCH, SIDE, nearest_to_views, pooled


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
            views = self._views(images_NCHW, chosen_L)
            count = min(neighbours, len(chosen_L) - 1)
            self._found[name] = spectral.affinities(*nearest_to_views(views[0], views, count))
        return self._found[name]

    def _views(self, images_NCHW: Tensor, chosen_L: Tensor) -> Tensor:
        """Each view's unit vectors, centred, float32 [V, L, P]."""
        device = images_NCHW.device
        draw = TensorTransform(
            self.transform, torch.tensor(stream_seed(self.seed, "pixel-views"), device=device), torch.float32
        )
        views_VLP: Tensor | None = None  # made once and filled: with the parts beside it, it would be there three times
        for start in range(0, len(chosen_L), BATCH):
            images = images_NCHW[chosen_L[start : start + BATCH].to(device)]
            if min(images.shape[2:]) > 2 * SIDE:  # what is lost is lost in the comparison anyhow
                smaller = torch.nn.functional.adaptive_avg_pool2d(images.float(), 2 * SIDE)
                images = smaller.round().to(torch.uint8)
            for view in range(self.views):
                if view == 0:
                    seen_BP = pooled(images.float() / 127.5 - 1.0)
                else:
                    draw.start(images, view * len(chosen_L) + start)
                    seen_BP = pooled(draw.finish())
                if views_VLP is None:
                    views_VLP = seen_BP.new_empty(self.views, len(chosen_L), seen_BP.shape[1])
                views_VLP[view, start : start + BATCH] = seen_BP
        assert views_VLP is not None
        views_VLP -= views_VLP[0].mean(0)
        for view_LP in views_VLP:
            torch.nn.functional.normalize(view_LP, dim=1, out=view_LP)
        return views_VLP


def pixel_graphs(config: TrainConfig) -> PixelGraphs | None:
    """Those of a run, None where its settings leave pixels out."""
    views = config.grouping.pixel_views
    return PixelGraphs(config.transform, views, config.seed) if views else None
