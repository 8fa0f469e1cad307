"""The names of figures and losses, and the table of an evaluation."""

from __future__ import annotations

import math
from typing import Any

LOSS_NAMES = {
    "d_loss": "discriminator",
    "g_loss": "generator",
    "information_loss": "information",
    "contrastive_loss": "contrastive",
    "agreement_loss": "agreement",
    "grouping_loss": "groups",
}
# What good looks like, below 70 letters; {guess} is what a guess would cost, the logarithm of K.
_GOOD_LOSSES = {
    "d_loss": "1.39 is a draw with the generator; near 0 the discriminator has won",
    "g_loss": "0.69 is a draw with the discriminator; far above it, D is winning",
    "information_loss": "0: Q reads the code off each generated image; a guess costs {guess}",
    "contrastive_loss": "falls as Q tells an image and its transform from other images",
    "agreement_loss": "below 0, the lower the better: image and transform share a code",
    "grouping_loss": "0: Q knows the group of each real image; a guess costs {guess}",
}
GOOD_FIGURES = "NMI and accuracy: 1 is perfect; ENT and prior error: 0 is perfect"
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


def good_loss(key: str, classes: int | None = None) -> str:
    """What a good value of a loss looks like, in words; with K = `classes`, also what a guess would cost."""
    guess = "ln K" if classes is None else f"{math.log(classes):.2f} (ln {classes:,})"
    return _GOOD_LOSSES[key].format(guess=guess)


def has_losses(row: dict[str, Any]) -> bool:
    """Whether a row of the log reports losses; pretraining's reports only some of them."""
    return any(row.get(name) is not None for name in LOSS_NAMES)


def figure(value: float) -> str:
    """A count with separators of thousands, another figure to four places."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"


def table(row: dict[str, Any]) -> str:
    """The figures of an evaluation as text, a line each."""
    lines = []
    for key, meaning in SHOWN.items():
        value = row.get(key)
        if value is not None:
            lines.append(f"  {meaning:<58} {figure(value)}")
    return "\n".join(lines)
