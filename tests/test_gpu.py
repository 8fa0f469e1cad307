"""What only a CUDA GPU can show; run with `pytest tests -m gpu`."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from advance import advance
from tolerances import close

import kernels
from fastgan import data
from fastgan.presets import preset
from fastgan.trainer import build_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


@pytest.mark.parametrize("mode", ["float32", "bfloat16", "float16", "compiled bfloat16"])
def test_a_gpu_trains_like_the_cpu(mode: str) -> None:
    """Ten steps from the same weights on the same draws: losses agree within the precision."""
    exact = dataclasses.replace(preset("digits"), augment="torchvision")  # the same interpolation on both
    changed = dataclasses.replace(
        exact,
        amp=mode != "float32",
        amp_dtype="float16" if mode == "float16" else "bfloat16",
        compile="compiled" in mode,
    )
    images = data.load(exact)
    order = data.epoch_order(exact, len(images.images), 0)
    cpu, gpu = build_step(exact, images, torch.device("cpu")), build_step(changed, images, torch.device("cuda"))
    for index in order.split(exact.batch_size)[:10]:
        ours = advance(gpu, images.images[index].cuda()).cpu()
        torch.testing.assert_close(ours, advance(cpu, images.images[index]), atol=0.05, rtol=0.05)


def test_the_stream_is_the_same_on_every_device() -> None:
    """Words bit for bit; samples within rounding, since logarithms differ between devices."""
    for device in ("cpu", "cuda"):
        seed, offset = torch.tensor(7, device=device), torch.tensor(2**40 + 3, device=device)
        uniform = kernels.uniform((64, 10), seed=seed, offset=offset).cpu()
        normal = kernels.normal((64, 62), seed=seed, offset=offset).cpu()
        if device == "cpu":
            expected = uniform, normal
    assert torch.equal(uniform, expected[0])
    torch.testing.assert_close(normal, expected[1], **close(torch.float32))
