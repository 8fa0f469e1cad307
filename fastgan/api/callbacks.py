"""Callbacks of `fit`: objects of the caller's that see a run in training and may stop it.

A callback has either method or both; a function is taken as `on_epoch_end`.

    on_epoch_end(epoch, row): after each epoch, counted from 1. `row` is a dictionary: epoch, images_seen, the mean
        losses since the last report and, where the epoch was evaluated, its figures, as in `history_`.
    on_step_end(images_seen, losses): every `log_every` images, where the host waits for the device anyway, so that no
        step waits for a callback. `losses` is a dictionary of mean losses since the last call.

Returning True, or raising StopIteration, stops the run: it saves, and `fit` returns the model as it is.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

METHODS = ("on_epoch_end", "on_step_end")


class Callbacks:
    """Several callbacks as the one observer of a run; an error of theirs stops the run, and is raised once it is saved.

    Args:
        given: the callbacks, or a single one.

    Raises:
        ValueError: for an object with neither method that cannot be called.
    """

    def __init__(self, given: Any) -> None:
        many = given if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
        self._methods: dict[str, list[Callable[..., Any]]] = {name: [] for name in METHODS}
        self.error: BaseException | None = None
        self._streams = sys.stdout, sys.stderr  # what a callback prints is the caller's
        for each in many:
            found = {name: getattr(each, name) for name in METHODS if callable(getattr(each, name, None))}
            if not found and not callable(each):
                raise ValueError(
                    f"callbacks: {type(each).__name__} has neither {' nor '.join(METHODS)} and cannot be called; give "
                    "objects with either, or functions of (epoch, row)"
                )
            for name, method in (found or {"on_epoch_end": each}).items():
                self._methods[name].append(method)

    def __bool__(self) -> bool:
        """Whether there is any: a run that nobody watches is not shown to anybody."""
        return any(self._methods.values())

    def on_step_end(self, images_seen: int, losses: Mapping[str, float]) -> bool:
        """Call those that ask for reports; True if any wants to stop."""
        return self._call("on_step_end", images_seen, losses)

    def on_epoch_end(self, epoch: int, row: Mapping[str, Any]) -> bool:
        """Call those that ask for epochs; True if any wants to stop."""
        return self._call("on_epoch_end", epoch, row)

    def _call(self, name: str, clock: int, figures: Mapping[str, Any]) -> bool:
        stops = False
        out, errors = self._streams
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            for method in self._methods[name]:
                try:
                    stops = bool(method(clock, dict(figures))) or stops  # a copy: theirs to keep and to change
                except StopIteration:
                    stops = True
                except Exception as error:  # noqa: BLE001 - any of the caller's, who gets it once the run is saved
                    self.error = error
                    return True
        return stops
