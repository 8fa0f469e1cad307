"""The run folder: its name, run.json and the paths of a run's files."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgan.config.imbalance import COUNTS, counts
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import from_json
from fastgan.errors import ConfigError, FastganError, RunWriteError
from fastgan.runs import ownership

REPORT = "report.html"  # of a run, in its folder
COMPARISON = "compare.html"  # with other runs, in the folder of the first


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def images(self) -> Path:
        return self.path / "images.txt"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def make_folders(self) -> None:
        """Create its folders: a copy of a run may lack the empty ones."""
        self.samples.mkdir(parents=True, exist_ok=True)
        self.checkpoints.mkdir(exist_ok=True)

    def write_prior(self, values: dict[str, Any]) -> None:
        """Write prior.json atomically."""
        write_json(self.path / "prior.json", values)


def take(config: TrainConfig, held: ExitStack) -> Path:
    """Own the folder of a run that is about to start or to resume, until `held` is closed; returns its path.

    Without --run-dir it is a new folder in runs/, whatever else starts at the same time.

    Raises:
        ConfigError: when the folder is in use, cannot be written, or already holds a run that is not resumed.
    """
    path = config.run_dir
    try:
        if path is not None:
            _check_apart(path, config)
            held.enter_context(ownership.owned(path))
            if not config.resume:
                check_new(path)
            return path
        for number in itertools.count(1):
            path = Path("runs") / (default_name(config) + (f"-{number}" if number > 1 else ""))
            with contextlib.suppress(FileExistsError):
                held.enter_context(ownership.owned(path, new=True))
                return path
    except OSError as error:
        if path is not None and not config.resume:
            check_new(path)
        remedy = "make it writable, or free up space if it is full" if config.resume else "name a folder that can"
        raise ConfigError(f"--run-dir {path}: cannot be written ({error.strerror or error}); {remedy}") from error
    raise AssertionError("one of the numbers is free")


@contextmanager
def owning(path: Path, remedy: str = ownership.REMEDY) -> Iterator[None]:
    """Within, this process owns a run's folder; raises ConfigError as `take`. `remedy`: where another owns it."""
    with ExitStack() as held:
        try:
            held.enter_context(ownership.owned(path, remedy))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror or error}); make it writable") from error
        yield


@contextmanager
def owning_outputs(*paths: Path, flag: str = "--out") -> Iterator[None]:
    """Within, this process owns each run folder in which one of the files or folders `paths` lies.

    Args:
        flag: that names another place for them.

    Raises:
        ConfigError: another process owns it, or it cannot be written.
    """
    above = (folder for path in paths for folder in (path.absolute(), *path.absolute().parents))
    runs = dict.fromkeys(folder.resolve() for folder in above if RunFolder(folder).settings.is_file())
    with ExitStack() as held:
        for run in runs:
            held.enter_context(owning(run, f"wait until it ends, or write elsewhere with {flag}"))
        yield


def default_name(config: TrainConfig) -> str:
    """The name of a run that is given none: data set, K, seed and time."""
    named = config.imbalance.replace(":", "-") if counts(config.imbalance) is None else COUNTS
    own = "" if named == "none" else f"-{named}"
    split = f"-split{config.split}" if config.imbalance == "split" else own
    data = f"emnist-{config.emnist_split}" if config.dataset == "emnist" else config.dataset
    return f"{data}{split}-k{config.classes}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"


def _check_apart(path: Path, config: TrainConfig) -> None:
    """Raise ConfigError where the run's own pictures would lie among its images."""
    if not config.own_images or config.data_dir is None:
        return
    images, run = config.data_dir.resolve(), RunFolder(path.resolve())
    if images == run.path or images.is_relative_to(run.samples):
        raise ConfigError(
            f"--run-dir {path}: the run's pictures would lie among the images in --data-dir {config.data_dir}; name "
            f"another folder, such as {path / 'runs' / 'first'}"
        )


def check_free(path: Path) -> None:
    """Raise ConfigError where a folder holds a run already; the one who owns it is named first, if there is one."""
    if RunFolder(path).settings.exists():
        with contextlib.suppress(OSError), ownership.owned(path):
            pass
        check_new(path)


def check_new(path: Path) -> None:
    """Raise ConfigError where a folder holds a run."""
    if RunFolder(path).settings.exists():
        raise ConfigError(f"--run-dir {path}: already holds a run; add --resume to continue it, or name another folder")


@contextmanager
def begun(path: Path) -> Iterator[None]:
    """Within, a run folder that cannot be written raises ConfigError; used before a new run trains."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--run-dir {path}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error


@contextmanager
def continued(path: Path) -> Iterator[None]:
    """Within, a run folder that cannot be written raises ConfigError; used before a resumed run trains."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--run-dir {path}: cannot be written ({error.strerror or error}); make it writable, or free up space if "
            "it is full"
        ) from error


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Within, a file of the run that cannot be written raises RunWriteError with the free space."""
    try:
        yield
    except (FastganError, BrokenPipeError):  # a pipe carries messages and is no file of the run
        raise
    except OSError as error:
        free = shutil.disk_usage(path).free if path.exists() else 0
        raise RunWriteError(
            f"{error.filename or path}: could not be written ({error.strerror or error}); {free:,} bytes are free; the "
            "newest checkpoint is untouched: free up space and --resume"
        ) from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def move_data(path: Path, data_dir: Path) -> None:
    """Record in run.json where the run's data are now."""
    values = read_settings(path)
    values["settings"]["data_dir"] = str(data_dir)
    write_json(path / "run.json", values)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings and the environment in a run's run.json; raises ConfigError if it cannot be read."""
    try:
        values = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if not isinstance(values["settings"], dict) or not isinstance(values["environment"], dict):
            raise TypeError("settings or environment is not an object")
        if not all(isinstance(again, dict) for again in values["environment"].get("resumed", [])):
            raise TypeError("resumed is not a list of objects")
    except OSError as error:
        raise ConfigError(
            f"{path}: is not a run folder (run.json: {error.strerror or error}); name the --run-dir of a run"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path / 'run.json'}: damaged ({error}); restore it, or train again") from error
    return {"settings": values["settings"], "environment": values["environment"]}


def last_environment(settings: dict[str, Any]) -> dict[str, Any]:
    """The environment in which the run was last started or resumed; `settings` from `read_settings`."""
    kept: dict[str, Any] = settings["environment"]
    last: dict[str, Any] = [kept, *kept.get("resumed", [])][-1]
    return last


def precision_of(values: dict[str, Any]) -> str:
    """The precision in which matrix products were last computed; `values` of run.json or of a row of a sweep.

    Older runs do not record it; --amp then meant bfloat16 on every device.
    """
    settings = values.get("settings", {})
    requested = settings.get("amp_dtype", "bfloat16") if settings.get("amp") else "float32"
    kept = last_environment({"environment": values.get("environment", {})}).get("precision")
    return str(kept or requested)


def threads_of(settings: dict[str, Any]) -> int | None:
    """The number of threads with which the run was last trained; None if not recorded."""
    threads = last_environment(settings).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def ranks_of(settings: dict[str, Any]) -> int:
    """The number of ranks on which the run was last trained."""
    return int(last_environment(settings).get("ranks", 1))


def saved_config(path: Path) -> TrainConfig:
    """The settings of an existing run; raises ConfigError if they cannot be read."""
    return from_json(read_settings(path)["settings"], str(path / "run.json"))
