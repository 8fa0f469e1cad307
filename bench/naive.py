"""Elastic-InfoGAN as a reader of the paper would write it: what fastgan's speed is measured against.

Eager float32, one pass after the other as the method describes them, torch's Adam as it comes, and each image turned
and cropped with PIL in a DataLoader. Plain, but not made slow on purpose. It shares no code with fastgan.
"""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

NOISE, CLASSES = 62, 10


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Each image and its transform, both [1, 28, 28] in [-1, 1]. images: uint8 [N, 1, 28, 28]."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.squeeze(1).cpu().numpy()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.images[index])
        return self.normalised(image), self.normalised(self.transformed(image))

    @staticmethod
    def normalised(image: Image.Image) -> Tensor:
        return TF.normalize(TF.to_tensor(image), [0.5], [0.5])

    @staticmethod
    def transformed(image: Image.Image) -> Image.Image:
        """Rotate by up to 20 degrees, crop the largest upright square of it, resize, zoom by 0.9 to 1.1."""
        angle, zoom, size = random.uniform(-20, 20), random.uniform(0.9, 1.1), image.width
        turn = math.radians(abs(angle))
        image = TF.rotate(image, angle, interpolation=InterpolationMode.BICUBIC, expand=True)
        image = TF.center_crop(image, [round(size / (math.cos(turn) + math.sin(turn)))])
        image = TF.resize(image, [size, size], interpolation=InterpolationMode.BICUBIC)
        return TF.affine(image, 0.0, [0, 0], zoom, [0.0], interpolation=InterpolationMode.BICUBIC)


def loader(images: Tensor, batch_size: int, workers: int, device: torch.device) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(
        TwoViews(images),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )


def generator() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(NOISE + CLASSES, 1024),
        nn.BatchNorm1d(1024),
        nn.ReLU(),
        nn.Linear(1024, 128 * 7 * 7),
        nn.BatchNorm1d(128 * 7 * 7),
        nn.ReLU(),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, 2, 1),
        nn.Tanh(),
    )


def front_end() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, 2, 1),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(128 * 7 * 7, 1024),
        nn.BatchNorm1d(1024),
        nn.LeakyReLU(0.2),
    )


def initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def nt_xent(view: Tensor, other: Tensor) -> Tensor:
    """The contrastive loss at temperature 1, as SimCLR's implementations usually have it."""
    embed = F.normalize(torch.cat((view, other)), dim=1)
    logits = embed @ embed.T
    logits.fill_diagonal_(float("-inf"))
    positive = torch.arange(len(embed), device=embed.device).roll(len(view))
    return F.cross_entropy(logits, positive)


class NaiveTrainer:
    """The networks, the learned prior and two Adams; `step` is one iteration of the method."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.generator = generator().to(device)
        self.front_end = front_end().to(device)
        self.discriminator = nn.Sequential(nn.Linear(1024, 1), nn.Sigmoid()).to(device)
        self.embed = nn.Sequential(nn.Linear(1024, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.2)).to(device)
        self.code = nn.Linear(128, CLASSES).to(device)
        for network in (self.generator, self.front_end, self.discriminator, self.embed, self.code):
            network.apply(initialise)
        self.prior = nn.Parameter(torch.zeros(CLASSES, device=device))
        d_side = [*self.front_end.parameters(), *self.discriminator.parameters()]
        g_side = [*self.generator.parameters(), *self.embed.parameters(), *self.code.parameters(), self.prior]
        self.d_optimizer = torch.optim.Adam(d_side, lr=2e-4, betas=(0.5, 0.999))
        self.g_optimizer = torch.optim.Adam(g_side, lr=2e-4, betas=(0.5, 0.999))
        self.bce = nn.BCELoss()
        self.cross_entropy = nn.CrossEntropyLoss()

    def step(self, real: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """One D and one G update on images and their transforms; returns both losses."""
        one = torch.ones(len(real), 1, device=self.device)
        zero = torch.zeros(len(real), 1, device=self.device)
        noise = torch.randn(len(real), NOISE, device=self.device)
        gumbel = -torch.log(-torch.log(torch.rand(len(real), CLASSES, device=self.device).clamp(1e-10, 1 - 1e-7)))
        code = torch.softmax((torch.log_softmax(self.prior, 0) + gumbel) / 0.1, dim=1)
        index = code.detach().argmax(1)

        # The discriminator's turn.
        real_features = self.front_end(real)
        other_features = self.front_end(other)
        fake = self.generator(torch.cat((noise, code), 1))
        fake_features = self.front_end(fake.detach())
        d_loss = self.bce(self.discriminator(real_features), one) + self.bce(self.discriminator(fake_features), zero)
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        # The generator's turn, with Q and the prior.
        fake_features = self.front_end(fake)
        g_loss = self.bce(self.discriminator(fake_features), one)
        g_loss = g_loss + self.cross_entropy(self.code(self.embed(fake_features)), index)
        g_loss = g_loss + 10.0 * nt_xent(self.embed(real_features.detach()), self.embed(other_features.detach()))
        self.g_optimizer.zero_grad()
        g_loss.backward()
        self.g_optimizer.step()
        return d_loss.detach(), g_loss.detach()
