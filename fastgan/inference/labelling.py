"""Q's codes and embeddings of images, in eval mode and batch by batch.

Legend: N images, K codes, D embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import to_unit_range
from fastgan.models.networks import Networks
from fastgan.runtime import precision
from fastgan.runtime.stages import stage

BATCH = 1000  # images at a time, at most
BATCH_AREA = BATCH * 28 * 28  # their pixels, at most: the memory for activations grows with these


def autocast(config: TrainConfig, device: torch.device) -> Any:
    """The run's own precision, as far as this device computes it."""
    return precision.for_reading(config, device).autocast(device)


def eval_batch(image_size: int) -> int:
    """How many images of that size to read, or to draw, at a time."""
    return max(1, min(BATCH, BATCH_AREA // image_size**2))


@torch.inference_mode()
def read(networks: Networks, images: Tensor, config: TrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Q's embeddings [N, D] and code logits [N, K] of uint8 images [N, C, H, W], float32, on `device`."""
    was_training = networks.training
    networks.eval()
    shape = networks.shape
    # Allocated once: results kept from each batch would fragment the memory.
    embeddings = torch.empty(len(images), shape.network.embedding, device=device)
    logits = torch.empty(len(images), shape.classes, device=device)
    size = eval_batch(config.image_size)
    with stage("reading the images", total=len(images)) as seen:
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            with autocast(config, device):
                embedding = networks.code_head.embed(networks.front_end(to_unit_range(images[part].to(device))))
                logits[part] = networks.code_head.code(embedding).float()
            embeddings[part] = embedding.float()
            seen.update(len(embedding))
    networks.train(was_training)
    return embeddings, logits


def assign(networks: Networks, images: Tensor, config: TrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Q's most probable code [N], int64, and its probability [N] for uint8 images, on the CPU."""
    _, logits = read(networks, images, config, device)
    confidence, code = logits.softmax(1).max(1)
    return code.cpu(), confidence.cpu()


def best_two(networks: Networks, images: Tensor, config: TrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Q's two most probable codes [N, 2], int64, and their probabilities [N, 2] for uint8 images, on the CPU."""
    _, logits = read(networks, images, config, device)
    confidences, codes = logits.softmax(1).topk(2, dim=1)
    return codes.cpu(), confidences.cpu()
