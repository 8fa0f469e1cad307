"""Export: a trained run as programs that need only torch."""

from __future__ import annotations

import copy
import os
import shutil
import uuid
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fastgan.data.image_set import to_unit_range
from fastgan.errors import ConfigError
from fastgan.inference.export_place import FILES, check_place
from fastgan.inference.export_readme import readme
from fastgan.inference.trained_run import TrainedRun
from fastgan.models.layers import Flatten, Linear
from fastgan.models.networks import CodeHead, FrontEnd, Generator
from fastgan.runtime.stages import stage

M = TypeVar("M", bound=nn.Module)


class Drawer(nn.Module):
    """Noise [B, Z] and code [B, K] to images [B, C, H, W]; the attribute's name keeps the names of the weights."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        images: Tensor = self.generator(noise, code)
        return images


class Labeller(nn.Module):
    """uint8 images [B, C, S, S] to code probabilities [B, K] and embeddings [B, D], float32."""

    def __init__(self, front_end: FrontEnd, code_head: CodeHead) -> None:
        super().__init__()
        self.front_end, self.code_head = front_end, code_head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.code_head.embed(self.front_end(to_unit_range(images)))
        return self.code_head.code(embedding).softmax(1), embedding


def plain(module: M) -> M:
    """A copy that shares the weights, with torch's own layers in place of ours, so that tracing meets only torch's ops.

    On a CPU our Linear calls an op that only some builds of torch have, and our Flatten an autograd function.
    """
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Linear):
                with torch.device("meta"):  # the weights come from `child`
                    linear = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                linear.weight, linear.bias = child.weight, child.bias
                setattr(parent, name, linear)
            elif isinstance(child, Flatten):
                setattr(parent, name, nn.Flatten())
    return module.eval().requires_grad_(False)


def programs(run: TrainedRun) -> tuple[ExportedProgram, ExportedProgram]:
    """Generator and labeller as traced programs in float32, for any number of images."""
    shape, batch = run.networks.shape, Dim("batch")
    drawer = plain(Drawer(run.generator))
    labeller = plain(Labeller(run.networks.front_end, run.networks.code_head))
    # The overclustering head only shaped the features during training.
    labeller.code_head.finer = None
    # Two images: torch.export takes a batch of one as a fixed size.
    inputs = (torch.zeros(2, shape.network.noise), torch.zeros(2, shape.classes))
    images = torch.zeros(2, shape.channels, shape.image_size, shape.image_size, dtype=torch.uint8)
    drawing = torch.export.export(drawer, inputs, dynamic_shapes=({0: batch}, {0: batch}))
    labelling = torch.export.export(labeller, (images,), dynamic_shapes=({0: batch},))
    for program in (drawing, labelling):
        for node in program.graph.nodes:  # paths of this machine do not belong in an export
            node.meta.pop("stack_trace", None)
    return drawing, labelling


def tensors(run: TrainedRun) -> dict[str, Tensor]:
    """generator.*, front_end.* and code_head.*, with the names of the state_dict, and prior.probabilities [K]."""
    parts = {"generator": run.generator, "front_end": run.networks.front_end, "code_head": run.networks.code_head}
    found = {
        f"{part}.{name}": value.contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    return found | {"prior.probabilities": run.prior.probabilities()}


def export(run: TrainedRun, out: Path, force: bool = False) -> None:
    """Write FILES into the folder `out`, atomically.

    Raises:
        ConfigError: `out` is taken, or cannot be written.
    """
    out = Path(os.path.abspath(out))
    check_place(out, force)
    with stage("tracing the programs"):
        traced = programs(run)
    partial = out.with_name(f".partial-{out.name}-{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        # Not save_file, whose files only their owner may read.
        (partial / FILES[0]).write_bytes(save(tensors(run)))
        for program, name in zip(traced, FILES[1:3], strict=True):
            with (partial / name).open("wb") as file:  # torch opens no path that is not UTF-8
                torch.export.save(program, file)
        (partial / FILES[3]).write_text(readme(run), encoding="utf-8")
        if out.exists():
            before = partial.with_name(f"{partial.name}-before")
            out.rename(before)
            try:
                partial.rename(out)
            except OSError:
                before.rename(out)
                raise
            shutil.rmtree(before)
        else:
            partial.rename(out)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"--out {out}: cannot be written ({cause}); name a folder that can") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
