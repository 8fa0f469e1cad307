"""python -m fastgan.train: train on a data set and fill a run folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fastgan.config.command_line import run_command
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.runs import run_folder
from fastgan.runtime.libraries import loading
from fastgan.runtime.ranks import RankInfo


def main(argv: Sequence[str]) -> int:
    """Parse, build, train. Returns the exit code."""

    def read() -> TrainConfig:
        return train_config(argv, run_folder.saved_config)

    config = read() if RankInfo.from_environment().world_size == 1 else None
    with loading():
        from fastgan.tasks import train as task
    return task.run(argv, read if config is None else lambda: config)


if __name__ == "__main__":
    sys.exit(run_command(main))
