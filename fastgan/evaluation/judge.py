"""The judge, or evaluation classifier: trained on labelled real images, it classifies generated ones.

It is trained once and kept in the user's cache, under a digest of the images and labels that it is trained and tested
on, so that other data have another judge. Training never uses it, only evaluation does.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data import cache, loading
from fastgan.data.image_set import ImageSet, JudgeSet, to_unit_range
from fastgan.evaluation.judge_network import Judge, JudgeNetwork
from fastgan.evaluation.judge_plan import PUBLISHED, Plan, plan, required
from fastgan.inference.labelling import eval_batch
from fastgan.runtime.precision import fastest
from fastgan.runtime.stages import say, stage
from fastgan.seeding import stream_seed

FORMAT = "4"  # raised with the network, the training or the file format: older files are then stale
FEWEST_TESTED = 20  # held-out images: with fewer, 95% and 90% cannot be told apart


def identity(data: JudgeSet) -> str:
    """The digest that a judge is kept under: of images, labels, shares, class names and plan.

    File names have no part in it: a judge sees only pixels.
    """
    hasher = hashlib.sha256(f"judge {FORMAT} {data.name} {plan(data)}".encode())
    parts = ((data.train, data.train_rows), (data.test, data.test_rows))
    for images, rows in parts:
        assert images.labels is not None
        description = f"{tuple(images.images.shape)} {images.label_count} {images.class_names}"
        hasher.update(description.encode(errors="surrogateescape"))
        hasher.update(images.labels.cpu().long().contiguous().numpy().data)
        hasher.update(_rows(images, rows).cpu().contiguous().numpy().data)
    data.train.add_pixels(hasher)
    if data.test.images is not data.train.images:
        data.test.add_pixels(hasher)
    return hasher.hexdigest()[:32]


def too_few(data: JudgeSet) -> str | None:
    """Why no judge can be trained on these images, in words; None where one can."""
    omitted = "what a judge would say of generated images (NMI, ENT, ...) is left out"
    if data.train.label_count < 2:
        return f"{omitted}: the images have only one class"
    if len(_rows(data.test, data.test_rows)) < FEWEST_TESTED:
        count = len(data.train.images)
        return f"{omitted}: {count} labelled images are too few to train and test one; label more, 100 at least"
    return None


def obtain(data: JudgeSet, device: torch.device, cache_dir: Path | None = None) -> Judge:
    """The judge of these images: read from its file, or trained and kept there.

    One that cannot be kept is used for this run only, with a warning.

    Args:
        cache_dir: where judges are kept; None for the user's cache.

    Raises:
        ConfigError: `cache_dir` cannot be written to and does not hold the judge.
    """
    path = cache.cache_dir(cache_dir) / "judges" / f"{identity(data)}.safetensors"
    judge = _read(path, data.train.images.shape[-1], required(data.name), device)
    if judge is not None:
        return judge
    cache.check(cache_dir)
    known = data.name if data.name in PUBLISHED else "your labelled images"
    say(f"training the judge for {known} once (it is kept for later runs) ...")
    judge = train(data, device)
    _say(judge, data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(judge, path)
    except (OSError, SafetensorError) as error:
        cause = getattr(error, "strerror", None) or " ".join(str(error).split())
        say(
            f"warning: {path.parent}: the judge cannot be kept there and serves this run only ({cause}); name a "
            "folder that can be written by --cache-dir"
        )
    return judge


def _say(judge: Judge, data: JudgeSet) -> None:
    """Print the accuracy, on how many images, and how many classes had none to test."""
    assert data.test.labels is not None
    rows = _rows(data.test, data.test_rows)
    classes, tested = data.test.label_count, len(data.test.labels[rows].unique())
    have, are = ("has", "is") if classes - tested == 1 else ("have", "are")
    untested = f"; {classes - tested} of {classes} classes {have} a single image and {are} not tested"
    say(
        f"the judge's accuracy on {len(rows):,} held-out images is {judge.accuracy:.1%}"
        + (untested if tested < classes else "")
    )


def train(
    data: JudgeSet,
    device: torch.device,
    how: Plan | None = None,
    *,
    seed: int = 0,
    network: Callable[[], JudgeNetwork] | None = None,
) -> Judge:
    """Train on data.train, measure on data.test; the same weights whenever the data, machine and threads are the same.

    network: makes another network than the judge's own, for one that is asked whether the judge is right.

    The accuracy is the share of images classified correctly; for one's own images it is the mean over classes, so that
    a judge that knows only the most frequent class does not count as reliable. Images are read batch by batch, as they
    may not fit into memory.
    """
    how = plan(data) if how is None else how
    images, labels = data.train.images, data.train.labels
    assert labels is not None and how.steps > 0
    rows = _rows(data.train, data.train_rows)
    channels, size = images.shape[1], images.shape[-1]
    precision = fastest(device)
    begun = stage("training the judge", total=how.steps * how.batch)
    with torch.random.fork_rng(devices=[]), begun as progress:
        torch.manual_seed(stream_seed(seed, "judge"))
        classes = data.train.label_count
        made = JudgeNetwork(channels, classes, size, deep=how.deep) if network is None else network()
        made = made.to(device)
        optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=how.steps)
        for index in islice(_batches(rows, labels, how), how.steps):
            x = _moved(to_unit_range(_take(images, index).to(device)), how)
            with precision.autocast(device):
                loss = F.cross_entropy(made(x).float(), labels[index].to(device), label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            progress.update(how.batch)
    made.eval()
    judge = Judge(made, 0.0, how.required)
    assert data.test.labels is not None
    rows = _rows(data.test, data.test_rows)
    judged, _ = judge(real_parts(data.test.images, rows))
    right, labels = (judged == data.test.labels[rows]).double(), data.test.labels[rows]
    if not how.own:
        return Judge(made, float(right.mean()), how.required)
    tested = torch.bincount(labels)
    of_each = torch.zeros(len(tested), dtype=torch.float64).index_add(0, labels, right)[tested > 0]
    return Judge(made, float((of_each / tested[tested > 0]).mean()), how.required)


def real_parts(images: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """Images [B, C, H, W] in [-1, 1], float32, of `rows` of uint8 images [N, C, H, W], a part at a time."""
    for part in rows.split(eval_batch(images.shape[-1])):
        yield to_unit_range(_take(images, part))


def _rows(images: ImageSet, rows: Tensor | None) -> Tensor:
    return torch.arange(len(images.images)) if rows is None else rows


def _take(images: Tensor, rows: Tensor) -> Tensor:
    return images[rows.to(images.device)]


def _batches(rows: Tensor, labels: Tensor, how: Plan) -> Iterator[Tensor]:
    """Endless batches of `rows`, epoch after epoch; of one's own images each class is drawn equally often."""
    weights = 1.0 / torch.bincount(labels[rows])[labels[rows]].double() if how.own else None
    while True:
        if weights is None:
            order = torch.randperm(len(rows))
        else:
            drawn = torch.rand(len(rows), dtype=torch.float64) * weights.sum()
            order = torch.searchsorted(weights.cumsum(0), drawn).clamp(max=len(rows) - 1)
        yield from rows[order[: len(rows) // how.batch * how.batch]].split(how.batch)


def _moved(images: Tensor, how: Plan) -> Tensor:
    """A batch in [-1, 1] shifted by a few pixels: generated images are centred less exactly than real ones."""
    far, size = how.shift, images.shape[-1]
    if how.own or how.mirror:
        mirrored = (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
        images = torch.where(mirrored, images.flip(-1), images)
    if how.own or how.reflect:
        padded = F.pad(images, (far,) * 4, mode="reflect")
    else:
        padded = F.pad(images, (far,) * 4, value=-1.0)
    dx, dy = torch.randint(2 * far + 1, (2,)).tolist()
    return padded[..., dy : dy + size, dx : dx + size]


def _write(judge: Judge, path: Path) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in judge.network.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    accuracy = repr(judge.accuracy)
    metadata = {"format": FORMAT, "accuracy": accuracy, "sha256": _digest(tensors, accuracy)}
    try:
        save_file(tensors, str(partial), metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _digest(tensors: dict[str, Tensor], accuracy: str) -> str:
    hasher = hashlib.sha256(accuracy.encode())
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].numpy().tobytes())
    return hasher.hexdigest()


def _read(path: Path, image_size: int, required: float, device: torch.device) -> Judge | None:
    """The judge in `path`, or None when the file is absent, stale or damaged (it is then trained again)."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if metadata.get("format") != FORMAT or metadata.get("sha256") != _digest(tensors, metadata["accuracy"]):
            return None
        channels = tensors["features.0.weight"].shape[1]
        deep = tensors["features.0.weight"].shape[2] == 3 and sum(value.ndim == 4 for value in tensors.values()) > 2
        network = JudgeNetwork(channels, len(tensors["classes.bias"]), image_size, deep=deep)
        network.load_state_dict(tensors)
        return Judge(network.to(device).eval(), float(metadata["accuracy"]), required)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError):
        return None


def withheld(accuracy: float, required: float) -> str:
    """The message in place of the figures of a judge that is not reliable."""
    found = math.floor(1000 * accuracy) / 10  # 94.96% is not 95%
    return (
        f"NMI, ENT and all else that a judge says of generated images are withheld: its accuracy on held-out real "
        f"images is {found:.1f}%, and {100 * required:.3g}% is needed; if they are yours, label more images"
    )


def obtain_judge(config: TrainConfig, images: ImageSet, device: torch.device) -> Judge | None:
    """The judge for a run's data; None where the images have no labels, or too few to train and test one.

    One that is not reliable is returned too, with a warning: only its accuracy is reported.
    """
    if images.labels is None:
        return None
    shares = loading.load_judge_set(config, images)
    refused = too_few(shares) if config.own_images else None
    if refused is not None:
        say(f"warning: {refused}")
        return None
    found = obtain(shares, device, config.cache_dir)
    if not found.reliable:
        say(f"warning: {withheld(found.accuracy, found.required)}")
    return found
