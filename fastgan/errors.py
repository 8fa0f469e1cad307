"""The errors that a user meets: one line each, naming the flag, file or step and the remedy."""

from __future__ import annotations


class FastganError(Exception):
    """Base of every error meant for a user; `exit_code` is what a command ends with.

    One that is `silent` is said by another rank. One that must end `at_once` leaves out Python's own exit, which now
    and then aborts over torch's threads: they hold what another rank never took.
    """

    exit_code = 1
    silent = at_once = False


class ConfigError(FastganError, ValueError):
    """A flag, a setting or a run folder cannot be used as given."""

    exit_code = 2


class DataError(FastganError, ValueError):
    """A data file is missing, cut short or not what it claims to be."""

    exit_code = 2


class RunWriteError(FastganError, OSError):
    """A file of the run folder could not be written; the newest checkpoint is untouched."""


class CheckpointWriteError(RunWriteError):
    """A checkpoint could not be written; the one before it is untouched."""


class CheckpointCorruptError(FastganError):
    """No checkpoint of the run passes its hashes."""


class DivergenceError(FastganError):
    """A loss became NaN or infinite."""


class RankError(FastganError):
    """Another rank of the job has ended, or has not answered in time."""

    at_once = True


class RunError(FastganError):
    """One of several runs made at once has failed."""

    def __init__(self, said: str, exit_code: int = 1) -> None:
        super().__init__(said)
        self.exit_code = exit_code
