"""The names of figures and losses, and the table of an evaluation."""

from __future__ import annotations

from typing import Any

LOSS_NAMES = {
    "d_loss": "discriminator",
    "g_loss": "generator",
    "information_loss": "information",
    "contrastive_loss": "contrastive",
    "agreement_loss": "agreement",
    "grouping_loss": "groups",
}
FIGURES_WITHOUT_LABELS = {"effective_classes": "effective classes", "confidence": "Q's mean confidence"}
FIGURES = {"nmi": "NMI", "ent": "ENT", "cluster_accuracy": "clustering accuracy", "prior_error": "prior error"}
# The figures that a reader is shown, in this order, and what each means.
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


def has_losses(row: dict[str, Any]) -> bool:
    """Whether a row of the log reports losses; pretraining's reports only some of them."""
    return any(row.get(name) is not None for name in LOSS_NAMES)


def table(row: dict[str, Any]) -> str:
    """The figures of an evaluation as text, a line each."""
    lines = []
    for key, meaning in SHOWN.items():
        value = row.get(key)
        if value is not None:
            lines.append(f"  {meaning:<58} {value if isinstance(value, int) else format(value, '.4f')}")
    return "\n".join(lines)
