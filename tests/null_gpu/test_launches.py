"""What an op launches in a CUDA graph, forward and backward, on the null GPU: its own kernels, and hardly another."""

from __future__ import annotations

from typing import Any

import pytest

from null_gpu.child import told

CODE = """
import json, torch, kernels
from null_gpu.seen import graphs

def seen(leaves, call):
    upstream = torch.ones_like(call().detach())
    def both():
        torch.autograd.grad(call(), leaves, upstream)
    with torch.cuda.stream(torch.cuda.Stream()):
        both()
    torch.cuda.synchronize()
    before, graph = len(graphs()), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        both()
    graph.replay()
    return list(graphs()[before])

def contrastive(count):
    views = [torch.randn(count, 128, device="cuda", requires_grad=True) for _ in range(2)]
    return seen(views, lambda: kernels.nt_xent(*views, temperature=0.5))

def sampled(rows, classes):
    logits = torch.zeros(classes, device="cuda", requires_grad=True)
    counters = {name: torch.tensor(1, device="cuda") for name in ("seed", "offset")}
    draw = lambda: kernels.gumbel_softmax(logits, temperature=0.1, batch_size=rows, **counters)[0]
    return seen([logits], draw)

found = {"64": contrastive(64), "1024": contrastive(1024), "10": sampled(64, 10), "1000": sampled(4096, 1000)}
print(json.dumps(found))
"""
OURS = {
    "64": ["nt_xent_small_kernel"],
    "1024": ["nt_xent_normalize_kernel", "nt_xent_fwd_lse_kernel", "nt_xent_bwd_kernel", "nt_xent_bwd_sum_kernel"],
    "10": ["gumbel_softmax_fwd_kernel", "gumbel_softmax_bwd_kernel"],
    "1000": ["gumbel_softmax_fwd_kernel", "gumbel_softmax_bwd_kernel", "gumbel_softmax_bwd_sum_kernel"],
}
OTHERS = {"64": 1}  # the product of the small kernel's gradient with the one from upstream


@pytest.fixture(scope="module")
def launched() -> Any:
    return told("-c", CODE)


@pytest.mark.parametrize("case", OURS)
def test_an_op_launches_its_own_kernels(case: str, launched: dict[str, list[str]]) -> None:
    """No zeros for gradients of what is not differentiable, and none for an index into losses."""
    nodes = launched[case]
    ours = [node.removeprefix("triton ") for node in nodes if node.startswith("triton ")]
    assert ours == OURS[case] and len(nodes) - len(ours) == OTHERS.get(case, 0), nodes
