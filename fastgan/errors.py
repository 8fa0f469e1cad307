"""The errors that a user sees: one line each, naming the flag, file or step and the remedy."""

from __future__ import annotations


class FastganError(Exception):
    """Base of every error meant for a user; `exit_code` is the exit code of the command.

    A `silent` error is printed by another rank. An `at_once` error ends the process without Python's own cleanup, which
    sometimes aborts because torch's threads still hold data that another rank never received.
    """

    exit_code = 1
    silent = at_once = False


class ConfigError(FastganError, ValueError):
    """A flag, a setting or a run folder cannot be used as given."""

    exit_code = 2


class DataError(FastganError, ValueError):
    """A data file is missing, truncated or not what it claims to be."""

    exit_code = 2


class RunWriteError(FastganError, OSError):
    """A file of the run folder could not be written; the newest checkpoint is untouched."""


class CheckpointWriteError(RunWriteError):
    """A checkpoint could not be written; the one before it is untouched."""


class CheckpointCorruptError(FastganError):
    """A checkpoint is missing or does not match its hashes."""


class DivergenceError(FastganError):
    """A loss or gradient became NaN or infinite."""


class RankError(FastganError):
    """Another rank has ended or does not answer in time."""

    at_once = True


class RunError(FastganError):
    """One of several concurrent runs has failed."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
