"""What libraries print by themselves: warnings with paths of their source, and log lines."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from fastgan.runtime import stages


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
