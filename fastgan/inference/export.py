"""Export: a trained run as programs that need only torch, beside its weights and its model card.

Legend: B images, K codes, Z noise, D embedding, CHW an image, S the side that the networks take.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fastgan.data.image_set import to_unit_range
from fastgan.errors import ConfigError
from fastgan.inference import onnx_files, saved_model
from fastgan.inference.export_place import CARD, FILES, MODEL, check_place
from fastgan.inference.model_card import model_card
from fastgan.inference.trained_run import TrainedModel, TrainedRun
from fastgan.models.layers import Flatten, Linear
from fastgan.models.networks import CodeHead, FrontEnd, Generator
from fastgan.runtime import outputs
from fastgan.runtime.stages import stage

M = TypeVar("M", bound=nn.Module)


class Drawer(nn.Module):
    """Noise [B, Z] and code [B, K] to images [B, C, S, S]; the attribute's name keeps the names of the weights."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        images: Tensor = self.generator(noise, code)
        return images


class Labeller(nn.Module):
    """uint8 images [B, C, H, W] of any size to code probabilities [B, K] and embeddings [B, D], float32."""

    def __init__(self, front_end: FrontEnd, code_head: CodeHead, side: int) -> None:
        super().__init__()
        self.front_end, self.code_head, self.side = front_end, code_head, side

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.code_head.embed(self.front_end(to_unit_range(self._square(images))))
        return self.code_head.code(embedding).softmax(1), embedding

    def _square(self, images: Tensor) -> Tensor:
        """The central square at S x S pixels, [B, C, S, S], as data/arrays.py makes it.

        Without a branch on sizes, and by index_select: traced slices would fix how the sizes compare.
        """
        height, width = images.shape[2:]
        side = torch.sym_min(height, width)
        rows = torch.arange(side)
        square = images.index_select(2, rows + (height - side) // 2).index_select(3, rows + (width - side) // 2)
        size = (self.side, self.side)
        resized = F.interpolate(square.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
        return resized.round().clamp(0, 255)


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


def programs(model: TrainedModel) -> dict[str, ExportedProgram]:
    """Generator and labeller as traced programs in float32, for any number of images."""
    shape, batch = model.networks.shape, Dim("batch")
    drawer = plain(Drawer(model.generator))
    labeller = plain(Labeller(model.networks.front_end, model.networks.code_head, shape.image_size))
    # The overclustering head only shaped the features during training.
    labeller.code_head.finer = None
    # Two images of two different sides: torch.export takes a size of one, and equal ones, as fixed.
    inputs = (torch.zeros(2, shape.network.noise), torch.zeros(2, shape.classes))
    images = torch.zeros(2, shape.channels, shape.image_size + 3, shape.image_size + 7, dtype=torch.uint8)
    sides = {0: batch, 2: Dim("height", min=2), 3: Dim("width", min=2)}
    drawing = torch.export.export(drawer, inputs, dynamic_shapes=({0: batch}, {0: batch}))
    labelling = torch.export.export(labeller, (images,), dynamic_shapes=(sides,))
    for program in (drawing, labelling):
        for node in program.graph.nodes:  # paths of this machine do not belong in an export
            node.meta.pop("stack_trace", None)
    return {"generator": drawing, "labeller": labelling}


def export(run: TrainedRun, out: Path, force: bool = False, words: Mapping[str, str] | None = None) -> list[str]:
    """Write the weights, the programs and the model card into the folder `out`, atomically.

    Args:
        words: what each figure of the model card means.

    Returns:
        The names of the files, ONNX among them where it can be written.

    Raises:
        ConfigError: `out` is taken, or cannot be written.
    """
    check_place(out, force)
    of = saved_model.provenance(run)
    with stage("tracing the programs"):
        traced = programs(run)
    with replaced(out, force) as folder:
        saved_model.write(run, of, folder)
        for name, program in traced.items():
            with (folder / f"{name}.pt2").open("wb") as file:  # torch opens no path that is not UTF-8
                torch.export.save(program, file)
        with stage("writing the ONNX files"):
            onnx_files.write(traced, folder)
        names = [name for name in FILES if (folder / name).exists() or name == CARD]
        (folder / CARD).write_text(model_card(run, of, names, words or {}), encoding="utf-8")
    return names


def save(model: TrainedModel, of: saved_model.Provenance, out: Path, force: bool, words: Mapping[str, str]) -> None:
    """Write the weights and the model card alone into the folder `out`, atomically; raises as `export`."""
    with replaced(out, force, MODEL) as folder:
        saved_model.write(model, of, folder)
        text = model_card(model, of, MODEL, words)
        (folder / CARD).write_text(text, encoding="utf-8")


@contextmanager
def replaced(out: Path, force: bool, files: Collection[str] = FILES) -> Iterator[Path]:
    """Within, a folder to fill, which at the end takes the place of `out`, whole or not at all.

    Raises:
        ConfigError: `out` is taken, or cannot be written.
    """
    check_place(out, force, files)
    try:
        with outputs.replaced_folder(out) as folder:
            yield folder
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"--out {out}: cannot be written ({cause}); name a folder that can") from error
