"""The judge: a classifier of real classes, trained on labelled images, that says what generated images show.

It is trained once for a data set and image size and kept beside the data (or in the user's cache folder when that
is not writable). It never touches training: only evaluation looks through its eyes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fastgan.augment import to_unit_range
from fastgan.config import cache_dir, stream_seed
from fastgan.data import JudgeSet

FEATURES = 128  # length of the last hidden layer, in which diversity is measured
BATCH = 128
FORMAT = "2"  # a change of network or training makes older files stale
REQUIRED = {"mnist": 0.990, "digits": 0.960}  # accuracy on held-out images below which a judge is not believed
EPOCHS = {"mnist": 3, "digits": 40}


class JudgeNetwork(nn.Module):
    """Two 3x3 convolutions with pooling and a hidden layer: image [B, C, H, W] to class logits [B, classes]."""

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (image_size // 4) ** 2, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(inplace=True),
        )
        self.classes = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classes(self.features(images))
        return logits


@dataclass(frozen=True)
class Judge:
    """A trained judge and its accuracy on held-out real images."""

    network: JudgeNetwork
    accuracy: float

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class [N], int64, and features [N, 128] of images [N, C, H, W] in [-1, 1], on the CPU."""
        device = next(self.network.parameters()).device
        classes, features = [], []
        for part in images.split(1000):
            hidden = self.network.features(part.to(device))
            features.append(hidden.cpu())
            classes.append(self.network.classes(hidden).argmax(1).cpu())
        return torch.cat(classes), torch.cat(features)


def obtain(
    name: str, image_size: int, load: Callable[[], JudgeSet], data_folder: Path | None, device: torch.device
) -> Judge:
    """The judge for a data set and image size: read from its file, or trained and written there.

    Args:
        load: gives the labelled images; called only when the judge has to be trained.
        data_folder: where the file is looked for and kept first; the user's cache folder comes second.
    """
    file_name = f"fastgan-judge-{name}-{image_size}px.safetensors"
    folders = [folder for folder in (data_folder, cache_dir()) if folder is not None]
    for folder in folders:
        judge = _read(folder / file_name, image_size, device)
        if judge is not None:
            return judge
    print(f"training the judge for {name} once (it is kept for later runs) ...", file=sys.stderr)
    judge = train(load(), EPOCHS[name], device)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(judge, folder / file_name)
            break
        except OSError:
            continue  # not writable: the next folder, or this run alone
    return judge


def train(data: JudgeSet, epochs: int, device: torch.device) -> Judge:
    """Train on data.train, measure on data.test; the same weights whenever the data are the same."""
    images, labels = data.train.images.to(device), data.train.labels
    assert labels is not None
    labels = labels.to(device)
    channels, size = images.shape[1], images.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "judge"))
        network = JudgeNetwork(channels, data.train.label_count, size).to(device)
        steps = epochs * (len(images) // BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
        for _ in range(epochs):
            order = torch.randperm(len(images)).to(device)
            for index in order[: len(images) // BATCH * BATCH].split(BATCH):
                # A shift of up to one pixel each way: generated images sit less exactly than real ones.
                x = F.pad(to_unit_range(images[index]), (1, 1, 1, 1), value=-1.0)
                dx, dy = torch.randint(3, (2,)).tolist()
                x = x[..., dy : dy + size, dx : dx + size]
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    loss = F.cross_entropy(network(x).float(), labels[index], label_smoothing=0.05)
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    network.eval()
    judge = Judge(network, 0.0)
    assert data.test.labels is not None
    judged, _ = judge(to_unit_range(data.test.images))
    return Judge(network, float((judged == data.test.labels).double().mean()))


def _write(judge: Judge, path: Path) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in judge.network.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = {"format": FORMAT, "accuracy": repr(judge.accuracy), "sha256": _digest(tensors)}
    save_file(tensors, str(partial), metadata=metadata)
    partial.replace(path)


def _digest(tensors: dict[str, Tensor]) -> str:
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].numpy().tobytes())
    return hasher.hexdigest()


def _read(path: Path, image_size: int, device: torch.device) -> Judge | None:
    """The judge in `path`, or None when the file is absent, stale or damaged (it is then trained anew)."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.get("format") != FORMAT or metadata.get("sha256") != _digest(tensors):
            return None
        channels = tensors["features.0.weight"].shape[1]
        network = JudgeNetwork(channels, len(tensors["classes.bias"]), image_size)
        network.load_state_dict(tensors)
        return Judge(network.to(device).eval(), float(metadata["accuracy"]))
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError):
        return None
