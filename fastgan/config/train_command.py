"""From the command line of train to a validated config.

A preset comes first, chosen by data set and recipe; then the settings of an earlier run (--like); then those of a file
(--config); then the flags. A resumed run has its own, of which few may change.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastgan.config.command_line import asks_for_help, by_name, find_operand, flag_value, parse
from fastgan.config.earlier import Sources
from fastgan.config.help_text import Layout
from fastgan.config.presets import PRESETS, derived, preset
from fastgan.config.schema import ARRAYS, OWN_FILES, Dataset, TrainConfig, TransformConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError
from fastgan.text import shell_quoted

# Settings that a resumed run may change: they do not change the recipe, although another device, compiler, kernel or
# transform backend rounds differently (and DALI interpolates differently).
FREE_ON_RESUME = {
    *("epochs", "run_dir", "resume", "eval_every", "save_every", "log_every", "dry_run", "data_dir", "cache_dir"),
    *("device", "save_share", "deterministic", "compile", "kernels", "augment", "capture", "threads"),
    *("rank_timeout", "resume_on_other_ranks"),
}
DESCRIPTION = (
    "Train Elastic-InfoGAN: classes, their frequencies and generated images from unlabelled images. Defaults are those "
    "of --dataset digits; `--dataset mnist --help` shows MNIST's."
)
FIRST = ("dataset", "data_dir", "classes", "epochs", "amp", "compile", "seed", "split", "run_dir", "resume")
HEADINGS = {
    "dataset": "Images",
    "classes": "Classes, their prior, and what is learned from real images",
    "epochs": "Training",
    "amp": "Speed and device",
    "run_dir": "The run",
    "grouping": "Groups of images that belong together",
    "transform": "Transforms of real images",
    "network": "Networks",
    "config": "Settings from a file",
}
OPERAND = (
    "[PATH]",
    "Your images: a folder, the same as --dataset folder --data-dir PATH, or a .npz, .npy, .parquet or .tar file.",
)
ROWS = (".parquet", ".tar")  # of --dataset hf


@dataclass(frozen=True, kw_only=True)
class TrainCommandConfig(TrainConfig):
    """What the command line of train may hold: the settings of a run, and where others come from."""

    config: Path | None = None
    """A file of settings under the names that run.json has, all or some; flags go first. JSON, as --dry-run prints it,
    or YAML where PyYAML is installed."""
    like: Path | None = None
    """The folder of an earlier run, whose settings are taken, except --run-dir and your own images; flags, and the file
    of --config, go first."""


@dataclass(frozen=True)
class TrainCommand:
    """What a command line of train asks for.

    config: validated. given: whether the user gave a setting, such as finer_codes or transform.flip.
    """

    config: TrainConfig
    given: Callable[[str], bool]


def train_config(argv: Sequence[str], saved: Callable[[Path], TrainConfig]) -> TrainConfig:
    """The config of `read_command`."""
    return read_command(argv, saved).config


def read_command(argv: Sequence[str], saved: Callable[[Path], TrainConfig]) -> TrainCommand:
    """The validated settings of `python -m fastgan.train`.

    `--dataset` and `--recipe` select the preset that the other flags change. The default of `--classes` for
    youtube-faces is `--identities`; that of `--finer-codes` follows from `--classes` (`presets.derived`).

    Args:
        saved: reads the settings of a run from its folder, for `--resume` and `--like`.

    Raises:
        ConfigError: a flag or a file is not right, or a flag would change what must stay in a resumed run.
    """
    if "--resume" in argv and not asks_for_help(argv):
        return TrainCommand(_resumed(argv, saved), partial(_by_flag, argv))
    earlier = Sources.read(argv, saved)
    path = None if not by_name() or asks_for_help(argv) else find_operand(TrainCommandConfig, argv, "train")
    start = _start(argv, earlier, path)
    config = _parse(argv, earlier.on(start), path)
    if path is not None:
        config = _at(path, argv, config, start.dataset)

    def given(name: str) -> bool:
        return _by_flag(argv, name) or earlier.gives(name)

    if config.dataset == "youtube-faces" and not given("classes"):
        config = dataclasses.replace(config, classes=config.identities)
    config = _with_kept_transforms(argv, derived(config, given))
    _check_images(earlier, config)
    try:
        return TrainCommand(validate(config), given)
    except ConfigError as error:
        flag = re.match(r"--([\w.-]+)", str(error))
        name = "" if flag is None else flag[1].replace("-", "_")
        source = None if _by_flag(argv, name) else earlier.source_of(name)
        if source is None:
            raise
        raise ConfigError(f"{source.source}: {error}") from None


def _by_flag(argv: Sequence[str], name: str) -> bool:
    """Whether a setting is given by its flag, which a value follows."""
    return flag_value(argv, f"--{name.replace('_', '-')}") is not None


def _start(argv: Sequence[str], earlier: Sources, path: str | None) -> TrainConfig:
    """The preset that the settings given change; with the images at `path`, if those are named so."""
    dataset = flag_value(argv, "--dataset")
    if dataset is None:
        dataset = earlier.value("dataset", "digits")
        if path is not None and path.lower().endswith(ARRAYS):
            dataset = "npz"
        elif path is not None and path.lower().endswith(ROWS):
            dataset = "hf"
        elif path is not None and dataset not in OWN_FILES:
            dataset = "folder"
    return preset(dataset, flag_value(argv, "--recipe") or earlier.value("recipe", "default"))


def _parse(argv: Sequence[str], default: TrainConfig, operand: str | None = None) -> TrainConfig:
    """The settings of a command line, unchecked."""
    command = parse(
        TrainCommandConfig,
        argv,
        default=TrainCommandConfig(**_values(default)),
        command="train",
        description=DESCRIPTION,
        layout=Layout(FIRST, OPERAND if by_name() else None, HEADINGS),
        operand=operand,
    )
    return TrainConfig(**_values(command))


def _values(config: TrainConfig) -> dict[str, Any]:
    return {part.name: getattr(config, part.name) for part in dataclasses.fields(TrainConfig)}


def _at(path: str, argv: Sequence[str], config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """`config` with the images at `path`; raises ConfigError where they cannot be meant."""
    if _by_flag(argv, "data_dir"):
        raise ConfigError(f"{path}: --data-dir names the images too; leave one of them out")
    if path in PRESETS and not Path(path).exists():
        raise ConfigError(f"{path}: no such folder; for the data set of that name use --dataset {path}")
    return dataclasses.replace(config, data_dir=Path(path), dataset=dataset)


def _with_kept_transforms(argv: Sequence[str], config: TrainConfig) -> TrainConfig:
    """Transforms given by flags stay as given, beside those that a file keeps."""
    if config.transform.kind != "auto" or _by_flag(argv, "transform.keep"):
        return config
    names = [part.name for part in dataclasses.fields(TransformConfig) if _by_flag(argv, f"transform.{part.name}")]
    keep = tuple(dict.fromkeys((*config.transform.keep, *names)))
    return dataclasses.replace(config, transform=dataclasses.replace(config.transform, keep=keep))


def _check_images(earlier: Sources, config: TrainConfig) -> None:
    """Raise ConfigError for a folder that is not read, and where the images of an earlier run are wanted."""
    if config.dataset == "digits" and config.data_dir is not None:
        raise ConfigError(
            "--data-dir: the default, --dataset digits, reads no files; add --dataset folder for your own images, or "
            "--dataset mnist"
        )
    for each in earlier.found:
        if config.own_images and config.data_dir is None and each.images is not None:
            raise ConfigError(
                f"{each.source}: takes the settings, but not the images; add --data-dir {shell_quoted(each.images)} "
                "for the same, or name others"
            )


def _resumed(argv: Sequence[str], saved: Callable[[Path], TrainConfig]) -> TrainConfig:
    """The settings of a run that goes on."""
    run_dir = flag_value(argv, "--run-dir")
    if run_dir is None:
        raise ConfigError("--resume needs the run's folder: add --run-dir RUN")
    for flag in ("--config", "--like"):
        if flag_value(argv, flag) is not None:
            raise ConfigError(f"{flag}: a run that is resumed has its own settings; leave {flag} out")
    before = saved(Path(run_dir))
    config = validate(_parse(argv, before))
    changed = [f"{name} (was {value})" for name, value in differences(config, before).items()]
    if changed:
        raise ConfigError(
            f"--resume: --{', --'.join(changed)} must stay as in {run_dir}/run.json; leave those flags out, "
            "or start a new run without --resume"
        )
    return config


def differences(ours: TrainConfig, theirs: TrainConfig, free: Set[str] = FREE_ON_RESUME) -> dict[str, Any]:
    """Flags whose values differ between two runs, with the value in `theirs`; settings in `free` are skipped."""
    own = _flags(ours)
    return {
        name: value
        for name, value in _flags(theirs).items()
        if name.partition(".")[0].replace("-", "_") not in free and own[name] != value
    }


def _flags(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by the name of its flag, nested ones included."""
    found: dict[str, Any] = {}
    for part in dataclasses.fields(config):
        name, value = prefix + part.name.replace("_", "-"), getattr(config, part.name)
        found |= _flags(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return found
