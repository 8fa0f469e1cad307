"""From the command line of train to a validated config: presets, and what a resumed run may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from fastgan.config.command_line import flag_value, parse
from fastgan.config.presets import derived, preset
from fastgan.config.schema import TrainConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError

# Settings that a resumed run may change: they do not change the recipe, although another device, compiler, kernel or
# transform backend rounds differently (and DALI interpolates differently).
FREE_ON_RESUME = {
    *("epochs", "run_dir", "resume", "eval_every", "save_every", "log_every", "dry_run", "data_dir", "cache_dir"),
    *("device", "save_share", "deterministic", "compile", "kernels", "augment", "capture", "threads"),
    *("rank_timeout", "resume_on_other_ranks"),
}


def train_config(argv: Sequence[str], saved: Callable[[Path], TrainConfig]) -> TrainConfig:
    """The validated config of `python -m fastgan.train`.

    `--dataset` and `--recipe` select the preset that the other flags change. The default of `--classes` for
    youtube-faces is `--identities`; that of `--finer-codes` follows from `--classes` (`presets.derived`). With
    `--resume` `saved` reads the settings from the run folder, and a flag that would change training raises ConfigError.
    """
    description = (
        "Train Elastic-InfoGAN: classes, their frequencies and generated images from unlabelled images. "
        "Defaults are those of --dataset digits; `--dataset mnist --help` shows MNIST's. "
        "`--dataset folder --data-dir DIR` trains on your own images, and `--dataset youtube-faces --data-dir DIR` on "
        "frames of YouTube-Faces."
    )
    run_dir = flag_value(argv, "--run-dir")
    if "--resume" in argv and not {"-h", "--help"} & set(argv):
        if run_dir is None:
            raise ConfigError("--resume needs the run's folder: add --run-dir RUN")
        before = saved(Path(run_dir))
        config = validate(parse(TrainConfig, argv, default=before, command="train", description=description))
        changed = [f"{name} (was {value})" for name, value in differences(config, before).items()]
        if changed:
            raise ConfigError(
                f"--resume: --{', --'.join(changed)} must stay as in {run_dir}/run.json; leave those flags out, "
                "or start a new run without --resume"
            )
        return config
    dataset = flag_value(argv, "--dataset")
    default = preset(dataset if dataset is not None else "digits", flag_value(argv, "--recipe") or "default")
    config = parse(TrainConfig, argv, default=default, command="train", description=description)
    if config.dataset == "youtube-faces" and flag_value(argv, "--classes") is None:
        config = dataclasses.replace(config, classes=config.identities)
    if config.dataset == "digits" and config.data_dir is not None:
        raise ConfigError(
            "--data-dir: the default, --dataset digits, reads no files; add --dataset folder for your own images, or "
            "--dataset mnist"
        )
    config = derived(config, lambda name: flag_value(argv, f"--{name.replace('_', '-')}") is not None)
    return validate(config)


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
