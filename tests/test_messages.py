"""What a command says of a mistake: what, where and the remedy, in one line, with exit code 2; no library speaks."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from own_images import speckled
from test_mnist import idx, write_mnist

from fastgan import cluster, evaluate, export, page, reproduce, sample, train
from fastgan.config import command_line
from fastgan.errors import ConfigError
from fastgan.runtime import device

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "train": train.main,
    "cluster": cluster.main,
    "sample": sample.main,
    "evaluate": evaluate.main,
    "export": export.main,
    "page": page.main,
    "reproduce": reproduce.main,
}
# The words with which a remedy begins, or that name what is allowed.
REMEDY = re.compile(
    r"\b(add|use|name|lower|raise|leave|choose|try|put|get|fetch|free|make|move|rename|remove|repair|restore|train|save"
    r"|see|start|call|must|pip install|goes? from|give|holds?|looked for|another one)\b"
)
FOLDER = "--dataset folder --image-size 8 --device cpu --data-dir {here}"
MNIST = "--dataset mnist --imbalance none --data-dir {here}"

# Command -> words of its one line.
MISTAKES = [
    # numbers that do not fit each other, or the data
    (
        f"train {FOLDER}/seventy --batch-size 128",
        "--batch-size 128: larger than the data, which has 70 images; lower it",
    ),
    (f"train {FOLDER}/seventy --batch-size 128", "lower it to 64, or add images"),
    (
        f"train {FOLDER}/seventy --classes 1000",
        "--classes 1000: more codes than the data has images, 70; use far fewer",
    ),
    (f"train {FOLDER}/seventy --classes 90 --batch-size 128", "--classes 90: more codes than the data has images, 70;"),
    (
        "train --classes 1100",
        "--classes 1100: grouping takes more than 11,000 images for so many, and the data has 1,182, of which",
    ),
    (
        f"train {FOLDER}/seventy --classes 1000 --grouping.at",
        "--classes 1000: more codes than the data has images, 70;",
    ),
    (f"train {FOLDER}/seventy --classes 100", "use far fewer, such as 7"),
    ("train --grouping.landmarks 90", "--grouping.landmarks 90: must be above 10 per class; use 101 or more, or fewer"),
    ("train --grouping.landmarks 200 --grouping.neighbours 300", "must be above --grouping.neighbours 300; raise it"),
    ("train --pretrain-epochs 9 --epochs 5", "--pretrain-epochs 9: must be below --epochs 5"),
    ("train --image-size 30", "try 16, 28, 32, 64 or 128"),
    # words where numbers belong, and flags that are none
    ("train --classes three", "--classes three: must be a whole number; see python -m fastgan.train --help"),
    ("train --epochs 1e3", "--epochs 1e3: must be a whole number"),
    ("train --temperature warm", "--temperature warm: must be a number"),
    ("train --prior-learning-rate fast", "--prior-learning-rate fast: must be a number"),
    ("train --transform.zoom 1", "--transform.zoom: 2 values must follow it"),
    ("train --transform.zoom 1 b", "--transform.zoom '1', 'b': must be numbers"),
    ("train --grouping.at early late", "--grouping.at 'early', 'late': must be numbers"),
    ("train --batch-size", "--batch-size: a value must follow it"),
    ("train --prior flat", "--prior flat: must be one of 'learned', 'uniform', 'true'"),
    ("train --clases 3", "not known: --clases, 3; perhaps you meant --classes"),
    ("train --dataset photos", "--dataset photos: not known; choose one of digits, mnist"),
    ("sample {run} --code seven", "--code seven: must be a whole number"),
    ("cluster", "name the run's folder: python -m fastgan.cluster RUN"),
    ("reproduce --splits 0-9", "--splits 0-9: must be numbers and ranges"),
    ("reproduce --methods best", "--methods best: not known; choose all, or some of"),
    # folders and files
    (f"train {FOLDER}/nowhere", "nowhere: no such folder; name the one with your images"),
    (f"train {FOLDER}/empty", "empty: holds no images"),
    (f"train {FOLDER}/seventy --labels-from-folders", "00.png and 69 more lie in"),
    ("train --resume --run-dir {here}/empty", "empty: is not a run folder"),
    ("train --cache-dir {here}/file --dataset folder --data-dir {here}/seventy", "--cache-dir"),
    ("page {here}/nowhere", "name the --run-dir of a run"),
    ("export {here}/empty", "name the --run-dir of a run"),
    (
        "evaluate {here}/other",
        "other/run.json: unknown settings colour; it was written by another version of fastgan: use",
    ),
    ("evaluate {run} --beside {run}", "is the same run; name another one, with another --seed"),
    ("sample {run} --code 99", "--code 99: this run has codes 0 to 9"),
    ("sample {run} --to 3", "--to 3: is for --interpolate code only; add that, or leave --to out"),
    ("cluster {run} {here}/seventy --sort-into {here}/seventy/sorted", "name one outside"),
    (
        "cluster {run} {here}/seventy --sort-into {here}/seventy",
        "is not empty, and holds no list of sorted files; name a new",
    ),
    # MNIST's files
    (f"train {MNIST}/misnamed", "train-images.idx3-ubyte is nearly the name train-images-idx3-ubyte; rename it"),
    (f"train {MNIST}/letters", "train labels reach 26, expected 0 to 9; their 26 classes are those of EMNIST letters"),
    (f"train {MNIST}/larger", "train images are 32x32, expected 28x28; name the folder of its own files"),
    (
        "train --dataset mnist --split 1 --data-dir {here}/few",
        "--split 1: needs 6,300 images of class 0, the data has 2; get the whole data set, or use --imbalance",
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders for every mistake."""
    here = tmp_path_factory.mktemp("mistakes")
    (here / "empty").mkdir()
    (here / "file").touch()
    (here / "other").mkdir()
    (here / "other" / "run.json").write_text('{"settings": {"colour": 1}, "environment": {}}')
    for i in range(70):
        speckled(here / "seventy" / f"{i:02}.png", i)
    for name in ("misnamed", "few"):
        write_mnist(here / name)
    for path in (here / "misnamed").iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    write_mnist(here / "letters", train_images=idx((26, 28, 28)), train_labels=idx((26,), bytes(range(1, 27))))
    write_mnist(here / "larger", train_images=idx((12, 32, 32)))
    return here


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[f"{i}-{line[0]}" for i, line in enumerate(MISTAKES)])
def test_a_mistake_is_one_line_with_its_remedy(
    command: str,
    words: str,
    here: Path,
    tiny_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, *flags = (word.format(here=here, run=tiny_run) for word in command.split())
    capsys.readouterr()
    assert command_line.run_command(COMMANDS[name], flags) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if ": decoded " not in line]
    assert said.out == "" and len(lines) == 1 and lines[0].startswith("error: "), said
    assert words in lines[0]
    assert REMEDY.search(lines[0].partition(": ")[2])


def test_kernels_that_cannot_run_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ValueError(f'backend "{name}": needs a CUDA GPU; use "auto"')

    monkeypatch.setattr(device.kernels, "use_backend", refuse)
    with pytest.raises(ConfigError, match='^--kernels triton: needs a CUDA GPU; use "auto"$'):
        device.choose_kernels("triton")


# --- every message there is ---

REASONS = (
    "decode.py",
    "refused.py",
    "intensity.py",
    "scan.py",
)  # why one file is left out; the line around it has the remedy


def template(node: ast.expr) -> str:
    """The text of an f-string, with ... for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return "..."


def messages() -> list[tuple[str, str]]:
    """(place, text) of every ConfigError and DataError whose message stands where it is raised."""
    found = []
    for path in sorted((ROOT / "fastgan").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in ("ConfigError", "DataError", "_require") and path.name not in REASONS:
                assert isinstance(node, ast.Call)
                text = template(node.args[name == "_require"]) if len(node.args) > (name == "_require") else "..."
                if text.strip(".") != "" and not text.endswith("..."):
                    found.append((f"{path.relative_to(ROOT)}:{node.lineno}", text))
    return found


def test_every_message_names_a_remedy() -> None:
    assert len(messages()) > 60
    without = [f"{place}: {text}" for place, text in messages() if not REMEDY.search(text)]
    assert not without, "\n".join(without)


# --- libraries ---

NOISY = """
import sys
sys.argv[0] = "-m"
import fastgan
import logging, warnings
import matplotlib
warnings.warn("of a library")
warnings.warn("--compile: of ours", RuntimeWarning)
logging.getLogger("matplotlib.font_manager").warning("building the font cache")
logging.getLogger("PIL").error("a line of a log")
"""


@pytest.mark.parametrize(
    ("flags", "heard"), [([], ["warning: --compile: of ours"]), (["-W", "default"], ["of a library", "--compile"])]
)
def test_libraries_are_not_heard_unless_asked_for(flags: list[str], heard: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    command = [sys.executable, *flags, "-c", NOISY]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stderr
    lines = said.splitlines()
    if flags:
        assert all(words in said for words in (*heard, "building the font cache"))
    else:
        assert lines == heard


def test_importing_fastgan_changes_no_warning() -> None:
    code = "import warnings; before = warnings.filters[:]; import fastgan; assert warnings.filters == before"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_default_number_of_classes_is_told_and_so_are_those_of_the_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_judge: None
) -> None:
    for i in range(12):
        speckled(tmp_path / "photos" / ("train" if i % 3 else "test") / f"{i}.png", i)
    flags = f"{FOLDER}/photos --epochs 1 --grouping.at --batch-size 4 --network.width 4 --network.hidden 8".split()
    flags = [flag.format(here=tmp_path) for flag in [*flags, "--network.embedding", "4"]]
    assert (
        command_line.run_command(train.main, [*flags, "--run-dir", str(tmp_path / "a"), "--labels-from-folders"]) == 0
    )
    said = capsys.readouterr().err.splitlines()
    assert "labels from folders: 2 classes with so many images each: test 4, train 8" in said
    assert any(line.startswith("warning: --labels-from-folders: test and train look like parts") for line in said)
    assert any(line.startswith("classes: 10 (default); set --classes") and "such as 2 as in" in line for line in said)
    assert command_line.run_command(train.main, [*flags, "--run-dir", str(tmp_path / "b"), "--classes", "3"]) == 0
    assert "(default)" not in capsys.readouterr().err
