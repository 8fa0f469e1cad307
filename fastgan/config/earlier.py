"""Settings that flags then change: those of an earlier run (`train --like RUN`) and of a file (`train --config FILE`).

What followed from another setting there follows from the changed one here: with `--like RUN --classes 20` the number of
finer codes becomes that of 20 classes, unless the run had one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastgan.config import settings_file
from fastgan.config.command_line import flag_value
from fastgan.config.presets import finer_codes
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import to_json


@dataclass(frozen=True)
class Earlier:
    """Where settings come from: `source` is the flag with its value. images: the run's own, which are not taken."""

    source: str
    values: Mapping[str, Any]
    images: Path | None = None


@dataclass(frozen=True)
class Sources:
    """All of them; where two give a setting, the later one counts. follows: settings that followed from others."""

    found: Sequence[Earlier] = ()
    follows: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def read(cls, argv: Sequence[str], saved: Callable[[Path], TrainConfig]) -> Sources:
        """Those that a command line names.

        Args:
            saved: reads the settings of a run from its folder.

        Raises:
            ConfigError: a run or a file cannot be read, or holds a name or a type that is wrong.
        """
        found = []
        run, file = flag_value(argv, "--like"), flag_value(argv, "--config")
        if run is not None:
            before = saved(Path(run))
            left = {"run_dir", *settings_file.ONLY_FLAGS} | ({"data_dir"} if before.own_images else set())
            values = {name: value for name, value in to_json(before).items() if name not in left}
            found.append(Earlier(f"--like {run}", values, before.data_dir if before.own_images else None))
        if file is not None:
            found.append(Earlier(f"--config {file}", settings_file.read(Path(file))))
        own = cls(found).on(TrainConfig())
        names = {name for each in found for name in settings_file.names(each.values)}
        return cls(found, frozenset(_following(own, names)))

    def on(self, config: TrainConfig) -> TrainConfig:
        """`config` with these settings, but for those that follow from others; raises ConfigError as `read`."""
        for each in self.found:
            values = {name: value for name, value in each.values.items() if name not in self.follows}
            config = settings_file.changed(config, values, each.source)
        return config

    def value(self, name: str, default: str) -> str:
        """The text that a setting has there."""
        return next((each.values[name] for each in reversed(self.found) if name in each.values), default)

    def gives(self, name: str) -> bool:
        """Whether a setting, such as epochs or transform.flip, is given there and follows from no other."""
        return name not in self.follows and self.source_of(name) is not None

    def source_of(self, name: str) -> Earlier | None:
        """Where a setting is from; None if it is given nowhere."""
        return next((each for each in reversed(self.found) if name in settings_file.names(each.values)), None)


def _following(config: TrainConfig, names: set[str]) -> set[str]:
    """The settings among `names` that have the value which follows from others among them."""
    found = set()
    if {"finer_codes", "classes"} <= names and config.finer_codes == finer_codes(config.classes):
        found.add("finer_codes")
    if {"identities", "classes"} <= names and config.dataset == "youtube-faces" and config.classes == config.identities:
        found.add("classes")
    if "transform.keep" in names:  # it lists the transforms that were given
        found |= {name for name in names if name.startswith("transform.")}
    return found
