"""The figures of merit, and the log that keeps them.

The count matrix M_KC holds, for each code (row), how often its images were judged to be each real class (column).
Legend: K codes, C real classes, N images, D feature length.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor


def count_matrix(codes_N: Tensor, classes_N: Tensor, codes: int, classes: int) -> Tensor:
    """M [K, C], int64: how often code k met class c."""
    return torch.bincount(codes_N * classes + classes_N, minlength=codes * classes).view(codes, classes)


def entropy_score(counts_KC: Tensor) -> tuple[float, int]:
    """ENT: mean entropy (natural log) of M's normalised rows and columns, and how many columns are empty.

    0 is perfect, log K the worst. An empty column (a class that no image shows) has no entropy and counts as log K;
    an empty row likewise.
    """
    worst = math.log(max(counts_KC.shape))
    total, empty = 0.0, 0
    for matrix, is_column in ((counts_KC, False), (counts_KC.T, True)):
        for row in matrix.double():
            if row.sum() == 0:
                total, empty = total + worst, empty + int(is_column)
                continue
            share = row / row.sum()
            total += float(torch.special.entr(share).sum())
    return total / sum(counts_KC.shape), empty


def normalised_mutual_information(counts_KC: Tensor) -> float:
    """NMI of code and class (arithmetic mean, natural log): 1 is perfect."""
    code, label = np.nonzero(counts_KC.numpy())
    repeats = counts_KC.numpy()[code, label]
    return float(normalized_mutual_info_score(np.repeat(label, repeats), np.repeat(code, repeats)))


def match_codes(counts_KC: Tensor) -> Tensor:
    """The class that each code stands for, int64 [K].

    One to one (Hungarian, on M) where there are as many codes as classes, else each code's majority class.
    """
    if counts_KC.shape[0] != counts_KC.shape[1]:
        return counts_KC.argmax(1)
    rows, columns = linear_sum_assignment(counts_KC.numpy(), maximize=True)
    return torch.from_numpy(columns[np.argsort(rows)])


def prior_error(prior_K: Tensor, frequencies_C: Tensor, counts_KC: Tensor) -> float:
    """Root mean square difference of learned and true class probabilities, codes matched to classes by M."""
    learned_C = torch.zeros_like(frequencies_C).index_add(0, match_codes(counts_KC), prior_K.to(frequencies_C))
    return float((learned_C - frequencies_C).square().mean().sqrt())


def clustering(codes_N: Tensor, labels_N: Tensor, codes: int, classes: int) -> dict[str, float]:
    """How well assignments of real images agree with their labels: accuracy after matching, NMI, ARI."""
    counts = count_matrix(codes_N, labels_N, codes, classes).numpy()
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return {
        "accuracy": float(counts[rows, columns].sum() / len(labels_N)),
        "nmi": float(normalized_mutual_info_score(labels_N.numpy(), codes_N.numpy())),
        "ari": float(adjusted_rand_score(labels_N.numpy(), codes_N.numpy())),
    }


def agreement(first_N: Tensor, second_N: Tensor, first_codes: int, second_codes: int) -> dict[str, float]:
    """How far two labelings of the same images agree, whatever the codes are called; symmetric.

    The adjusted Rand index (0 by chance, 1 for the same classes), NMI, and the share of images with the same code after
    the best one-to-one matching of codes.
    """
    found = clustering(first_N, second_N, first_codes, second_codes)
    return {f"agreement_{name}": found[name] for name in ("ari", "nmi", "accuracy")}


def frechet_distance(first_ND: Tensor, second_ND: Tensor) -> float:
    """Frechet distance of two sets of features, as Gaussians: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Source: Heusel et al., arXiv 1706.08500, eq. 6. Here the features are the judge's, not Inception's.
    """
    first, second = first_ND.double(), second_ND.double()
    s1, s2 = torch.cov(first.T).numpy(), torch.cov(second.T).numpy()
    mean = float((first.mean(0) - second.mean(0)).square().sum())
    # tr (S1 S2)^(1/2) through the symmetric S1^(1/2) S2 S1^(1/2), which has the same eigenvalues.
    values, vectors = scipy.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    eigenvalues = scipy.linalg.eigvalsh(root @ s2 @ root)
    cross = float(np.sqrt(eigenvalues.clip(min=0)).sum())
    return max(0.0, mean + float(np.trace(s1) + np.trace(s2)) - 2 * cross)


def mean_pairwise_distance(features_ND: Tensor) -> float:
    """Mean Euclidean distance between all pairs of rows; NaN for fewer than two."""
    return float(torch.pdist(features_ND.float()).mean()) if len(features_ND) > 1 else math.nan


def effective_classes(prior_K: Tensor) -> float:
    """exp(entropy of the prior): how many equally frequent codes would be as uncertain."""
    return float(torch.special.entr(prior_K.double()).sum().exp())


# The figures that people read, in this order, and what each means.
SHOWN = {
    "nmi": "NMI of code and judged class (1 is perfect)",
    "ent": "ENT, mean entropy of the counts (0 is perfect)",
    "prior_error": "prior error (learned against true frequencies)",
    "prior_error_uniform": "  the same for a uniform prior",
    "cluster_size_error": "  the same for the sizes of Q's clusters of real images",
    "cluster_accuracy": "clustering accuracy of the real images by Q",
    "cluster_nmi": "clustering NMI of the real images by Q",
    "kmeans_pixels_accuracy": "  clustering accuracy of k-means on pixels",
    "kmeans_pca_accuracy": "  clustering accuracy of k-means on PCA features",
    "frechet_distance": "Frechet distance in the judge's features",
    "diversity": "diversity within a code, relative to the real class",
    "effective_classes": "effective number of classes, exp(entropy of the prior)",
    "unused_codes": "codes that nearly no image gets",
    "confidence": "Q's mean confidence on the real images",
    "agreement_ari": "agreement of the two runs, adjusted Rand index",
    "agreement_nmi": "  the same as NMI",
    "agreement_accuracy": "  images with the same code, codes matched one to one",
    "judge_accuracy": "the judge's accuracy on held-out real images",
}


def table(row: dict[str, Any]) -> str:
    """The figures of an evaluation, a line each."""
    lines = []
    for key, meaning in SHOWN.items():
        value = row.get(key)
        if value is not None:
            lines.append(f"  {meaning:<58} {value if isinstance(value, int) else format(value, '.4f')}")
    return "\n".join(lines)


def _is_row(row: Any) -> bool:
    """Whether it is flat, of finite numbers and null, with images seen: whatever else a line holds is damage."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("images_seen"), int)
        and all(value is None or (isinstance(value, (int, float)) and abs(value) < 1e300) for value in row.values())
    )


class MetricsLog:
    """metrics.jsonl: one flat JSON object a line, appended; NaN and infinity are written as null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it."""
        clean = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a line cut short by a kill, or damaged otherwise, is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # also of a number too long, and of brackets in brackets
                continue
            if _is_row(row):
                rows.append(row)
        return rows

    def keep_until(self, images_seen: int) -> None:
        """Drop what a run resumed at `images_seen` is about to write again: later rows, and a grouping made there."""
        rows = [row for row in self.rows() if row["images_seen"] <= images_seen]
        kept = [row for row in rows if row["images_seen"] < images_seen or "regrouped" not in row]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(self.path)
