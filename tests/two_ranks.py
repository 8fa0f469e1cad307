"""What each of two ranks does in tests/runtime/test_distributed.py, and one process again with twice the batch.

`python tests/two_ranks.py FOLDER` under RANK and WORLD_SIZE: writes FOLDER/rank-<r>.pt, every check's tensors by name.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from advance import DEFAULT_RECIPE
from torch import Tensor, nn

from fastgan.augment.factory import make_transform
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits, loading
from fastgan.models import sync_batchnorm
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.models.sync_batchnorm import BATCH_NORMS, SyncBatchNorm
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator, init_distributed
from fastgan.runtime.ranks import RankInfo
from fastgan.step import losses
from fastgan.step.pretraining import PretrainingStep
from fastgan.step.step import Step

Found = dict[str, Tensor]
CPU = torch.device("cpu")
JOB = 16  # images of a job's batch
STEPS = 6
PAPER = TrainConfig(image_size=16, batch_size=JOB, average_decay=0.9, network=NetworkConfig(width=4, hidden=16))
RECIPES = {"paper": PAPER, "default": dataclasses.replace(PAPER, **DEFAULT_RECIPE)}


def bare(networks: Networks) -> Networks:
    """The same networks without normalisation, except one unused layer that the guard needs."""
    for module in list(networks.modules()):
        for name, child in module.named_children():
            if isinstance(child, BATCH_NORMS):
                setattr(module, name, nn.Identity())
    networks.unused = nn.BatchNorm1d(1).to(networks.discriminator.real.weight.dtype)
    return networks


def make_step(
    config: TrainConfig, comm: Communicator, *, dtype: torch.dtype = torch.float64, normalised: bool = True
) -> Step:
    """A step on this rank's share of JOB images."""
    config = dataclasses.replace(config, batch_size=JOB // comm.world_size)
    shape = Shape(config.image_size, 1, config.classes, config.network, config.finer_codes)
    networks = Networks(shape).initialise(0).to(dtype)
    if not normalised:
        # Without normalisation an image hardly moves the features: larger weights give every loss something to do.
        with torch.no_grad():
            for parameter in bare(networks).parameters():
                parameter.mul_(5)
    return Step(networks, ClassPrior("learned", config.classes).to(dtype), config, CPU, comm)


def batch(step: Step, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's share of job batch `number`: images, their transforms, their groups (some have none)."""
    first = number * JOB
    images = digits.full(step.config.image_size).images[first : first + JOB]
    transform = make_transform(step.config, channels=1, most=JOB, device=CPU, dtype=torch.float64)
    transform.start(images, first)
    groups = images.flatten(1).long().sum(1) % 10
    groups[1::3] = -1  # unequally many on the two ranks
    if number < 2:
        groups[:] = -1
    share = slice(step.comm.rank * step.config.batch_size, (step.comm.rank + 1) * step.config.batch_size)
    return images[share], transform.finish()[share], groups[share]


def several(step: Step, count: int = STEPS) -> Found:
    """The job's losses of some steps, and the whole state after them."""
    rows = torch.stack([step(*batch(step, number)) for number in range(count)])
    step.comm.all_reduce_mean_([rows])
    state = step.model.state_dict() | step.training_state()
    return {"losses": rows} | {name: value.detach().clone() for name, value in state.items()}


def steps(recipe: str, comm: Communicator, normalised: bool = True) -> Found:
    return several(make_step(RECIPES[recipe], comm, normalised=normalised))


def pretrained(comm: Communicator) -> Found:
    """Three steps of pretraining, two of them with groups, then whole ones with new moments."""
    step = make_step(RECIPES["default"], comm)
    pretraining = PretrainingStep(step)
    rows = torch.stack([pretraining(*batch(step, number)) for number in range(1, 4)])
    step.optimizers.forget()
    comm.all_reduce_mean_([rows])
    return several(step, 3) | {"pretraining_losses": rows}


def low_precision(comm: Communicator) -> Found:
    return several(
        make_step(dataclasses.replace(RECIPES["default"], amp=True, amp_dtype="bfloat16"), comm, dtype=torch.float32), 3
    )


def scaled(comm: Communicator) -> Found:
    """float16, whose scale must stay the same on all ranks."""
    config = dataclasses.replace(RECIPES["default"], amp=True, amp_dtype="float16")
    return several(make_step(config, comm, dtype=torch.float32), 3)


def unsynchronised(comm: Communicator) -> Found:
    step = make_step(dataclasses.replace(RECIPES["default"], sync_batchnorm=False), comm)
    found = several(step)
    step.model.sync_running_stats(comm)
    return found | {f"settled.{name}": value.clone() for name, value in step.model.state_dict().items()}


def contrastive(comm: Communicator) -> Found:
    """NT-Xent's loss, and its gradient by all views, gathered from the ranks and divided as averaging does."""
    views = torch.randn(2, JOB, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    own = views.chunk(comm.world_size, 1)[comm.rank].clone().requires_grad_()
    loss = losses.contrastive_loss(own[0], own[1], 0.5, comm)
    (loss * 3).backward()
    assert own.grad is not None
    return {"loss": loss.detach(), "gradient": comm.gather(own.grad / comm.world_size).transpose(0, 1).flatten(1, 2)}


def agreement(comm: Communicator) -> Found:
    logits = torch.randn(2, JOB, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = logits.chunk(comm.world_size, 1)[comm.rank].clone().requires_grad_()
    loss = losses.iic_loss(own[0], own[1], comm)
    loss.backward()
    assert own.grad is not None
    return {"loss": loss.detach(), "gradient": comm.gather(own.grad / comm.world_size).transpose(0, 1).flatten(1, 2)}


def normalisation(comm: Communicator) -> Found:
    """A layer's output, gradients and running statistics, for 2D and 4D inputs far from zero."""
    found: Found = {}
    for shape in ((JOB, 3), (JOB, 3, 2, 4)):
        random = torch.Generator().manual_seed(2)
        x = torch.randn(shape, dtype=torch.float64, generator=random) * 3 + 100
        weight = torch.randn(shape, dtype=torch.float64, generator=random)
        plain = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3).double()
        layer = plain if comm.world_size == 1 else SyncBatchNorm(plain, comm)
        with torch.no_grad():
            plain.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
        own = x.chunk(comm.world_size)[comm.rank].clone().requires_grad_()
        y = layer(own)
        (y.square() * weight.chunk(comm.world_size)[comm.rank]).mean().backward()
        assert own.grad is not None and plain.weight.grad is not None and plain.bias.grad is not None
        comm.all_reduce_mean_([plain.weight.grad, plain.bias.grad])
        parts = {"y": comm.gather(y.detach()).flatten(0, 1), "x": comm.gather(own.grad / comm.world_size).flatten(0, 1)}
        parts |= {"weight": plain.weight.grad, "bias": plain.bias.grad} | dict(layer.named_buffers())
        layer.eval()
        parts["evaluated"] = comm.gather(layer(own).detach()).flatten(0, 1)
        found |= {f"{len(shape)}.{name}": value for name, value in parts.items()}
    return found


def many_ranks_normalisation(comm: Communicator) -> Found:
    """As with more ranks than MAX_GATHER_RANKS."""
    before, sync_batchnorm.MAX_GATHER_RANKS = sync_batchnorm.MAX_GATHER_RANKS, 1
    try:
        return normalisation(comm)
    finally:
        sync_batchnorm.MAX_GATHER_RANKS = before


def poisoned(comm: Communicator, name: str) -> Found:
    """A loss is NaN on the last rank only in the third step: the state before it and at the end."""
    step = make_step(RECIPES["paper"], comm)
    real, calls = getattr(losses, name), []

    def poison(*arguments: object) -> Tensor:
        calls.append(1)
        found: Tensor = real(*arguments)
        return found + math.nan if len(calls) == 3 and comm.rank == comm.world_size - 1 else found

    setattr(losses, name, poison)
    try:
        found: Found = {}
        for number in range(4):
            if number == 2:
                found = {f"before.{key}": value.clone() for key, value in step.model.state_dict().items()}
            step(*batch(step, number))
    finally:
        setattr(losses, name, real)
    first = step.guard.first_bad()
    return found | step.model.state_dict() | {"first_bad": torch.tensor(-1 if first is None else first)}


def noise(comm: Communicator) -> Found:
    """The rows of noise and codes that this rank draws in three steps."""
    step = make_step(PAPER, comm, dtype=torch.float32)
    drawn, codes = [], []
    real = step._generator

    def seen(noise_BZ: Tensor, code_BK: Tensor) -> Tensor:
        drawn.append(noise_BZ.clone())
        codes.append(code_BK.detach().clone())
        found: Tensor = real(noise_BZ, code_BK)
        return found

    step._generator = seen
    several(step, 3)
    return {"noise": torch.stack(drawn), "codes": torch.stack(codes)}


def order(comm: Communicator) -> Found:
    """The images that this rank trains on in two epochs, batches of 10."""
    from fastgan.training.engine import build_feed

    config = dataclasses.replace(PAPER, batch_size=10, contrastive_weight=0.0)
    feed = build_feed(config, loading.load(config), CPU, comm=comm)
    return {f"epoch {epoch}": feed.order(epoch)[: feed.epoch_images] for epoch in range(2)}


CHECKS: dict[str, Callable[[Communicator], Found]] = {
    "paper": lambda comm: steps("paper", comm),
    "default": lambda comm: steps("default", comm),
    "paper, bare": lambda comm: steps("paper", comm, normalised=False),
    "default, bare": lambda comm: steps("default", comm, normalised=False),
    "pretraining": pretrained,
    "bfloat16": low_precision,
    "float16": scaled,
    "unsynchronised": unsynchronised,
    "contrastive": contrastive,
    "agreement": agreement,
    "normalisation": normalisation,
    "normalisation of many ranks": many_ranks_normalisation,
    "poisoned discriminator": lambda comm: poisoned(comm, "discriminator_loss"),
    "poisoned generator": lambda comm: poisoned(comm, "generator_loss"),
    "noise": noise,
    "order": order,
}


def alone(name: str) -> Found:
    """A check by one process, on the whole batch."""
    return CHECKS[name](SINGLE_PROCESS)


def threads() -> list[str]:
    """The names of this process's threads, if the system reports them."""
    found = []
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended in the meantime
            found.append(path.read_text().strip())
    return found


def main(folder: Path, names: Iterable[str] = tuple(CHECKS)) -> None:
    with init_distributed(RankInfo.from_environment()) as comm:
        comm.begin(CPU, 60)
        found = {name: CHECKS[name](comm) for name in names}
        torch.save(found, folder / f"rank-{comm.rank}.pt")
    deadline = time.monotonic() + 10
    while any("gloo" in name for name in threads()):  # the system shows a thread for a moment after it was joined
        assert time.monotonic() < deadline, f"threads that may yet abort the process: {threads()}"
        time.sleep(0.01)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
