"""Launch every kernel once or twice at small sizes, for a sanitizer to watch: `python -m bench.gpu.touch`."""

from __future__ import annotations

from typing import Any

import torch

import kernels


def main() -> None:
    """Forward and backward of each op, at sizes that leave tiles part empty."""
    device = "cuda"
    counters: dict[str, Any] = {"seed": torch.tensor(1, device=device), "offset": torch.tensor(2, device=device)}
    for rows, classes in ((64, 10), (700, 100), (5, 5000)):
        for dtype in (torch.float32, torch.bfloat16):
            logits = torch.randn(classes, device=device, dtype=dtype, requires_grad=True)
            sample, _ = kernels.gumbel_softmax(logits, temperature=0.1, batch_size=rows, **counters)
            sample.square().sum().backward()
    kernels.normal((65, 62), **counters)
    kernels.uniform((65, 7), **counters)
    for count, width in ((33, 100), (64, 128), (300, 128)):
        for precision in ("bf16", "tf32", "ieee"):
            views = torch.randn(2, count, width, device=device, requires_grad=True)
            for temperature in (0.02, 0.5):  # a running maximum, and a fixed shift
                kernels.nt_xent(views[0], views[1], temperature=temperature, precision=precision).backward()
                lse, _ = kernels.nt_xent_lse(views[:, 1:], views, 1, temperature=temperature, precision=precision)
                whole = torch.cat((lse[:, :1], lse), dim=1)
                kernels.nt_xent_grad(views[:, 1:], views, whole, 1, temperature=temperature, precision=precision)
    for shadow in (None, torch.bfloat16):
        weights = [torch.nn.Parameter(torch.randn(size, device=device)) for size in (5, 1000, 70_001, 2**18)]
        averages = {weight: weight.detach().clone() for weight in weights[1:]}
        optimizer = kernels.FusedAdam(weights, lr=1e-3, shadow_dtype=shadow, averages=averages)
        for leaf in (optimizer.shadow_parameters().get(weight, weight) for weight in weights[1:]):
            leaf.grad = torch.randn_like(leaf)
        optimizer.step(average_share=torch.tensor(0.5, device=device))
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
