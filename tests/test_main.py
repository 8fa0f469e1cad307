"""`fastgan NAME`: the list, the version, names that are none, images without a flag; messages as of the modules."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_light import SLOW, imported

from fastgan import __main__ as entry
from fastgan import __version__, train
from fastgan.config.command_line import NAMES, called_as, other_program, run_command
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.errors import ConfigError
from fastgan.runtime import environment

ROOT = Path(__file__).parents[1]


def no_run(folder: Path) -> TrainConfig:
    raise AssertionError(f"no run was to be read, yet {folder} was")


def by_name(*argv: str) -> TrainConfig:
    """The settings of `fastgan train ...`."""
    with called_as("fastgan train"):
        return train_config(argv, no_run)


def refused(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        by_name(*argv)
    return str(caught.value)


def test_other_commands_are_named_as_this_one_was_called() -> None:
    assert other_program("train") == "python -m fastgan.train"
    with called_as("fastgan check"):
        assert other_program("train") == "fastgan train" and other_program("cluster") == "fastgan label"
    with called_as("python -m fastgan train"):
        assert other_program("page") == "python -m fastgan report"


# --- the list and the version ---


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_list_has_a_line_for_each_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(argv) == 0
    said = capsys.readouterr()
    assert said.err == "" and "fastgan train photos --classes 12" in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())
    for name in ("train", "label", "sample", "report", "evaluate", "export", "check", "reproduce"):
        assert len(re.findall(rf"^  {name} ", said.out, re.MULTILINE)) == 1


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastgan {__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_neither_imports_a_slow_library_nor_tyro(flag: str) -> None:
    code, out, said, packages = imported("-m", "fastgan", flag)
    assert (code, said) == (0, "") and out and not packages & {*SLOW, "tyro"}
    code, _, _, packages = imported("-m", "fastgan", "train", "--help-all")
    assert code == 0 and not packages & SLOW


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trian", "trian: no such command; perhaps you meant train; see fastgan --help"),
        ("clusters", "perhaps you meant cluster"),
        ("lable", "perhaps you meant label"),
        ("reprot", "perhaps you meant report"),
        ("zzqx", "zzqx: no such command; see fastgan --help"),
        ("--classes", "a name comes first, such as fastgan train --classes"),
        ("photos", "use fastgan train photos to train on these images"),
    ],
)
def test_an_unknown_command_is_one_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert entry.main([name, "3"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("error: ") and words in said.err


def test_the_package_offers_the_command() -> None:
    """What setup.py names is there, and `python -m fastgan` is the same."""
    (module, function) = re.findall(r'"fastgan = ([\w.]+):(\w+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))[0]
    assert (module, getattr(entry, function)) == ("fastgan.__main__", entry.main)
    done = subprocess.run(
        [sys.executable, "-m", "fastgan", "label"], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: name the run's folder: python -m fastgan label RUN; see python -m fastgan label --help\n"
    )


@pytest.mark.parametrize("name", [*entry.COMMANDS, *NAMES])
def test_every_name_leads_to_its_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        entry.main([name, "--help"])
    assert caught.value.code == 0
    shown = NAMES.get(name, name)
    assert capsys.readouterr().out.startswith(f"usage: fastgan {shown} ")


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["python", "/opt/place/bin/fastgan", "train", "photos"], "fastgan train photos"),
        (["python", "-m", "fastgan.train", "--amp"], "-m fastgan.train --amp"),
        (["python"], ""),
    ],
)
def test_a_run_records_the_command_without_its_place(
    argv: list[str], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", argv)
    assert environment.environment(torch.device("cpu"))["command"] == kept


# --- the same messages ---


@pytest.mark.parametrize(
    "argv",
    [
        ["--epohcs", "3"],
        ["--epochs", "many"],
        ["--prior", "flat"],
        ["--transform.zoom", "1", "b"],
        ["--batch-size"],
        ["--classes", "1"],
        ["--clases", "3", "--amp"],
        ["one", "two"],
    ],
    ids=str,
)
def test_a_mistake_is_told_in_the_same_words(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(train.main, argv) == entry.main(["train", *argv]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.replace("python -m fastgan.train", "fastgan train") == second


# --- images without a flag ---


def test_a_path_names_ones_own_images() -> None:
    own = dataclasses.replace(preset("folder"), data_dir=Path("photos"), classes=12, finer_codes=48)
    for argv in (["photos", "--classes", "12"], ["--classes", "12", "photos"], ["--classes=12", "photos"]):
        assert by_name(*argv, "--amp") == dataclasses.replace(own, amp=True)
    assert by_name("--amp", "photos", "--classes", "12") == dataclasses.replace(own, amp=True)


@pytest.mark.parametrize("name", ["images.npz", "deep/images.NPY"])
def test_a_file_of_arrays_is_npz(name: str) -> None:
    config = by_name(name)
    assert config == dataclasses.replace(preset("npz"), data_dir=Path(name))


def test_the_data_set_that_is_named_stays() -> None:
    config = by_name("YouTubeFaces", "--dataset", "youtube-faces", "--identities", "7")
    assert config.dataset == "youtube-faces" and config.classes == 7 and config.data_dir == Path("YouTubeFaces")


def test_a_path_that_cannot_be_meant_is_refused() -> None:
    assert refused("photos", "--data-dir", "others") == (
        "photos: --data-dir names the images too; leave one of them out"
    )
    assert "for the data set of that name use --dataset mnist" in refused("mnist")
    assert refused("photos", "more").startswith("not known: photos, more; see fastgan train --help")


def test_as_a_module_no_path_is_taken() -> None:
    with pytest.raises(ConfigError, match="not known: photos; see python -m fastgan.train --help"):
        train_config(["photos", "--classes", "12"], no_run)
