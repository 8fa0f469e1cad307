"""Exports: programs that torch loads and runs without fastgan, and weights as in the checkpoint."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fastgan import export
from fastgan.config import command_line
from fastgan.config.schema import OWN_IMAGES, Dataset
from fastgan.data import arrays, decode
from fastgan.inference import labelling, model_card, onnx_files, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.labels import SHOWN
from fastgan.runs import checkpoint
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runs.run_folder import RunFolder
from fastgan.runtime import threads
from fastgan.training.same_images import trained_on

CPU = torch.device("cpu")
FILES = {"README.md", "config.json", "generator.pt2", "labeller.pt2", "model.safetensors"}
ONNX = {"generator.onnx", "labeller.onnx"} if onnx_files.available() else set()

# Run elsewhere, where neither package of ours can be imported.
SINGLE_PROCESS = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fastgan", "kernels"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import torch
from PIL import Image

def ops(program):
    return sorted({str(n.target) for n in program.graph.nodes if n.op == "call_function"})

folder, inputs, outputs = sys.argv[1:]
programs = [torch.export.load(f"{folder}/{name}.pt2") for name in ("generator", "labeller")]
generator, labeller = (program.module() for program in programs)
found = {"ops": [ops(program) for program in programs], "names": [list(p.state_dict) for p in programs]}
for size, (noise, code, images) in torch.load(inputs).items():
    found[size] = (generator(noise, code), *labeller(images))
found["last"] = labeller(images.contiguous(memory_format=torch.channels_last))[0]
torch.save(found, outputs)
assert not {"fastgan", "kernels"} & set(sys.modules)
"""


def run(*flags: object) -> int:
    return command_line.run_command(export.main, [str(flag) for flag in flags])


def test_export_takes_threads_as_the_others(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = []
    monkeypatch.setattr(threads, "choose", lambda count: chosen.append(count) or "")
    for flags, count in (([], 0), (["--threads", "1"], 1)):
        assert run(tiny_run, "--out", tmp_path / str(count), *flags) == 0
        assert chosen.pop() == count
    monkeypatch.undo()
    assert run(tiny_run, "--out", tmp_path / "many", "--threads", "9999") == 2
    assert "--threads 9999: this process may use" in capsys.readouterr().err and not (tmp_path / "many").exists()


def alone(script: str, cwd: Path, *arguments: object) -> str:
    """Run a script without our packages; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "new" / "export"
    assert run(tiny_run, "--out", out) == 0
    return out


def test_exported_programs_give_the_same_results_without_our_packages(
    tiny_run: Path, exported: Path, tmp_path: Path
) -> None:
    loaded = trained_run.load(tiny_run, CPU)
    random = torch.Generator().manual_seed(0)
    inputs = {
        size: (
            torch.randn(size, 62, generator=random),
            torch.eye(10)[torch.randint(10, (size,), generator=random)],
            torch.randint(0, 256, (size, 1, 16, 16), generator=random, dtype=torch.uint8),
        )
        for size in (1, 5)
    }
    torch.save(inputs, tmp_path / "inputs.pt")
    alone(SINGLE_PROCESS, tmp_path, exported, tmp_path / "inputs.pt", tmp_path / "outputs.pt")
    found = torch.load(tmp_path / "outputs.pt")
    sampler = Sampler(loaded.generator, loaded.config, CPU, "test")
    for size, (noise, code, images) in inputs.items():
        embeddings, logits = labelling.read(loaded.networks, images, loaded.config, CPU)
        ours = sampler.draw(noise, code), logits.softmax(1), embeddings
        for theirs, expected in zip(found[size], ours, strict=True):
            assert theirs.dtype == torch.float32 and theirs.shape == expected.shape
            assert torch.allclose(theirs, expected, rtol=0, atol=1e-5)
    assert torch.allclose(found["last"], ours[1], rtol=0, atol=1e-5)
    # Besides torch's own ops there is arithmetic of the images' sides.
    others = {op for ops in found["ops"] for op in ops if not op.startswith("aten.")}
    assert all(re.search(r"built-in function|sym_min", op) for op in others), others
    named = set(load_file(exported / "model.safetensors"))
    assert {name for names in found["names"] for name in names} == {
        name for name in named if not name.startswith(("prior.", "code_head.finer."))
    }


# torch.export.load, on the weights that it has read.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_the_generator_is_the_averaged_one_and_stays_in_eval_mode(tiny_run: Path, exported: Path) -> None:
    loaded = trained_run.load(tiny_run, CPU)
    generator = torch.export.load(exported / "generator.pt2").module()
    noise, code = torch.ones(1, 62), torch.eye(10)[:1]
    with torch.no_grad():
        # Beside another image, to show that it is not normalised over the batch.
        drawn = generator(torch.cat((noise, -noise)), code.repeat(2, 1))[:1]
        averaged, last = loaded.generator(noise, code), loaded.networks.generator(noise, code)
    assert torch.allclose(drawn, averaged, atol=1e-5) and not torch.allclose(drawn, last, atol=1e-3)


def test_the_tensors_are_the_checkpoints(tiny_run: Path, exported: Path) -> None:
    newest, _ = checkpoint.newest(tiny_run / "checkpoints")
    state = checkpoint.load(newest, "model")
    found = load_file(exported / "model.safetensors")
    expected = {
        name.removeprefix("networks."): value
        for name, value in state.items()
        if name.startswith(("networks.front_end.", "networks.code_head."))
    }
    expected |= {
        f"generator.{name.removeprefix('average.')}": value for name, value in state.items() if name.startswith("ave")
    }
    expected |= {"prior.logits": state["prior.logits"], "prior.probabilities": state["prior.logits"].softmax(0)}
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_readmes_example_runs_without_our_packages(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    example, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    printed = alone(example, exported)
    assert len(re.findall(r"\d+", printed)) == 10
    assert f"torch {torch.__version__.split('+')[0]}" in text and "| image_size | 16 |" in text
    assert sum(float(p) for p in re.findall(r"^\| \d+ \| (0\.\d+) \|$", text, re.MULTILINE)) == pytest.approx(
        1, abs=1e-3
    )


def test_the_readme_reads_an_image_as_fastgan_does(exported: Path, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (70, 90, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "a.png"
    Image.fromarray(pixels.numpy()).save(file)
    _, example = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {"torch": torch}
    exec(example.replace("a.jpg", str(file)), names)
    picture = decode.decode_file(file, decode.Form(16, 1))
    assert not isinstance(picture, str) and torch.equal(names["labeller_input"][0], torch.tensor(picture.pixels))


# torch.export.load, on the weights that it has read.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
@pytest.mark.parametrize("sides", [(16, 16), (40, 90), (90, 40), (9, 9), (2, 300)])
def test_the_labeller_takes_images_of_any_size(tiny_run: Path, exported: Path, sides: tuple[int, int]) -> None:
    """As `data/arrays.py` reads them."""
    loaded = trained_run.load(tiny_run, CPU)
    labeller = torch.export.load(exported / "labeller.pt2").module()
    images = torch.randint(0, 256, (3, 1, *sides), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, embedding = labeller(images)
    pixels = arrays.to_pixels(images.numpy(), 16, 1)
    embeddings, logits = labelling.read(loaded.networks, pixels, loaded.config, CPU)
    assert torch.allclose(found, logits.softmax(1), atol=1e-5) and torch.allclose(embedding, embeddings, atol=1e-5)


@pytest.mark.skipif(not onnx_files.available(), reason=f"no ONNX files are written here: {onnx_files.INSTALL}")
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_onnx_runtime_gives_what_torch_gives(exported: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
    random = torch.Generator().manual_seed(0)
    noise, code = torch.randn(5, 62, generator=random), torch.eye(10)[:5]
    sizes = [(1, 1, 16, 16), (5, 1, 16, 16), (3, 1, 40, 90), (2, 1, 9, 9)]
    images = [torch.randint(0, 256, size, dtype=torch.uint8, generator=random) for size in sizes]
    cases = [("generator", {"noise": noise, "code": code}), *(("labeller", {"images": part}) for part in images)]
    for name, inputs in cases:
        session = onnxruntime.InferenceSession(exported / f"{name}.onnx")
        found = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        expected = torch.export.load(exported / f"{name}.pt2").module()(*inputs.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert [output.name for output in session.get_outputs()] == onnx_files.OUTPUTS[name]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape and abs(ours - theirs.detach().numpy()).max() < 1e-4
        assert str(Path(export.__file__).parent).encode() not in (exported / f"{name}.onnx").read_bytes()


def test_the_model_card_tells_what_the_run_was(tiny_run: Path, exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: fastgan\nlicense: unknown\n")
    row = [row for row in MetricsLog(tiny_run / "metrics.jsonl").rows() if "effective_classes" in row][-1]
    assert f"| {SHOWN['effective_classes']} | {row['effective_classes']:.4f} |" in text
    count = trained_on(RunFolder(tiny_run))
    assert count is not None and f"made imbalanced: {count.count:,} images, grey, 16x16 pixels" in text
    for heading in ("Figures", "How frequent each class is", "Limits", "Files", "Programs", "Made with"):
        assert f"\n## {heading}\n" in text
    assert "leave out `.eval()`" in text and ("labeller.onnx" in text) == onnx_files.available()
    assert str(tiny_run.parent) not in text + (exported / "config.json").read_text(encoding="utf-8")


def test_a_model_card_names_every_data_set_that_is_not_the_users_own() -> None:
    assert {*model_card.DATA} - {"youtube-faces"} == {*get_args(Dataset)} - {*OWN_IMAGES}


@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_a_loaded_program_is_in_evaluation_mode_and_refuses_to_be_told(exported: Path) -> None:
    """As the model card says of .eval()."""
    with pytest.raises(NotImplementedError):
        torch.export.load(exported / "labeller.pt2").module().eval()


def test_exports_hold_no_source_paths(exported: Path) -> None:
    for name in ("generator.pt2", "labeller.pt2"):
        assert str(Path(export.__file__).parent).encode() not in (exported / name).read_bytes()


def test_a_run_without_an_average_exports_its_own_generator(tiny_run: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    values = json.loads((tiny_run / "run.json").read_text())
    values["settings"]["average_decay"] = 0.0
    newest, seen = checkpoint.newest(tiny_run / "checkpoints")
    state = {name: value for name, value in checkpoint.load(newest, "model").items() if not name.startswith("average")}
    checkpoint.save(run_dir / "checkpoints", seen, {"model": state})
    (run_dir / "run.json").write_text(json.dumps(values))
    assert run(run_dir) == 0
    found = load_file(run_dir / "export" / "model.safetensors")
    assert torch.equal(found["generator.image.weight"], state["networks.generator.image.weight"])
    assert "as trained last" in (run_dir / "export" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", ["--force", "--overwrite"])
def test_only_an_export_is_replaced_and_only_with_force(
    flag: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "export"
    out.mkdir()
    save_file({"old": torch.zeros(1)}, str(out / "model.safetensors"))
    assert run(tiny_run, "--out", out) == 2
    assert "--force" in capsys.readouterr().err
    assert run(tiny_run, "--out", out, flag) == 0
    assert {p.name for p in out.iterdir()} == FILES | ONNX and "old" not in load_file(out / "model.safetensors")
    (out / "thesis.txt").write_text("not ours")
    capsys.readouterr()
    assert run(tiny_run, "--out", out, flag) == 2
    assert "replaces only an earlier export" in capsys.readouterr().err
    assert (out / "thesis.txt").exists() and [p.name for p in tmp_path.iterdir()] == ["export"]


def test_what_cannot_be_written_leaves_nothing_behind(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("file write failed: no space left")

    monkeypatch.setattr(torch.export, "save", full)
    assert run(tiny_run, "--out", tmp_path / "export") == 2
    assert "cannot be written (file write failed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("{here}/nowhere",), "is not a run folder"),
        (("{run}", "--out", "{here}/file"), "is there already"),
        (("{run}", "--out", "{here}/file/export"), "cannot be written"),
        (("{run}", "--out", "{here}/file", "--overwrite"), "replaces only an earlier export"),
        (("{run}", "--out", "{here}/.."), "is there already"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(
    tiny_run: Path, tmp_path: Path, flags: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    capsys.readouterr()
    assert run(*(flag.format(here=tmp_path, run=tiny_run) for flag in flags)) == 2
    printed = capsys.readouterr().err.strip()
    assert named in printed and len(printed.splitlines()) == 1


def test_a_failed_replacement_keeps_the_previous_export(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, real = tmp_path / "export", Path.rename
    out.mkdir()
    (out / "README.md").write_text("before")

    def refused(self: Path, target: Path) -> Path:
        if self.name.startswith(".partial") and not self.name.endswith("-before"):
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    assert run(tiny_run, "--out", out, "--overwrite") == 2
    assert "Input/output error" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["export"] and (out / "README.md").read_text() == "before"
