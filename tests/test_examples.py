"""The examples of docs/kernels.md run as they are, and learn what they say."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
NUMBER = r"(\d+(?:\.\d+)?(?:e[-+]\d+)?)"
# The first steps of each example by the Triton kernels, which a GPU would run, and by the CPU's versions.
SHORT = {"contrastive": 1, "categorical_vae": 5, "adam": 2}


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    torch.set_num_threads(threads)
    return capsys.readouterr().out


def after(words: str, text: str) -> float:
    """The number behind these words."""
    (found,) = re.findall(re.escape(words) + " " + NUMBER, text)
    return float(found)


def test_every_example_is_tested_and_linked() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(SHORT)
    page = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    assert not [name for name in names if f"](examples/{name}.py)" not in page]


def test_contrastive_pretraining_raises_the_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("contrastive", capsys)
    before, trained = after("accuracy before:", text), after("accuracy after:", text)
    assert before < 0.5 and trained > before + 0.3
    assert after("step 100: loss", text) < after("step 0: loss", text) - 1


def test_the_categorical_vae_learns_and_uses_its_codes(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("categorical_vae", capsys)
    assert after("step 500: loss", text) < after("step 100: loss", text) < after("step 0: loss", text)
    assert after("all images: loss", text) < after("step 0: loss", text) / 3
    (used,) = re.findall(r"(\d+) of 20 codes are used", text)
    assert int(used) >= 10


def test_fused_adam_trains_as_torch_does(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("adam", capsys)
    assert after("largest difference of a weight after 10 steps:", text) < 1e-6
    before = after("accuracy before:", text)
    ours, theirs = (after(f"accuracy after 300 steps of {name}:", text) for name in ("FusedAdam", "Adam"))
    assert ours > before + 0.5 and abs(ours - theirs) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_the_kernels_print_the_same_figures(name: str) -> None:
    """Interpreted, in a process of its own, since the interpreter is chosen before triton is imported."""
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    short, changed = re.subn(r"(?m)^(.*\bSTEPS = .*?)\d+$", rf"\g<1>{SHORT[name]}", source)
    assert changed == 1

    def run(backend: str) -> str:
        chosen = f"import kernels\nkernels.use_backend({backend!r})\n{short}"
        environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run([sys.executable, "-c", chosen], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    by_kernels, by_cpu = run("triton"), run("auto")
    assert by_kernels == by_cpu
