"""`train --config FILE` and `train --like RUN`: what goes first, what is read back, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fastgan import train
from fastgan.config import settings_file
from fastgan.config.command_line import called_as, run_command
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import to_json
from fastgan.config.train_command import read_command, train_config
from fastgan.errors import ConfigError

FOLDER = dataclasses.replace(
    preset("folder"), data_dir=Path("photos"), run_dir=Path("runs/7"), classes=15, finer_codes=60, seed=3, epochs=9
)


def no_run(folder: Path) -> TrainConfig:
    raise AssertionError(f"no run was to be read, yet {folder} was")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def read(file: Path, values: Any, *argv: str) -> TrainConfig:
    """The settings of a command line with a file that holds these values."""
    file.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return train_config(["--config", str(file), *argv], no_run)


def refused(file: Path, values: Any, *argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(file, values, *argv)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"--config {file}: ")
    return message.removeprefix(f"--config {file}: ")


# --- what counts ---


def test_a_file_chooses_and_changes_the_preset_and_flags_go_first(file: Path) -> None:
    before = preset("mnist", "paper")
    values = {"dataset": "mnist", "recipe": "paper", "epochs": 5, "network": {"width": 8}, "data_dir": "there"}
    expected = dataclasses.replace(
        before, epochs=5, network=dataclasses.replace(before.network, width=8), data_dir=Path("there")
    )
    assert read(file, values) == expected
    assert read(file, values, "--epochs", "6", "--amp") == dataclasses.replace(expected, epochs=6, amp=True)
    assert read(file, {"epochs": 5}, "--dataset", "mnist") == dataclasses.replace(preset("mnist"), epochs=5)
    assert read(file, {}) == preset("digits")


@pytest.mark.parametrize(
    "argv",
    [
        ["--epochs", "3", "--classes", "12"],
        ["--dataset", "mnist", "--recipe", "paper", "--transform.rotation", "9"],
        ["--dataset", "folder", "--data-dir", "photos", "--classes", "20", "--transform.flip", "0.5"],
        ["--dataset", "folder", "--data-dir", "photos", "--intensity-range", "0", "4095", "--finer-codes", "7"],
        ["--dataset", "youtube-faces", "--data-dir", "faces", "--identities", "7", "--no-capture"],
        ["--dataset", "npz", "--data-dir", "a.npz", "--prior-learning-rate", "1e-4", "--grouping.at", "3", "4"],
    ],
    ids=" ".join,
)
def test_what_a_dry_run_prints_is_read_back(argv: list[str], file: Path) -> None:
    config = train_config([*argv, "--dry-run"], no_run)
    text = settings_file.as_text(config)
    assert read(file, text) == dataclasses.replace(config, dry_run=False)
    assert read(file, json.dumps({"settings": json.loads(text), "environment": {}})) == read(file, text)


def test_a_dry_run_prints_it_without_libraries(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(train.main, ["--dry-run", "--epochs", "3"]) == 0
    file.write_text(capsys.readouterr().out)
    assert run_command(train.main, ["--dry-run", "--config", str(file), "--seed", "4"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) | {"seed": 4}


def test_what_followed_from_another_setting_follows_still(file: Path) -> None:
    text = settings_file.as_text(train_config(["--classes", "15"], no_run))
    assert read(file, text).finer_codes == 60
    assert (
        read(file, text, "--classes", "20").finer_codes == 80 and read(file, text, "--classes", "5").finer_codes == 40
    )
    own = settings_file.as_text(train_config(["--classes", "15", "--finer-codes", "7"], no_run))
    assert read(file, own, "--classes", "20").finer_codes == 7
    assert read(file, {"finer_codes": 40}, "--classes", "20").finer_codes == 40
    faces = settings_file.as_text(train_config(["--dataset", "youtube-faces", "--data-dir", "f"], no_run))
    assert read(file, faces, "--identities", "9").classes == 9


def test_transforms_of_a_file_are_kept_from_being_chosen(file: Path) -> None:
    argv = ("--dataset", "folder", "--data-dir", "photos")
    assert read(file, {"transform": {"flip": 0.5}}, *argv).transform.keep == ("flip",)
    text = settings_file.as_text(train_config([*argv, "--transform.flip", "0.5"], no_run))
    assert read(file, text).transform.keep == ("flip",)
    assert read(file, text, "--transform.hue", "5").transform.keep == ("flip", "hue")
    assert read(file, settings_file.as_text(train_config(argv, no_run))).transform.keep == ()


def test_a_number_of_classes_from_a_file_is_given(file: Path) -> None:
    file.write_text('{"classes": 10}')
    assert read_command(["--config", str(file)], no_run).given("classes")
    assert not read_command([], no_run).given("classes")


# --- yaml ---


def test_yaml_is_read_where_it_can_be(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    text = "dataset: mnist\nlearning_rate: 1e-3\ngrouping:\n  at: [2, 3]\nprior: uniform\n"
    config = read(tmp_path / "a.yaml", text)
    assert (config.learning_rate, config.grouping.at, config.prior) == (1e-3, (2, 3), "uniform")
    assert refused(tmp_path / "b.yml", "epochs: [1\n").startswith("is not YAML (")


def test_without_pyyaml_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert refused(tmp_path / "a.yaml", "epochs: 3") == "needs PyYAML: pip install pyyaml, or give the settings as JSON"


# --- what is wrong ---


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ('{"epochs": 3', "is not JSON (Expecting ',' delimiter"),
        ("[3]", 'must hold names with their values, such as {"epochs": 20}'),
        ("3", "must hold names with their values"),
        ({"epohcs": 3}, "epohcs: not known; perhaps you meant epochs"),
        ({"batch-size": 3}, "batch-size: not known; perhaps you meant batch_size"),
        ({"zzqx": 3}, "zzqx: not known; leave it out"),
        ({"grouping": {"wieght": 3}}, "grouping.wieght: not known; perhaps you meant grouping.weight"),
        ({"grouping": 3}, "grouping: must hold names with their values"),
        ({"epochs": "many"}, 'epochs: "many" must be a whole number'),
        ({"epochs": 3.5}, "epochs: 3.5 must be a whole number"),
        ({"epochs": True}, "epochs: true must be a whole number"),
        ({"epochs": None}, "epochs: null must be a whole number"),
        ({"amp": "yes"}, 'amp: "yes" must be true or false'),
        ({"temperature": "cold"}, 'temperature: "cold" must be a number'),
        ({"prior": "flat"}, 'prior: "flat" must be one of "learned", "uniform", "true"'),
        ({"dataset": "mnits"}, 'dataset: "mnits" must be one of "digits", "mnist"'),
        ({"dataset": ["mnist"]}, 'dataset: ["mnist"] must be one of "digits", "mnist"'),
        ({"recipe": 3}, 'recipe: 3 must be one of "default", "paper"'),
        ({"data_dir": 3}, "data_dir: 3 must be a path or null"),
        ({"grouping": {"at": [1, "b"]}}, 'grouping.at: [1, "b"] must be a list of whole numbers'),
        ({"transform": {"zoom": [1]}}, "transform.zoom: [1] must be a list of 2 numbers"),
        ({"intensity_range": 3}, 'intensity_range: 3 must be one of "auto", "type" or a list of 2 numbers'),
        ({"resume": True}, "resume: is a flag; leave it out, and give --resume"),
        ({"dry_run": True}, "dry_run: is a flag; leave it out, and give --dry-run"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"temperature": 0}, "--temperature 0.0: must be above 0"),
        ({"transform": {"flip": 2}}, "--transform.flip 2.0: must be 0 to 1"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line_with_file_and_name(values: Any, words: str, file: Path) -> None:
    assert refused(file, values).startswith(words)


def test_a_flag_that_is_wrong_is_no_fault_of_the_file(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--epochs 0: must be at least 1"):
        read(file, {"epochs": 4}, "--epochs", "0")


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bytes.json").write_bytes(b'{"epochs": "\xff"}')
    (tmp_path / "folder").mkdir()
    expected = {"none.json": "cannot be read (No such", "folder": "cannot be read (Is a", "bytes.json": "is not JSON"}
    for name, words in expected.items():
        assert run_command(train.main, ["--config", str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: --config {tmp_path / name}: {words}")


@pytest.mark.parametrize("flag", ["--config", "--like"])
def test_a_resumed_run_has_its_own_settings(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"^{flag}: a run that is resumed has its own settings; leave {flag} out"):
        train_config(["--resume", "--run-dir", "runs/7", flag, "x"], no_run)


# --- an earlier run ---


def like(*argv: str, before: TrainConfig = FOLDER) -> TrainConfig:
    return train_config(["--like", "runs/7", *argv], lambda _: before)


def test_an_earlier_run_gives_its_settings_but_not_its_place() -> None:
    expected = dataclasses.replace(FOLDER, data_dir=Path("others"), run_dir=None)
    assert like("--data-dir", "others") == expected
    assert like("--data-dir", "others", "--seed", "4") == dataclasses.replace(expected, seed=4)
    with called_as("fastgan train"):
        assert like("others") == expected


def test_its_own_images_are_named_but_not_taken() -> None:
    with pytest.raises(ConfigError) as caught:
        like()
    assert str(caught.value) == (
        "--like runs/7: takes the settings, but not the images; add --data-dir photos for the same, or name others"
    )


def test_files_of_a_data_set_that_is_named_stay_where_they_are() -> None:
    before = dataclasses.replace(preset("mnist"), data_dir=Path("there"), run_dir=Path("runs/7"), seed=9)
    assert like(before=before) == dataclasses.replace(before, run_dir=None)


def test_a_file_goes_before_an_earlier_run(file: Path) -> None:
    file.write_text(json.dumps({"seed": 5, "epochs": 6}))
    config = like("--data-dir", "others", "--config", str(file), "--epochs", "7")
    assert (config.seed, config.epochs, config.classes) == (5, 7, 15)


def test_a_run_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(train.main, ["--like", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_every_setting_is_read_back(file: Path) -> None:
    """Of each data set, under both recipes."""
    for name in ("digits", "mnist", "fashion-mnist"):
        for recipe in ("default", "paper"):
            config = preset(name, recipe)
            assert read(file, to_json(config)) == config
