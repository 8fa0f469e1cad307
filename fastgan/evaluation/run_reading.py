"""What the Q of a run makes of the real images, as far as comparisons of runs need it.

Legend: N images, M images whose transforms are read, D embedding, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import silhouette_score
from torch import Tensor

from fastgan.config import schedule
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import diagnosis, metrics
from fastgan.evaluation.confusion import MergeCandidate, merge_candidates, merged, read_transforms
from fastgan.evaluation.finding import Finding
from fastgan.inference.labelling import read
from fastgan.inference.trained_run import TrainedRun
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.seeding import shuffled

SPREAD_OVER = 2_000  # images, at most, of which the silhouette is computed: its cost grows with their square


@dataclass(frozen=True)
class RunReading:
    """One run, read on the real images.

    name: of its folder. codes_N, confidences_N: Q's most probable code, int64, and its probability, on the CPU.
    sizes_K: shares of the images. merge: pairs of codes that Q confuses. views: adjusted Rand index of the codes of
    images and of transforms of them. silhouette: mean silhouette of the codes in Q's embedding, None with one code in
    use. row: the last evaluation in metrics.jsonl. settings: of run.json as read. hardly: why its classes say little,
    if so.
    """

    name: str
    config: TrainConfig
    images_seen: int
    codes_N: Tensor
    confidences_N: Tensor
    sizes_K: Tensor
    effective: float
    unused: Sequence[int]
    merge: Sequence[MergeCandidate]
    views: float
    silhouette: float | None
    row: dict[str, Any]
    settings: dict[str, Any]
    hardly: Finding | None
    collapsed: str

    @property
    def classes(self) -> int:
        """K."""
        return self.config.classes

    @property
    def distinct(self) -> int:
        """How many codes are left once unused ones are dropped and confused ones read as one."""
        unused = set(self.unused)
        return len({group for code, group in enumerate(merged(self.merge, self.classes)) if code not in unused})


def read_run(run: TrainedRun, config: TrainConfig, images: ImageSet, name: str) -> RunReading:
    """Have Q read the images and transforms of them.

    Args:
        config: of the run, with the current folder of its data. name: how the run is called.
    """
    embeddings_ND, logits_NK = read(run.networks, images.images, config, run.device)
    confidences_N, codes_N = (each.cpu() for each in logits_NK.softmax(1).max(1))
    chosen_M, transformed_MK = read_transforms(run.networks, images.images, config, run.device)
    sizes_K, prior_K = metrics.cluster_sizes(codes_N, config.classes), run.prior.probabilities().detach().cpu()
    settings = run_folder.read_settings(run.run.path)
    planned = schedule.total_images(config, len(codes_N), run_folder.ranks_of(settings))
    rows = MetricsLog(run.run.metrics).rows()
    return RunReading(
        name=name,
        config=config,
        images_seen=run.images_seen,
        codes_N=codes_N,
        confidences_N=confidences_N,
        sizes_K=sizes_K,
        effective=metrics.effective_classes(sizes_K),
        unused=metrics.unused_codes(sizes_K),
        merge=merge_candidates(transformed_MK, codes_N[chosen_M]),
        views=metrics.rand_index(codes_N[chosen_M], transformed_MK.argmax(1)),
        silhouette=_silhouette(embeddings_ND, codes_N),
        row=next((row for row in reversed(rows) if "confidence" in row), {}),
        settings=settings["settings"],
        hardly=diagnosis.hardly_trained(prior_K, sizes_K, run.images_seen, planned),
        collapsed=diagnosis.collapsed(prior_K, sizes_K),
    )


def _silhouette(embeddings_ND: Tensor, codes_N: Tensor) -> float | None:
    """Mean silhouette (cosine) of the codes on some of the images, always the same ones."""
    index = shuffled(len(codes_N), 0, "silhouette")[:SPREAD_OVER]
    codes = codes_N[index].numpy()
    if not 2 <= len(set(codes.tolist())) < len(codes):
        return None
    some = embeddings_ND[index.to(embeddings_ND.device)].float().cpu()
    return float(silhouette_score(torch.nn.functional.normalize(some, dim=1).numpy(), codes))


def doubts(readings: Sequence[RunReading]) -> list[str]:
    """Reasons why a comparison of these runs may say little, a sentence each."""
    found = []
    for run in readings:
        if run.collapsed:
            found.append(f"{run.name} has collapsed and has no groups to agree on. {run.collapsed}")
        elif run.hardly is not None:
            found.append(f"{run.name} is hardly trained ({run.images_seen:,} images shown); its groups say little yet.")
    for i, run in enumerate(readings):
        for other in readings[:i]:
            if (run.config.seed, run.classes) == (other.config.seed, other.classes):
                found.append(
                    f"{other.name} and {run.name} have the same --seed {run.config.seed} and K; runs with different "
                    "seeds say more."
                )
    return found
