"""What one captured iteration costs a GPU before any kernel runs: `PYTHONPATH=tests python -m null_gpu.nodes`.

Nodes of its graph, eager and compiled, by who made their kernels, and the bytes that its operations read and write.
Both are counted on the null GPU at MNIST's size, batch 64; how long a GPU takes is measured on one. The table goes to
bench/results/nodes.txt; bytes are of the eager step, whose large tensors the compiled one has too.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from null_gpu.child import ROOT, told

SETTINGS: dict[str, dict[str, Any]] = {
    f"{recipe}, {precision}": {"recipe": recipe, "amp": precision != "float32"}
    for recipe in ("default", "paper")
    for precision in ("bfloat16", "float32")
}
MAKERS = {"triton triton_": "Inductor", "triton ": "ours", "cublas": "cuBLAS", "cudnn": "cuDNN", "copy": "copies"}
KINDS = ("products", "Adam", "averages", "gradients", "others")
PRODUCTS = ("mm", "addmm", "convolution", "convolution_backward", "linear", "cudnn_convolution")
GRADIENTS = 1 << 20  # bytes from which an addition, copy or fill is of a large weight's gradient
ONLY_WRITTEN = {"copy_": ("self",), "zero_": ("self",), "fill_": ("self",), "_foreach_copy_": ("self",)}
ONLY_WRITTEN["adam_step"] = ("shadow",)


def maker(node: str) -> str:
    """Who made the kernel of a node."""
    return next((name for start, name in MAKERS.items() if node.startswith(start)), "torch")


def traffic(step: Any) -> dict[str, int]:
    """Bytes that the operations of `step()` read and write, by kind: each tensor once, twice where it is updated."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    found: Counter[str] = Counter()

    def size(values: Any) -> int:
        tensors = [x for x in tree_leaves(values) if isinstance(x, torch.Tensor) and x.is_cuda]
        return sum(x.numel() * x.element_size() for x in tensors)

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = op(*args, **(kwargs or {}))
            name = op.overloadpacket.__name__
            if any(x.alias_info is not None and not x.alias_info.is_write for x in op._schema.returns):
                return result  # a view
            given = {x.name: value for x, value in zip(op._schema.arguments, args, strict=False)} | (kwargs or {})
            written = {x.name for x in op._schema.arguments if x.alias_info is not None and x.alias_info.is_write}
            once = ONLY_WRITTEN.get(name, ())
            total = sum(size(value) * (1 + (key in written and key not in once)) for key, value in given.items())
            if name == "adam_step":  # of the flat gradients, all but the large one, which lies elsewhere
                total -= size(given.get("large"))
            if not written and name not in ("empty", "empty_like", "empty_strided", "new_empty"):
                total += size(result)
            found[self.kind(name, total)] += total
            return result

        def kind(self, name: str, total: int) -> str:
            if name in PRODUCTS:
                return "products"
            if name == "adam_step":
                return "Adam"
            if name.startswith("_foreach_") and name != "_foreach_copy_":
                return "averages"
            if name in ("add", "add_", "zero_", "fill_", "copy_", "_foreach_copy_") and total >= GRADIENTS:
                return "gradients"
            return "others"

    with Counting():
        step()
    torch.cuda.synchronize()
    return {kind: found[kind] for kind in KINDS}


def count(recipe: str, **changes: Any) -> dict[str, Any]:
    """Of one setting: the nodes of its captured iteration by maker, and its bytes by kind."""
    import torch

    from fastgan.training.engine import Engine
    from null_gpu.seen import graphs
    from null_gpu.step import setting

    config, images = setting(recipe, **changes)
    before = len(graphs())
    Engine(config, images, torch.device("cuda")).prepare(0)
    nodes = Counter(map(maker, min(graphs()[before:], key=len)))
    if config.compile:
        return {"nodes": nodes}
    plain = Engine(dataclasses.replace(config, capture=False), images, torch.device("cuda"))
    plain.prefetch(0, 4 * plain.batch)
    plain.iterations.run(2)
    return {"nodes": nodes, "bytes": traffic(lambda: plain.iterations.run(1))}


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Aligned columns."""
    makers = (*dict.fromkeys(MAKERS.values()), "torch")
    lines = [f"{'nodes of one captured iteration':33} {'all':>5}" + "".join(f"{name:>9}" for name in makers)]
    for name, ways in found.items():
        for way, seen in zip(("eager", "compiled"), ways, strict=True):
            nodes = seen["nodes"]
            cells = "".join(f"{nodes.get(maker, 0):9}" for maker in makers)
            lines.append(f"{name + ', ' + way:33} {sum(nodes.values()):5}{cells}")
    lines += ["", f"{'MB that it reads and writes':33} {'all':>5}" + "".join(f"{name:>10}" for name in KINDS)]
    for name, (eager, _) in found.items():
        cells = "".join(f"{eager['bytes'][kind] / 1e6:10.0f}" for kind in KINDS)
        lines.append(f"{name:33} {sum(eager['bytes'].values()) / 1e6:5.0f}{cells}")
    return "\n".join(lines)


def main(where: Path = ROOT / "bench" / "results" / "nodes.txt") -> None:
    """Count every setting, each in a process of its own, print the table and keep it."""
    found = {}
    for name, setting in SETTINGS.items():
        ways = ({}, {"compile": True})
        found[name] = [told("-m", "null_gpu.nodes", json.dumps(setting | way), timeout=900) for way in ways]
    text = table(found)
    print(text)
    where.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        print(json.dumps(count(**json.loads(sys.argv[1]))))
    else:
        main(*map(Path, sys.argv[1:]))
