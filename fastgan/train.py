"""python -m fastgan.train: train on a data set and fill a run folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config import settings_file
from fastgan.config.command_line import run_command
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import TrainCommand, read_command
from fastgan.data import scan
from fastgan.errors import DataError
from fastgan.runs import run_folder
from fastgan.runtime.libraries import loading
from fastgan.runtime.ranks import RankInfo


def main(argv: Sequence[str]) -> int:
    """Parse, refuse what cannot be, train. Returns the exit code."""

    def read() -> TrainCommand:
        command = read_command(argv, run_folder.saved_config)
        _check_images(command.config)
        return command

    # Of several ranks one tells a mistake to all, for which they need torch.
    command = read() if RankInfo.from_environment().world_size == 1 else None
    if command is not None and command.config.dry_run and not command.config.own_images:
        print(settings_file.as_text(command.config))
        return 0
    if command is not None:
        _check_free(command.config)
    with loading():
        from fastgan.tasks import train as task
    return task.run(read if command is None else lambda: command)


def _check_images(config: TrainConfig) -> None:
    """Raise an error where the images of one's own are not."""
    if config.own_images and config.data_dir is not None:
        if config.dataset == "hf" and config.data_dir.is_file():
            return  # of rows; what reads them says which kinds there are
        if config.dataset != "npz":
            scan.check(config.data_dir)
        elif not config.data_dir.exists():
            raise DataError(f"{config.data_dir}: no such file; name the .npz or .npy file with your images")


def _check_free(config: TrainConfig) -> None:
    """Raise ConfigError where the folder of a new run holds another."""
    if config.run_dir is not None and not config.resume and not config.dry_run:
        run_folder.check_free(config.run_dir)


if __name__ == "__main__":
    sys.exit(run_command(main))
