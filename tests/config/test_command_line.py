"""The command line: presets, one line for each mistake, what a resumed run may change, exit codes."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fastgan.config.command_line import run_command
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.config.train_command import FREE_ON_RESUME, train_config
from fastgan.errors import ConfigError, DataError, DivergenceError, FastganError

SAVED = dataclasses.replace(preset("mnist"), run_dir=Path("runs/7"), seed=3, transform=TransformConfig(shift=0.1))


def no_run(folder: Path) -> TrainConfig:
    raise AssertionError(f"no run was to be read, yet {folder} was")


def saved(folder: Path) -> TrainConfig:
    assert folder == Path("runs/7")
    return SAVED


def fresh(*argv: str) -> TrainConfig:
    return train_config(argv, no_run)


def mistake(*argv: str) -> str:
    """The message of a mistake: one line that ends in no traceback."""
    with pytest.raises(ConfigError) as caught:
        fresh(*argv)
    message = str(caught.value)
    assert message and "\n" not in message and "│" not in message and "\x1b" not in message
    return message


def test_without_flags_it_is_the_digits_preset() -> None:
    assert fresh() == preset("digits")


@pytest.mark.parametrize("argv", [("--dataset", "mnist"), ("--dataset=mnist",)])
def test_the_data_set_picks_the_preset(argv: tuple[str, ...]) -> None:
    assert fresh(*argv) == preset("mnist")
    assert fresh("--seed", "4", *argv, "--split", "9") == dataclasses.replace(preset("mnist"), seed=4, split=9)


def test_flags_change_the_preset() -> None:
    config = fresh("--epochs", "2", "--transform.zoom", "0.8", "1.2", "--network.width", "8", "--amp", "--run-dir", "r")
    before = preset("digits")
    assert config == dataclasses.replace(
        before,
        epochs=2,
        amp=True,
        run_dir=Path("r"),
        transform=dataclasses.replace(before.transform, zoom=(0.8, 1.2)),
        network=dataclasses.replace(before.network, width=8),
    )


def test_a_folder_given_to_the_digits_is_no_folder_of_ones_own() -> None:
    assert "add --dataset folder" in mistake("--data-dir", "photos")


def test_the_finer_head_stays_finer_than_the_classes() -> None:
    for classes, finer in ((2, 40), (10, 40), (15, 60), (65_536, 65_536)):
        assert fresh("--classes", str(classes), "--grouping.at").finer_codes == finer
    assert fresh("--classes", "15", "--finer-codes", "7").finer_codes == 7
    assert fresh("--classes", "15", "--recipe", "paper").finer_codes == 0
    assert fresh("--dataset", "youtube-faces", "--data-dir", "here", "--identities", "25").finer_codes == 100


def test_there_is_a_code_for_each_person_unless_told_otherwise() -> None:
    faces = ("--dataset", "youtube-faces", "--data-dir", "here")
    assert fresh(*faces).classes == 40 and fresh(*faces, "--recipe", "paper").classes == 40
    assert fresh(*faces, "--identities", "7").classes == fresh(*faces, "--identities=7").classes == 7
    assert fresh(*faces, "--classes=9").classes == fresh(*faces, "--identities", "7", "--classes", "9").classes == 9
    kept = dataclasses.replace(preset("youtube-faces"), data_dir=Path("here"), identities=7, classes=9)
    assert train_config(("--resume", "--run-dir", "run", "--identities", "7"), lambda _: kept).classes == 9


def test_the_last_of_two_data_sets_counts_for_both() -> None:
    assert fresh("--dataset", "digits", "--dataset", "mnist") == preset("mnist")


@pytest.mark.parametrize("wrong, meant", [("--epohcs", "--epochs"), ("--btach-size", "--batch-size")])
def test_a_misspelt_flag_is_answered_with_the_right_one(wrong: str, meant: str) -> None:
    message = mistake(wrong, "3")
    assert wrong in message and f"perhaps you meant {meant}" in message and "--help" in message


def test_a_flag_like_no_other_is_named() -> None:
    message = mistake("--zzqx", "1")
    assert "--zzqx" in message and "--help" in message


@pytest.mark.parametrize(
    "argv, words",
    [
        (("--epochs", "many"), ("--epochs", "many")),
        (("--epochs",), ("--epochs",)),
        (("--temperature", "cold"), ("--temperature", "cold")),
        (("--amp-dtype", "float17"), ("--amp-dtype", "float17", "bfloat16", "float16")),
        (("--prior", "lerned"), ("--prior", "lerned", "learned", "uniform", "true")),
        (("--dataset", "mnits"), ("--dataset mnits", "digits, mnist")),
        (("--dataset",), ("--dataset",)),
        (("--transform.zoom", "0.9"), ("--transform.zoom",)),
        (("stray",), ("stray",)),
        # Refused by validate, hence through the command line as well.
        (("--split", "51"), ("--split 51: must be 1 to 50",)),
        (("--classes", "1"), ("--classes 1: must be at least 2",)),
        (("--temperature", "0"), ("--temperature 0.0: must be above 0",)),
        (("--temperature", "nan"), ("--temperature nan: must be above 0",)),
        (("--learning-rate", "-1"), ("--learning-rate -1.0: must be above 0",)),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_it(argv: tuple[str, ...], words: tuple[str, ...]) -> None:
    message = mistake(*argv)
    assert all(word in message for word in words), message


def test_a_narrow_terminal_gives_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "perhaps you meant --epochs" in mistake("--epohcs", "3")


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8",
        "UTF-8",
        "ascii",
    ],
)
@pytest.mark.parametrize(
    "argv, start",
    [
        (("--epohcs", "3"), "not known: --epohcs, 3; perhaps you meant --epochs; see"),
        (("--epochs", "x"), "--epochs x: must be a whole number; see"),
    ],
    ids=str,
)
def test_the_terminals_encoding_does_not_matter(
    argv: tuple[str, ...], start: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tyro frames its messages with other characters where stdout is not called utf-8."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert mistake(*argv).startswith(start)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    """`--help | head -1`: whoever reads standard output closes it early."""
    command = [sys.executable, "-m", "fastgan.train", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fresh("--help-all")
    assert caught.value.code in (0, None)
    said = capsys.readouterr().out
    assert "--batch-size" in said and "python -m fastgan.train" in said


# --- resuming ---


def test_resume_needs_a_folder() -> None:
    message = mistake("--resume")
    assert "--resume" in message and "--run-dir" in message


@pytest.mark.parametrize("argv", [("--resume", "--run-dir", "runs/7"), ("--run-dir=runs/7", "--resume")])
def test_a_resumed_run_takes_its_own_settings(argv: tuple[str, ...]) -> None:
    """Not the preset's: what the run was started with counts."""
    assert train_config(argv, saved) == dataclasses.replace(SAVED, resume=True)


@pytest.mark.parametrize(
    "flags, names",
    [
        (("--seed", "4"), "seed"),
        (("--batch-size", "32"), "batch-size"),
        (("--dataset", "digits"), "dataset"),
        (("--amp",), "amp"),
        (("--transform.shift", "0.2"), "transform.shift"),
        (("--network.width", "8"), "network.width"),
        (("--temperature", "1", "--epochs", "9", "--split", "2"), "split temperature"),
    ],
    ids=str,
)
def test_a_resumed_run_lists_what_may_not_change(flags: tuple[str, ...], names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_config(("--resume", "--run-dir", "runs/7", *flags), saved)
    message = str(caught.value)
    assert "run.json" in message and "\n" not in message
    assert message.count("(was ") == len(names.split())
    assert all(f"--{name} (was " in message for name in names.split())


@pytest.mark.parametrize(
    "flags, changes",
    [
        (("--epochs", "40"), {"epochs": 40}),
        (
            ("--eval-every", "1", "--save-every", "2", "--log-every", "3"),
            {"eval_every": 1, "save_every": 2, "log_every": 3},
        ),
        (("--data-dir", "elsewhere"), {"data_dir": Path("elsewhere")}),
        (("--device", "cpu", "--compile", "--dry-run"), {"device": "cpu", "compile": True, "dry_run": True}),
        (("--seed", "3"), {}),  # the value that it has already
    ],
    ids=str,
)
def test_a_resumed_run_may_change_what_is_free(flags: tuple[str, ...], changes: dict[str, Any]) -> None:
    config = train_config(("--resume", "--run-dir", "runs/7", *flags), saved)
    assert config == dataclasses.replace(SAVED, resume=True, **changes)


def test_what_is_free_on_resume_are_settings() -> None:
    assert {field.name for field in dataclasses.fields(TrainConfig)} >= FREE_ON_RESUME


def test_a_resumed_run_is_validated() -> None:
    with pytest.raises(ConfigError, match="--epochs 0"):
        train_config(("--resume", "--run-dir", "runs/7", "--epochs", "0"), saved)


# --- exit codes ---


@pytest.mark.parametrize(
    "error, code",
    [
        (ConfigError("--epochs 0: must be at least 1"), 2),
        (DataError("a.gz: cut short"), 2),
        (DivergenceError("step 5: the loss is NaN"), 1),
        (FastganError("something else"), 1),
    ],
    ids=repr,
)
def test_an_error_is_one_line_and_an_exit_code(
    error: FastganError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(argv: Sequence[str]) -> int:
        raise error

    assert run_command(fails, []) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"error: {error}\n"


def test_a_command_gives_its_own_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the words given, or those of the process."""
    monkeypatch.setattr("sys.argv", ["train", "a", "b", "c"])
    assert run_command(lambda argv: len(argv), ["x"]) == 1
    assert run_command(lambda argv: len(argv)) == 3
    assert capsys.readouterr().err == ""


def test_a_wrong_flag_ends_in_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda argv: train_config(argv, no_run).epochs, ["--epohcs", "3"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_our_own_faults_are_not_hidden() -> None:
    """A programming error keeps its traceback."""

    def broken(argv: Sequence[str]) -> int:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run_command(broken, [])
