"""One evaluation of a run: the judge's classes of generated images, and Q's codes of the real ones.

Legend: N images, K codes, C real classes, Z noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import metrics
from fastgan.evaluation.judge import real_parts
from fastgan.evaluation.judge_network import Judge
from fastgan.inference.labelling import assign
from fastgan.inference.sampling import Sampler
from fastgan.models.networks import Generator, Networks
from fastgan.seeding import shuffled

PER_CODE = 1000  # generated images of each code for NMI and ENT
DIVERSITY = 10_000  # generated and real images, at most, that the Frechet distance compares
CONTEXT = 1 << 25  # pixel values, at most, that k-means is run on
PAIRWISE = 500  # images of a code or class whose mean pairwise distance is taken


@dataclass(frozen=True)
class Evaluation:
    """row: the figures; counts_KC: the count matrix M, None without a judge; sizes_K: shares of the real images by Q's
    code; codes_N: that code of each, int64 on the CPU."""

    row: dict[str, Any]
    counts_KC: Tensor | None
    sizes_K: Tensor
    codes_N: Tensor


class Evaluator:
    """Evaluates a run repeatedly; what depends only on the real images is computed once.

    Args:
        images: the run's training images, with labels where they are known.
        judge: None where there is none. Without a reliable one, NMI, ENT, prior error, Frechet distance and diversity
            are left out; the accuracy of one that is not reliable is still reported.
    """

    def __init__(self, images: ImageSet, judge: Judge | None, config: TrainConfig, device: torch.device) -> None:
        self.images, self.config, self.device = images, config, device
        self.judge = judge if judge is not None and judge.reliable else None
        self.about_judge: dict[str, Any] = {}
        if judge is not None:
            self.about_judge = {"judge_accuracy": judge.accuracy, "judge_required": judge.required}
        if self.judge is not None:
            index = shuffled(len(images.images), config.seed, "diversity")[:DIVERSITY]
            self.real_classes, self.real_features = self.judge(real_parts(images.images, index))

    def __call__(self, networks: Networks, generator: Generator, prior_K: Tensor) -> Evaluation:
        """Figures of the networks in their present state.

        generator: draws the images (networks.generator or its average); prior_K: probabilities.
        """
        prior_K = prior_K.detach().cpu().double()
        codes, confidences = assign(networks, self.images.images, self.config, self.device)
        sizes = metrics.cluster_sizes(codes, self.config.classes)
        row: dict[str, Any] = {
            "effective_classes": metrics.effective_classes(prior_K),
            "confidence": float(confidences.mean()),
            "unused_codes": len(metrics.unused_codes(sizes)),
            "prior_to_cluster_sizes": float((sizes - prior_K).square().mean().sqrt()),
        }
        labels = self.images.labels
        if labels is not None:
            found = metrics.clustering(codes, labels, self.config.classes, self.images.label_count)
            row |= {f"cluster_{name}": value for name, value in found.items()}
            frequencies = metrics.cluster_sizes(labels, self.images.label_count)
            counts = metrics.count_matrix(codes, labels, self.config.classes, self.images.label_count)
            row["cluster_prior_error"] = metrics.prior_error(prior_K, frequencies, counts)
        row |= self.about_judge
        judged = self._judge(generator, prior_K, sizes, row) if self.judge is not None else None
        return Evaluation(row, judged, sizes, codes)

    def _judge(self, generator: Generator, prior_K: Tensor, sizes_K: Tensor, row: dict[str, Any]) -> Tensor:
        """Add the figures of generated images, as the judge classifies them, to `row`; returns M."""
        assert self.judge is not None
        classes, codes = self.images.label_count, self.config.classes
        sampler = Sampler(generator, self.config, self.device, "evaluation")
        drawn = torch.arange(codes).repeat_interleave(PER_CODE)
        judged, features = self.judge(sampler.parts(drawn))
        counts = metrics.count_matrix(drawn, judged, codes, classes)
        frequencies = self.images.class_frequencies()
        row |= of_generated(counts, prior_K, frequencies)
        if frequencies is not None:
            row["cluster_size_error"] = metrics.prior_error(sizes_K, frequencies, counts)
            uniform = torch.full_like(frequencies, 1 / classes)
            row["prior_error_uniform"] = float((uniform - frequencies).square().mean().sqrt())
        row |= self._diversity(sampler, prior_K, drawn, features, metrics.match_codes(counts))
        return counts

    def _diversity(
        self, sampler: Sampler, prior_K: Tensor, drawn: Tensor, features: Tensor, matched: Tensor
    ) -> dict[str, Any]:
        """Frechet distance, and how varied each code's images are, relative to the real class that it stands for."""
        count = len(self.real_features)
        # Codes in proportion to the prior, without chance: the k-th quantile belongs to the code it falls on.
        edges = prior_K.cumsum(0)
        codes = torch.searchsorted(edges, (torch.arange(count).double() + 0.5) / count).clamp(max=len(prior_K) - 1)
        assert self.judge is not None
        _, generated = self.judge(sampler.parts(codes, offset=1))
        spread = []
        for code, label in enumerate(matched.tolist()):
            ours = metrics.mean_pairwise_distance(features[drawn == code][:PAIRWISE])
            real = metrics.mean_pairwise_distance(self.real_features[self.real_classes == label][:PAIRWISE])
            spread.append(ours / real if real else math.nan)
        known = [value for value in spread if math.isfinite(value)]
        return {
            "frechet_distance": metrics.frechet_distance(generated, self.real_features),
            "diversity": float(np.mean(known)) if known else math.nan,
            "diversity_lowest": min(known, default=math.nan),
        }


def of_generated(counts_KC: Tensor, prior_K: Tensor, frequencies_C: Tensor | None) -> dict[str, Any]:
    """What a judge's count matrix of generated images says of codes and prior."""
    entropy, empty = metrics.entropy_score(counts_KC)
    row = {"nmi": metrics.normalised_mutual_information(counts_KC), "ent": entropy, "empty_columns": empty}
    if frequencies_C is not None:
        row["prior_error"] = metrics.prior_error(prior_K, frequencies_C, counts_KC)
    return row


def context_rows(images: ImageSet, classes: int) -> dict[str, float]:
    """K-means on the same images as a baseline, on pixels and on 50 principal components.

    Where all images would not fit into memory as floats, a random part of them is used.
    """
    assert images.labels is not None
    count, labels, chosen = len(images.images), images.labels, images.images
    most = max(CONTEXT // chosen[0].numel(), 10 * classes)
    if count > most:
        index = shuffled(count, 0, "context")[:most]
        chosen, labels = chosen[index.to(chosen.device)], labels[index]
    pixels = chosen.cpu().flatten(1).float().numpy() / 255.0
    spaces = {"pixels": pixels, "pca": PCA(min(50, *pixels.shape), random_state=0).fit_transform(pixels)}
    row: dict[str, float] = {}
    for name, space in spaces.items():
        codes = torch.from_numpy(KMeans(classes, n_init=1, random_state=0).fit_predict(space)).long()
        found = metrics.clustering(codes, labels, classes, images.label_count)
        row |= {f"kmeans_{name}_accuracy": found["accuracy"], f"kmeans_{name}_nmi": found["nmi"]}
    return row


def held_out_row(codes_M: Tensor, held_out: ImageSet, train: ImageSet, codes: int) -> dict[str, float]:
    """Figures of held-out real images with these codes; the rarest class is that of the training images."""
    assert held_out.labels is not None and train.labels is not None
    rarest = int(torch.bincount(train.labels, minlength=train.label_count).argmin())
    found = metrics.clustering(codes_M, held_out.labels, codes, held_out.label_count, rarest=rarest)
    del found["share_error"]  # the classes have other frequencies there
    return {f"held_out_{name}": value for name, value in found.items()}
