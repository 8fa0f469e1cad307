"""Images drawn by a model, as arrays and for a notebook."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import torch
from numpy.typing import NDArray

from fastgan.inference.sampling import Sampler
from fastgan.inference.trained_run import TrainedModel
from fastgan.reporting.images import row_labels, save_grid

SHOWN, MOST = 10, 50  # samples of each class that a notebook shows, and classes


def drawn(model: TrainedModel, codes: torch.Tensor, seed: int) -> NDArray[np.uint8]:
    """Images of these codes [N]: uint8 [N, S, S] grey, or [N, S, S, 3] RGB."""
    config = dataclasses.replace(model.config, seed=seed)
    images = Sampler(model.generator, config, model.device, "sample-command")(codes)
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def as_html(model: TrainedModel, prior: NDArray[np.float64]) -> str:
    """A row of samples for each of the MOST most frequent classes, that first, and how frequent each is."""
    order = np.argsort(-prior)[:MOST]
    codes = torch.from_numpy(order).repeat_interleave(SHOWN)
    images = Sampler(model.generator, model.config, model.device, "samples")(codes)
    file = io.BytesIO()
    save_grid(images, file, SHOWN, row_labels(order.tolist(), prior.tolist()))
    picture = base64.b64encode(file.getvalue()).decode("ascii")
    shares = ", ".join(f"{code}: {prior[code]:.1%}" for code in order)
    shares += f" and {len(prior) - MOST} more" if len(prior) > MOST else ""
    return f'<img src="data:image/png;base64,{picture}" alt="samples of each class"/><div>{shares}</div>'
