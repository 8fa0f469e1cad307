"""What the estimator says: the words of Python for every message and line of the rooms below it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgan import ElasticInfoGAN
from fastgan.api import messages
from fastgan.api.messages import in_python_names
from fastgan.config.presets import preset

pytestmark = pytest.mark.usefixtures("no_pictures")

ROOT = Path(__file__).parents[2] / "fastgan"
# What no method of the estimator reaches: other commands, and data sets that have none.
ELSEWHERE = {"sweep", "api", "check.py", "cluster.py", "evaluate.py", "export.py", "sample.py", "reproduce.py"}
ELSEWHERE_FILES = {
    *("runtime/environment.py", "data/advice.py", "__init__.py", "__main__.py", "train.py", "page.py"),
    *("tasks/train.py", "tasks/train_lines.py"),
    *(f"config/{name}.py" for name in ("command_line", "commands", "earlier", "help_text", "settings_file")),
    "config/train_command.py",
}
FLAG = re.compile(r"(?<![\w/-])--[a-z]|python -m")


def _texts(path: Path) -> Iterator[str]:
    """Every text of a file but its docstrings, with 7 for what is put into it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (parts | said):
            yield node.value


def _messages() -> list[str]:
    paths = [path for path in sorted(ROOT.rglob("*.py")) if not {*path.relative_to(ROOT).parts} & ELSEWHERE]
    paths = [path for path in paths if str(path.relative_to(ROOT)) not in ELSEWHERE_FILES]
    return [text for path in paths for text in _texts(path) if FLAG.search(text) and " " in text]


def test_no_message_keeps_a_flag() -> None:
    found = _messages()
    assert len(found) > 60
    kept = {
        text: said for text in found if FLAG.search(said := in_python_names(text)) and text != "python -m fastgan.page"
    }
    assert not kept


def test_every_word_for_a_flag_is_a_parameter() -> None:
    """Or an argument of a method; those of data sets and ranks that Python has not are known."""
    known = set(inspect.signature(ElasticInfoGAN).parameters) | {"images", "path", "force", "resume", "y"}
    unreachable = {"identities", "frame_stride", "split", "emnist_split", "imbalance", "beside", "sort_into", "names"}
    unreachable |= {"resume_on_other_ranks", "like"}
    names = set()
    for text in _messages():
        for flag in re.findall(r"(?<![\w/-])--(?:no-)?([a-z]+(?:-[a-z]+)*)", text):
            names.add(messages.parameter(flag.replace("-", "_")))
    assert not names - known - unreachable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--classes 1: must be at least 2", "n_classes 1: must be at least 2"),
        ("--transform.zoom 2.0 1.0: must be 0 < low", 'transforms["zoom"] 2.0 1.0: must be 0 < low'),
        (
            "--device cuda: no CUDA GPU found; use --device cpu or auto",
            'device cuda: no CUDA GPU found; use device="cpu" or "auto"',
        ),
        ("it cannot be captured (x); add --no-capture", "it cannot be captured (x); add capture=False"),
        ("add --front-end-learns and a --contrastive-weight", "add front_end_learns=True and a contrastive_weight"),
        (
            "--run-dir /tmp/a--b/c d: already holds a run; add --resume to continue it, or name another folder",
            "run_dir /tmp/a--b/c d: already holds a run; go on with fit(images, resume=True), or name another folder",
        ),
        (
            "continue with: ../.venv/bin/python -m fastgan.train --resume --run-dir /tmp/x",
            "Go on with fit(images, resume=True).",
        ),
        ("train again with another --seed", "train again with another random_state"),
        ("a progress ---- of dashes, -- and --unheard-of", "a progress ---- of dashes, -- and unheard_of"),
    ],
)
def test_a_flag_becomes_a_parameter(text: str, expected: str) -> None:
    assert in_python_names(text) == expected


SMALL: dict[str, Any] = {"threads": 1, "device": "cpu", "network": {"width": 4, "hidden": 16, "embedding": 8}}
SMALL |= {"epochs": 1, "pretrain_epochs": 0, "batch_size": 8, "grouping": {"at": ()}, "augment": "torchvision"}
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8), dtype=np.uint8)


def test_help_tells_every_parameter_its_values_and_default() -> None:
    said = ElasticInfoGAN.__doc__ or ""
    for name in inspect.signature(ElasticInfoGAN).parameters:
        assert re.search(rf"^        (.*, )?{name}(\[.*\]|, .*)?:", said, re.M), name
    for outer in ("network", "transforms", "grouping"):
        for field in dataclasses.fields(getattr(preset("npz"), outer.removesuffix("s"))):
            assert f'{outer}["{field.name}"]: ' in said
    assert "SETTINGS" not in said and not re.search(r"(?<!\w)--[a-z]", said) and "dataset folder" not in said
    shift = said[said.index('transforms["shift"]') :].split("transforms", 2)[1]
    assert "X\n" in shift and "a fraction of the image's side" in shift
    assert f"(default: {preset('npz').transform.shift:g})" in shift
    compiling = said[said.index("        compile: ") :].split("\n", 1)
    assert compiling[0] == "        compile: True|False" and "Groups of images that belong together:" in said


def test_a_fit_prints_no_advice_for_the_command_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = ElasticInfoGAN(2, **SMALL).fit(IMAGES)
    said = "".join(capfd.readouterr())
    assert "images.npz: 16 images" in said and "report() writes a page" in said and "save(path) keeps the run" in said
    assert str(model.run_dir_) not in said and not FLAG.search(said)
    model.set_params(epochs=2).fit(IMAGES, resume=True)
    said = "".join(capfd.readouterr())
    assert "save(path) keeps the run" in said and str(model.run_dir_) not in said
    kept = ElasticInfoGAN(2, run_dir=tmp_path / "run", **SMALL).fit(IMAGES)
    said = "".join(capfd.readouterr())
    assert f"the run is in {kept.run_dir_}" in said and not FLAG.search(said)
    kept.fit(IMAGES, resume=True)
    assert "the run is complete after 1 epoch; raise epochs above that" in "".join(capfd.readouterr())


def test_a_line_of_the_rooms_below_is_in_pythons_words(capfd: pytest.CaptureFixture[str]) -> None:
    ElasticInfoGAN(2, compile=True, **SMALL).fit(IMAGES)
    assert "note: compile: has no benefit on a CPU" in "".join(capfd.readouterr())
