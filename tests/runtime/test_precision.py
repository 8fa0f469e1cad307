"""The precision of matrix products, on processors with and without bfloat16, faked and real."""

from __future__ import annotations

import ast
import dataclasses
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import processors
import pytest
import torch
from own_images import speckled

from fastgan import train
from fastgan.config import command_line
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.inference import labelling
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.runtime import precision
from fastgan.runtime.precision import Precision
from fastgan.step.step import Step

CPU = torch.device("cpu")
CONFIG = TrainConfig(image_size=16, batch_size=16, amp=True, network=NetworkConfig(width=4, hidden=16, embedding=8))
TINY = ("--device", "cpu", "--network.width", "4", "--network.hidden", "16", "--network.embedding", "8")


def fake(monkeypatch: pytest.MonkeyPatch, *dtypes: torch.dtype) -> None:
    """The device has instructions for these precisions."""
    monkeypatch.setattr(precision, "computes", lambda device, dtype: dtype in dtypes)


def make_step(config: TrainConfig) -> Step:
    networks = Networks(Shape(16, 1, 10, config.network, config.finer_codes)).initialise(0)
    return Step(networks, ClassPrior("learned", 10, None), config, CPU)


def test_without_amp_everything_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, torch.bfloat16, torch.float16)
    plain = dataclasses.replace(CONFIG, amp=False, amp_dtype="float16")
    assert precision.for_training(plain, CPU) == precision.for_reading(plain, CPU) == precision.FULL


def test_amp_is_bfloat16_with_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, torch.bfloat16)
    assert precision.for_training(CONFIG, CPU) == precision.for_reading(CONFIG, CPU) == Precision(torch.bfloat16)
    step = make_step(CONFIG)
    assert step.low is not None and step.low.networks.front_end.blocks[0].weight.dtype == torch.bfloat16


def test_amp_is_float32_without_bfloat16_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch)
    for found in (precision.for_training(CONFIG, CPU), precision.for_reading(CONFIG, CPU), precision.fastest(CPU)):
        assert found.dtype == torch.float32
        assert found.note == "float32, since this processor has no bfloat16 instructions"
    step = make_step(CONFIG)
    assert step.low is None and not step.optimizers.scaler.is_enabled() and step.precision.name == "float32"


def test_old_gpus_are_pointed_to_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, torch.float16)
    gpu = torch.device("cuda")
    assert "this GPU has no bfloat16 instructions; --amp-dtype float16" in precision.for_training(CONFIG, gpu).note
    config = dataclasses.replace(CONFIG, amp_dtype="float16")
    assert precision.for_training(config, gpu) == precision.for_reading(config, gpu) == Precision(torch.float16)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_explicit_precision_is_used_in_training_with_a_note(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    fake(monkeypatch)
    config = dataclasses.replace(CONFIG, amp_dtype=dtype)
    found = precision.for_training(config, CPU)
    assert found.name == dtype and "20 to 40 times on two AVX2" in found.note and dtype in found.note
    reading = precision.for_reading(config, CPU)
    assert reading.dtype == torch.float32 and not reading.low  # the flag is for training only


def test_a_precision_that_cannot_be_computed_at_all_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch)

    def refuses(*_: Any, **__: Any) -> None:
        raise RuntimeError('"slow_conv2d" not implemented for Half\nmore')

    monkeypatch.setattr(precision.F, "conv2d", refuses)
    precision._refusal.cache_clear()
    flags = [*TINY, "--amp", "--amp-dtype", "float16", "--run-dir", str(tmp_path / "run")]
    assert command_line.run_command(train.main, flags) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "--amp-dtype float16: cannot be computed by this processor" in line and "leave it out" in line
    assert not (tmp_path / "run").exists()
    precision._refusal.cache_clear()


def test_every_precision_can_be_computed_here_somehow() -> None:
    """As torch promises for a CPU."""
    assert precision._refusal("cpu", torch.bfloat16) == precision._refusal("cpu", torch.float16) == ""


@pytest.mark.parametrize(
    ("capabilities", "onednn", "limit", "expected"),
    [
        ({"avx512_bf16": True}, True, "", True),
        ({"amx_bf16": True}, True, "", True),
        ({"avx_ne_convert": True}, True, "", True),  # AVX2 with VNNI's second part
        ({}, True, "", False),  # AVX-512 alone: oneDNN says yes and emulates
        ({"avx512_bf16": True}, False, "AVX2", False),
        ({"avx512_bf16": True}, True, "avx512_core", False),
        ({"avx512_bf16": True}, True, "AVX512_CORE_BF16", True),
        ({"architecture": "aarch64"}, True, "", True),
        ({"architecture": "aarch64"}, False, "", False),
    ],
)
def test_bfloat16_needs_the_processors_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], onednn: bool, limit: str, expected: bool
) -> None:
    known = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False, "avx_ne_convert": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known | capabilities)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert precision.computes.__wrapped__(CPU, torch.bfloat16) == expected


def test_reading_commands_use_the_same_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 255, (8, 1, 16, 16), dtype=torch.uint8)
    networks = Networks(Shape(16, 1, 10, CONFIG.network)).initialise(0)
    seen: list[torch.dtype] = []
    networks.front_end.blocks[0].register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    for dtypes in ((torch.bfloat16,), ()):
        fake(monkeypatch, *dtypes)
        labelling.read(networks, images, CONFIG, CPU)
    assert seen == [torch.bfloat16, torch.float32]


def test_nothing_else_names_a_low_precision() -> None:
    """In the trainer's code, except docstrings and messages."""
    named: dict[str, int] = {}
    for path in (processors.ROOT / "fastgan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("bfloat16", "float16", "half"):
                named[path.name] = named.get(path.name, 0) + 1
    # optimizers.py and step.py ask which one was decided, for the copies and for the loss scale.
    assert set(named) <= {"precision.py", "optimizers.py", "step.py"}, named


def test_a_run_records_its_precision_and_notes_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_judge: None
) -> None:
    run = tmp_path / "run"
    flags = [*TINY, "--amp", "--run-dir", str(run), "--epochs", "1", "--grouping.at"]
    fake(monkeypatch)
    assert command_line.run_command(train.main, flags) == 0
    err = capsys.readouterr().err
    assert "threads) in float32" in err or "thread) in float32" in err
    assert err.count("float32, since this processor has no bfloat16 instructions") == 1
    kept = json.loads((run / "run.json").read_text())
    assert kept["environment"]["precision"] == "float32" and kept["settings"]["amp_dtype"] == "auto"
    assert "<td>float32</td>" in (run / "report.html").read_text().replace("\n", "")

    fake(monkeypatch, torch.bfloat16)
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(run), "--epochs", "2"]) == 0
    err = capsys.readouterr().err
    assert "in float32 until here, and on" in err and "in bfloat16 from here on: results will not match" in err
    assert json.loads((run / "run.json").read_text())["environment"]["resumed"][0]["precision"] == "bfloat16"


@pytest.mark.parametrize("variable", processors.AVX2_ALONE)
def test_torch_and_onednn_obey_the_limit(variable: str) -> None:
    """Each variable limits its own library; without this the tests below would show nothing."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.ops.mkldnn._is_mkldnn_bf16_supported())"
    capability, onednn = processors.run("-c", code).stdout.split()
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the limits are x86's")
    assert (capability if variable.startswith("ATEN") else onednn) == (
        "AVX2" if variable.startswith("ATEN") else "False"
    )


def test_the_users_command_on_a_processor_without_bfloat16(tmp_path: Path) -> None:
    """The whole command, compiled, in a process limited to AVX2."""
    run, photos = tmp_path / "run", tmp_path / "photos"
    for number in range(64):
        speckled(photos / f"{number}.png", number)
    flags = (
        "--dataset",
        "folder",
        "--data-dir",
        str(photos),
        "--image-size",
        "16",
        "--channels",
        "1",
        "--classes",
        "2",
    )
    ended = processors.run(
        *("-m", "fastgan.train", *flags, *TINY, "--amp", "--compile", "--epochs", "1", "--run-dir", str(run))
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert lines[0] == "loading libraries ..."
    assert any("in float32, transforms" in line for line in lines)
    assert lines.count("note: float32, since this processor has no bfloat16 instructions") == 1
    assert json.loads((run / "run.json").read_text())["environment"]["precision"] == "float32"


READERS: dict[str, tuple[str, ...]] = {
    "evaluate": (),
    "cluster": (),
    "sample": ("--count", "2"),
    "page": (),
    "export": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", READERS)
def test_every_command_reads_a_bfloat16_run_there_in_float32(command: str, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    kept = json.loads((run / "run.json").read_text())
    kept["settings"] |= {"amp": True, "amp_dtype": "bfloat16"}
    kept["environment"].pop("precision")
    (run / "run.json").write_text(json.dumps(kept))
    ended = processors.run("-m", f"fastgan.{command}", str(run), *READERS[command])
    assert ended.returncode == 0, ended.stderr
    notes = [
        line for line in ended.stderr.splitlines() if line.startswith("note: trained in bfloat16; read in float32,")
    ]
    assert len(notes) == 1
