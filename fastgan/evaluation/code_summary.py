"""What a run's codes stand for: how frequent each is, what Q makes of the real images, how varied its samples are.

Legend: N images, S samples, K codes, C real classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.config import schedule
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet, to_unit_range
from fastgan.evaluation import class_findings, confusion, diagnosis, drawn_alike, metrics, trust
from fastgan.evaluation.confusion import MergeCandidate
from fastgan.evaluation.drawn_alike import Alike
from fastgan.evaluation.group_images import GroupImages, Readings, group_images
from fastgan.evaluation.trust import Trust
from fastgan.inference.labelling import read
from fastgan.inference.sampling import Sampler
from fastgan.models.networks import Generator, Networks
from fastgan.runs import run_folder

SAMPLES = 32  # of each code, whose mean pairwise distance is taken
COMPARED = 200  # real images of each code, at most, that its samples are compared with


@dataclass(frozen=True)
class RunState:
    """A run as it is: its networks, and the real images that they are tried on.

    prior_K: probabilities; rows: those of metrics.jsonl; settings: run.json as read; beside_N: the codes that another
    run gives the images, int64 on the CPU, or None.
    """

    config: TrainConfig
    networks: Networks
    generator: Generator
    prior_K: Tensor
    images: ImageSet
    images_seen: int
    rows: Sequence[dict[str, Any]]
    settings: dict[str, Any]
    device: torch.device
    beside_N: Tensor | None = None


@dataclass(frozen=True)
class RunSummary:
    """The prior, and what Q says of all real images.

    codes_N, confidences_N: Q's most probable code and its probability; readings: all that Q says; sizes_K: shares of
    the real images; unused: codes that nearly no image gets; effective: number of equally frequent classes; counts_KC:
    images of each code and real class, None without labels; clustering: `metrics.clustering` of them; merge: pairs of
    codes that Q confuses, not looked for in a run hardly trained; chosen_M: the images of which more was asked; trust:
    how far their codes can be trusted.
    """

    prior_K: Tensor
    codes_N: Tensor
    confidences_N: Tensor
    readings: Readings
    sizes_K: Tensor
    unused: Sequence[int]
    effective: float
    class_names: Sequence[str]
    counts_KC: Tensor | None
    clustering: Mapping[str, float]
    images_planned: int
    hardly_trained: bool
    merge: Sequence[MergeCandidate]
    chosen_M: Tensor
    trust: Trust


@dataclass(frozen=True)
class CodeSummary:
    """What is known of one code.

    confidence: Q's mean, None where no image has the code; stands_for: its most frequent real class, true_share: that
    class's frequency, both None where unknown; makeup: its most frequent classes and their shares of its images; mixed:
    none of them has enough for the code to be called mostly that class; views: how often a second view of its images
    gets it too, None where unknown; images: its real images, sorted in several ways; spread: mean pairwise distance of
    its samples, relative to that of its real images, NaN where unknown; alike: whether they look like these, None where
    unknown.
    """

    number: int
    probability: float
    share: float
    confidence: float | None
    stands_for: str | None
    true_share: float | None
    makeup: Sequence[tuple[str, float]]
    mixed: bool
    views: float | None
    images: GroupImages
    samples_SCHW: Tensor
    spread: float
    alike: Alike | None


def summarise_run(state: RunState) -> RunSummary:
    """Have Q read all real images, and compare what it says with the prior and with the labels, if any."""
    config, labels = state.config, state.images.labels
    prior_K = state.prior_K.detach().cpu().double()
    embeddings_ND, logits_NK = read(state.networks, state.images.images, config, state.device)
    confidences_N2, codes_N2 = logits_NK.softmax(1).topk(2, dim=1)
    readings = Readings(embeddings_ND.cpu(), codes_N2.cpu(), confidences_N2.cpu())
    codes_N, confidences_N = readings.codes_N2[:, 0], readings.confidences_N2[:, 0]
    sizes_K = metrics.cluster_sizes(codes_N, config.classes)
    planned = schedule.total_images(config, len(codes_N), run_folder.ranks_of(state.settings))
    hardly = diagnosis.hardly_trained(prior_K, sizes_K, state.images_seen, planned) is not None
    names = state.images.class_names or [str(c) for c in range(state.images.label_count)]
    counts_KC = None if labels is None else metrics.count_matrix(codes_N, labels, config.classes, len(names))
    chosen_M, transformed_MK = confusion.read_transforms(state.networks, state.images.images, config, state.device)
    trusted = trust.measure(
        state.images.images,
        codes_N,
        confidences_N,
        chosen_M,
        transformed_MK,
        counts_KC=counts_KC,
        beside_N=state.beside_N,
    )
    return RunSummary(
        prior_K=prior_K,
        codes_N=codes_N,
        confidences_N=confidences_N,
        readings=readings,
        sizes_K=sizes_K,
        unused=metrics.unused_codes(sizes_K),
        effective=metrics.effective_classes(prior_K),
        class_names=names,
        counts_KC=counts_KC,
        clustering={} if labels is None else metrics.clustering(codes_N, labels, config.classes, len(names)),
        images_planned=planned,
        hardly_trained=hardly,
        merge=[] if hardly else confusion.merge_candidates(transformed_MK, codes_N[chosen_M]),
        chosen_M=chosen_M,
        trust=trusted,
    )


def summarise_codes(state: RunState, summary: RunSummary, most: int) -> Iterator[CodeSummary]:
    """Each of the `most` codes with most real images, those with most first.

    One at a time: the samples of all of them may be more than the memory holds.
    """
    draw = Sampler(state.generator, state.config, state.device, "page")
    groups = drawn_alike.Groups(state.images.images, summary.codes_N, state.config.seed)
    for k in torch.argsort(summary.sizes_K, descending=True, stable=True)[:most].tolist():
        own_N = torch.nonzero(summary.codes_N == k).flatten()
        confidences_N = summary.confidences_N[own_N]
        samples_SCHW = draw(torch.full((SAMPLES,), k), offset=k)
        stands_for, true_share = _majority(summary, k)
        counts_C = None if summary.counts_KC is None else summary.counts_KC[k]
        views = float(summary.trust.views_K[k])
        yield CodeSummary(
            number=k,
            probability=float(summary.prior_K[k]),
            share=float(summary.sizes_K[k]),
            confidence=float(confidences_N.mean()) if len(own_N) else None,
            stands_for=stands_for,
            true_share=true_share,
            makeup=[] if counts_C is None else class_findings.makeup(counts_C, summary.class_names),
            mixed=counts_C is not None and class_findings.mixed(counts_C),
            views=views if math.isfinite(views) else None,
            images=group_images(summary.readings, k, state.config.seed, state.images.images),
            samples_SCHW=samples_SCHW,
            spread=relative_spread(samples_SCHW, chosen_images(state.images, own_N[:COMPARED])),
            alike=groups.compare(samples_SCHW, k),
        )


def _majority(summary: RunSummary, code: int) -> tuple[str | None, float | None]:
    """The name of the real class that most of a code's images have, and its true frequency; None where unknown."""
    if summary.counts_KC is None or not summary.counts_KC[code].any():
        return None, None
    label = int(summary.counts_KC[code].argmax())
    return summary.class_names[label], float(summary.counts_KC[:, label].sum() / len(summary.codes_N))


def chosen_images(images: ImageSet, index_N: Tensor) -> Tensor:
    """Chosen images [N, C, H, W] in [-1, 1], float32, on the CPU."""
    return to_unit_range(images.images[index_N.to(images.images.device)].cpu())


def relative_spread(samples: Tensor, real: Tensor) -> float:
    """Mean pairwise distance of samples in pixels, relative to that of real images; NaN where that is unknown or 0."""
    theirs = metrics.mean_pairwise_distance(real.flatten(1))
    return metrics.mean_pairwise_distance(samples.flatten(1)) / theirs if theirs else math.nan
