"""What only a CUDA GPU can show; run with `pytest tests -m gpu`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from advance import advance
from tolerances import close

import kernels
from fastgan.config.presets import preset
from fastgan.data import loading
from fastgan.training.engine import build_step

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
    images = loading.load(exact)
    order = loading.epoch_order(exact, len(images.images), 0)
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


# Three runs one after the other, and in threads: with algorithms that sum in one order, which must be chosen before the
# first product. Prints the figures of each that are not the same.
AT_ONCE = """
import dataclasses, sys
from pathlib import Path
import torch
from fastgan.runtime.device import choose_algorithms
from fastgan.sweep.at_once import in_threads
from fastgan.runtime.ranks import RankInfo
from fastgan.config.presets import preset
from fastgan.sweep.results import Results, RunKey, read_rows
from fastgan.sweep.runner import Sweep

device = torch.device("cuda")
choose_algorithms(True, device)
config = dataclasses.replace(preset("digits"), epochs=6, eval_every=3, amp=True, augment="torchvision")
runs = {RunKey("elastic", split, 0): dataclasses.replace(config, split=split) for split in (1, 2, 3)}

def rows(name, train):
    folder = Path(sys.argv[1]) / name
    assert train(Sweep(Results(folder, dataset="digits", recipe="default", epochs=6), runs, device, RankInfo())) is None
    found = {}
    for row in read_rows(folder):
        for epoch, figures in row["evaluations"].items():
            for figure, value in figures.items():
                if "second" not in figure:
                    found[row["run"]["split"], epoch, figure] = value
        found[row["run"]["split"], "losses"] = row["losses"]
    return found

one, several = rows("one", lambda sweep: sweep.train()), rows("several", lambda sweep: in_threads(sweep, sweep.keys, 3))
assert one.keys() == several.keys() and len(one) > 30
print("differs:", {key: (value, several[key]) for key, value in one.items() if value != several[key]} or "nothing")
"""


def test_runs_at_once_are_those_of_one_after_the_other(tmp_path: Path) -> None:
    """Bit for bit: nothing that one run's captured steps use is written by another's."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0 and "differs: nothing" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]
