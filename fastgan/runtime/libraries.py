"""The libraries that fastgan stands on: when they are imported, one that is missing, and what they print."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from fastgan.errors import ConfigError
from fastgan.runtime import signals, stages

# Names under which libraries are imported and installed, where the two differ.
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}


def missing(error: ModuleNotFoundError) -> str | None:
    """One line for a library that is not installed; None where the fault is another, such as a broken installation."""
    module = error.name or ""
    if module in ("", "fastgan", "kernels") or "." in module:
        return None
    names = list(dict.fromkeys([PACKAGES.get(module, module), *_not_installed()]))
    which = f"the package {names[0]} is" if len(names) == 1 else f"{len(names)} packages are"
    return f"{which} not installed: pip install {' '.join(names)}"


def end_without(line: str) -> NoReturn:
    """End the process, a command, with a line from `missing`."""
    print(f"error: {line}", file=sys.stderr, flush=True)
    os._exit(ConfigError.exit_code)  # half imported libraries may abort in Python's own cleanup


def _not_installed() -> list[str]:
    """The packages that fastgan requires and that are not installed, extras aside."""
    from importlib import metadata  # a fifth of the time that `import fastgan` takes

    try:
        required = metadata.requires("fastgan") or []
    except metadata.PackageNotFoundError:  # imported from a folder of sources
        return []
    names = [re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line]
    found = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower() for one in metadata.distributions()}
    return [name for name in names if name.lower() not in found]


def quiet() -> None:
    """Keep what libraries print off stderr, for the whole process, and print a warning of ours as one line.

    Ours begin with the flag that they are about. `python -W default -m fastgan.train` shows all of it.
    """
    if sys.warnoptions:
        return
    warnings.simplefilter("ignore")
    warnings.filterwarnings("default", message="--", category=RuntimeWarning)
    warnings.showwarning = _say
    # A logger without a handler prints to stderr. torch's own has one, which is left alone.
    logging.getLogger().addHandler(logging.NullHandler())


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    stages.say(f"warning: {message}")


@contextmanager
def loading() -> Iterator[None]:
    """Within, a command imports what its work needs, after its command line was read; a line says that it takes time.

    A signal ends the process at once: libraries catch exceptions of any kind while they are imported.
    """
    if "torch" in sys.modules:  # and with it all that takes long
        yield
        return
    if os.environ.get("RANK", "0") == "0":
        stages.load()
    try:
        with signals.ending_the_process():
            yield
    finally:
        stages.loaded()
