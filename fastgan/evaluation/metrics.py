"""The figures of merit.

The count matrix M_KC holds, for each code (row), how often its images were judged to be each real class (column).
Legend: K codes, C real classes, N images, D feature length.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score
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


def clustering(
    codes_N: Tensor, labels_N: Tensor, codes: int, classes: int, *, rarest: int | None = None
) -> dict[str, float]:
    """How well assignments of real images agree with their labels, after the best one-to-one matching (Hungarian).

    accuracy: of all images; macro_accuracy: mean of the classes' recalls, each class counting the same; rarest_recall:
    recall of the rarest class; nmi, ami, ari: normalised (arithmetic mean) and adjusted mutual information, and
    adjusted Rand index; share_error: root mean square difference of cluster sizes and class frequencies, as shares.
    Classes without an image are left out.

    Args:
        rarest: the class that counts as the rarest; left out, the one with the fewest of these images.
    """
    counts_KC = count_matrix(codes_N, labels_N, codes, classes)
    rows, columns = linear_sum_assignment(counts_KC.numpy(), maximize=True)
    counts, sizes_C = counts_KC.numpy(), counts_KC.sum(0).numpy()
    recall_C = np.zeros(classes)
    recall_C[columns] = counts[rows, columns] / np.maximum(sizes_C[columns], 1)
    known = sizes_C > 0
    rarest = int(np.where(known, sizes_C, np.inf).argmin()) if rarest is None else rarest
    labels, found = labels_N.numpy(), codes_N.numpy()
    return {
        "accuracy": float(counts[rows, columns].sum() / len(labels)),
        "macro_accuracy": float(recall_C[known].mean()),
        "rarest_recall": float(recall_C[rarest]),
        "nmi": float(normalized_mutual_info_score(labels, found)),
        "ami": float(adjusted_mutual_info_score(labels, found)),
        "ari": float(adjusted_rand_score(labels, found)),
        "share_error": prior_error(cluster_sizes(codes_N, codes), cluster_sizes(labels_N, classes), counts_KC),
    }


def agreement(first_N: Tensor, second_N: Tensor, first_codes: int, second_codes: int) -> dict[str, float]:
    """How far two labelings of the same images agree, whatever the codes are called; symmetric.

    The adjusted Rand index (0 by chance, 1 for the same classes), NMI, and the share of images with the same code after
    the best one-to-one matching of codes.
    """
    found = clustering(first_N, second_N, first_codes, second_codes)
    return {f"agreement_{name}": found[name] for name in ("ari", "nmi", "accuracy")}


def rand_index(first_N: Tensor, second_N: Tensor) -> float:
    """Adjusted Rand index of two labelings, int64 on the CPU: 1 for the same groups, 0 by chance."""
    return float(adjusted_rand_score(first_N.numpy(), second_N.numpy()))


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


UNUSED_SHARE = 0.1  # a code that gets less than this times 1/K of the real images is unused


def cluster_sizes(codes_N: Tensor, classes: int) -> Tensor:
    """Shares [K], float64, of images by the code, int64, that Q gives them."""
    return torch.bincount(codes_N, minlength=classes).double() / len(codes_N)


def unused_codes(sizes_K: Tensor) -> list[int]:
    """Codes that nearly no real image gets: less than a tenth of 1/K."""
    return torch.nonzero(sizes_K < UNUSED_SHARE / len(sizes_K)).flatten().tolist()
