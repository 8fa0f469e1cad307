"""Pictures of a run: grids of samples, curves of the losses and the figures, the prior, the count matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image
from torch import Tensor
from torchvision.utils import save_image

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first: no display is needed

LOSS_NAMES = {
    "d_loss": "discriminator",
    "g_loss": "generator",
    "information_loss": "information",
    "contrastive_loss": "contrastive",
    "agreement_loss": "agreement",
    "grouping_loss": "groups",
}
FIGURES = {"nmi": "NMI", "ent": "ENT", "cluster_accuracy": "clustering accuracy", "prior_error": "prior error"}


def save_grid(images: Tensor, path: Path, columns: int) -> None:
    """Images [N, C, H, W] in [-1, 1] as a grid with `columns` images a row."""
    # A single row or column of tiny images is hard to look at: double their size below 32 pixels.
    if images.shape[-1] < 32:
        images = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    save_image(images, str(path), nrow=columns, normalize=True, value_range=(-1, 1), padding=2, pad_value=0.3)


def save_singles(images: Tensor, paths: Sequence[Path]) -> None:
    """Images [N, 1 or 3, H, W] in [-1, 1], a file each, at their own size: grey ones of one channel."""
    bytes_NHWC = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    for image, path in zip(bytes_NHWC, paths, strict=True):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def plot_losses(rows: list[dict[str, Any]], path: Path) -> None:
    """Losses over images seen and, below, the figures of each evaluation."""
    logged = [row for row in rows if "d_loss" in row]
    evaluated = [row for row in rows if "confidence" in row]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, constrained_layout=True)
    dot = "." if len(logged) < 3 else None  # of a short run no line is to be seen
    for key, name in LOSS_NAMES.items():
        values = [row.get(key, 0.0) for row in logged]
        if any(values):  # what a recipe goes without has no curve
            top.plot([row["images_seen"] for row in logged], values, label=name, linewidth=1, marker=dot)
    top.set(ylabel="loss")
    top.set_title("Losses", loc="left")
    for key, name in FIGURES.items():
        points = [(row["images_seen"], row[key]) for row in evaluated if row.get(key) is not None]
        if points:
            bottom.plot(*zip(*points, strict=True), marker="o", label=name)
    bottom.set(xlabel="real images seen", ylabel="figure", ylim=(0, None))
    bottom.set_title("Evaluations", loc="left")
    for axes in (top, bottom):
        if axes.lines:  # above the curves, so that it covers none
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.2)
    _save(figure, path)


def plot_prior(prior_K: Tensor, sizes_K: Tensor | None, true_K: Tensor | None, path: Path) -> None:
    """The class prior beside the share of real images that Q gives each code and the matched class's frequency."""
    bars = [("prior", prior_K), ("real images that Q assigns", sizes_K), ("true, of the matched class", true_K)]
    shown = [(name, values.tolist()) for name, values in bars if values is not None]
    figure, axes = plt.subplots(figsize=(max(6.0, 0.6 * len(prior_K)), 4.2), constrained_layout=True)
    width = 0.8 / len(shown)
    for i, (name, values) in enumerate(shown):
        axes.bar([k + (i - (len(shown) - 1) / 2) * width for k in range(len(values))], values, width, label=name)
    axes.axhline(1 / len(prior_K), color="grey", linewidth=0.8, linestyle="--", label="uniform")
    axes.set(xlabel="code", ylabel="probability", title="Class prior", xticks=range(len(prior_K)))
    figure.legend(loc="outside lower center", ncols=2)
    _save(figure, path)


def plot_confusion(counts_KC: Tensor, order_K: Tensor, path: Path) -> None:
    """M: what the judge saw in each code's images, codes sorted by the class that they stand for."""
    rows = order_K.argsort()
    share = counts_KC[rows].double()
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    figure, axes = plt.subplots(figsize=(5.5, 5), constrained_layout=True)
    picture = axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(
        xlabel="class seen by the judge",
        ylabel="code",
        title="Generated images: code and judged class",
        xticks=range(counts_KC.shape[1]),
        yticks=range(len(rows)),
        yticklabels=rows.tolist(),
    )
    figure.colorbar(picture, label="share of the code's images")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
