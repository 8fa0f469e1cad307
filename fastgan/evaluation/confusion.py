"""Which codes Q confuses, measured on transforms of the real images.

Legend: N images, M images whose transforms are read, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastgan.augment.factory import make_transform
from fastgan.config.schema import TrainConfig
from fastgan.inference.labelling import autocast, eval_batch
from fastgan.models.networks import Networks
from fastgan.seeding import shuffled

# Confusion above this makes two codes candidates to be merged. With 15 codes for MNIST's ten classes, 3,000 images, the
# five pairs that showed one digit had 0.075 to 0.12, the first of all others 0.028; with ten codes none had over 0.015.
CONFUSED = 0.05
# Confusion must also be this many times the mean confusion of either code with all others.
BESIDE_OTHERS = 3.0
MOST_CODES = 2000  # above this the K x K confusion is not computed
TRANSFORMED = 5_000  # images, at most, whose transforms are read


@dataclass(frozen=True)
class MergeCandidate:
    """Two codes that Q confuses, `first` < `second`, and how much: 0 not at all, 0.5 as if they were one code."""

    first: int
    second: int
    confusion: float


def merged(pairs: Sequence[MergeCandidate], count: int) -> list[int]:
    """For each of `count` codes the group that it is in once all pairs are merged."""
    group = list(range(count))
    for pair in pairs:
        old, new = group[pair.second], group[pair.first]
        group = [new if name == old else name for name in group]
    return group


def confusion(probabilities_NK: Tensor, codes_N: Tensor) -> Tensor:
    """C [K, K], float32, symmetric, zero on its diagonal: how much Q confuses two codes.

    C_ij is the mean of Q_j over the images whose code is i, averaged with that of Q_i over those of j; a code without
    images has only one of the two.
    """
    count = probabilities_NK.shape[1]
    counts = torch.bincount(codes_N, minlength=count)
    sums = torch.zeros(count, count).index_add(0, codes_N, probabilities_NK.float())
    means = sums / counts.clamp_min(1)[:, None]
    used = (counts > 0).float()
    both = (means + means.T) / (used[:, None] + used).clamp_min(1)
    return both.fill_diagonal_(0)


def merge_candidates(probabilities_NK: Tensor, codes_N: Tensor) -> list[MergeCandidate]:
    """Pairs of codes that Q confuses, the most confused first; none above MOST_CODES codes.

    Their confusion is above CONFUSED, and above BESIDE_OTHERS times the mean confusion of either with the other codes:
    an untrained Q confuses all codes, which is no reason to merge any two.

    Args:
        probabilities_NK: Q's code probabilities of transforms of real images: where one class has two codes, an image
            and its transform often get different ones.
        codes_N: the most probable codes of the images themselves, int64.
    """
    count = probabilities_NK.shape[1]
    if count > MOST_CODES:
        return []
    found_KK = confusion(probabilities_NK, codes_N)
    total_K = found_KK.sum(1)
    others_KK = (total_K[:, None] + total_K - 2 * found_KK) / max(2 * (count - 2), 1)
    wanted = (found_KK > CONFUSED) & (found_KK > BESIDE_OTHERS * others_KK)
    found = [MergeCandidate(i, j, float(found_KK[i, j])) for i, j in torch.nonzero(wanted.triu(1)).tolist()]
    return sorted(found, key=lambda pair: -pair.confusion)


def read_transforms(
    networks: Networks, images: Tensor, config: TrainConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The indices of some images [M], int64, and Q's code probabilities [M, K] of a transform of each, on the CPU.

    Args:
        images: uint8 [N, C, H, W]; at most TRANSFORMED of them are taken, at random but always the same.
    """
    chosen_M = shuffled(len(images), config.seed, "read-transforms")[:TRANSFORMED]
    size = eval_batch(config.image_size)
    plain = replace(config, augment="torchvision")
    transform = make_transform(plain, channels=images.shape[1], most=size, device=device)
    was_training = networks.training
    networks.eval()
    found = []
    for number, index in enumerate(chosen_M.split(size)):
        transform.start(images[index.to(images.device)].to(device), number * size)
        with torch.inference_mode(), autocast(config, device):
            embedding = networks.code_head.embed(networks.front_end(transform.finish()))
            found.append(networks.code_head.code(embedding).float().softmax(1).cpu())
    networks.train(was_training)
    return chosen_M, torch.cat(found)


def confused_codes(
    networks: Networks, images_NCHW: Tensor, codes_N: Tensor, config: TrainConfig, device: torch.device
) -> list[MergeCandidate]:
    """Pairs of codes that Q confuses on transforms of the real images: candidates to be read as one code.

    Args:
        images_NCHW: uint8; codes_N: Q's codes of them, int64 on the CPU.
    """
    chosen_M, transformed_MK = read_transforms(networks, images_NCHW, config, device)
    return merge_candidates(transformed_MK, codes_N[chosen_M])
