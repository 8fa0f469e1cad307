"""Whether the images of a run are still those that it was trained on."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from fastgan.data.identity import Identity, difference
from fastgan.data.likeness import Look
from fastgan.errors import ConfigError
from fastgan.runs import run_folder
from fastgan.runs.run_folder import RunFolder


def describe(images: Identity, look: Look | None = None) -> dict[str, Any]:
    """What run.json records of the images, as part of the environment."""
    return {"images": images.summary() | ({} if look is None else {"look": look.summary()})}


def keep(run: RunFolder, images: Identity) -> None:
    """Keep the digest of each image file in the run folder, so that a later difference is named; raises OSError."""
    listing = images.listing()
    if listing is not None:
        partial = run.images.with_name(f".{run.images.name}")
        partial.write_text(listing, encoding="utf-8")
        partial.replace(run.images)


def trained_on(run: RunFolder) -> Identity | None:
    """The images that the run was trained on last; None for a run of an earlier version, which does not record them.

    Raises:
        ConfigError: run.json cannot be read.
    """
    kept = run_folder.last_environment(run_folder.read_settings(run.path)).get("images")
    if not isinstance(kept, dict) or not {"count", "digest"} <= kept.keys():
        return None
    found = Identity(kept["count"], kept["digest"])
    with contextlib.suppress(OSError, ValueError):
        return found.listed(run.images.read_text(encoding="utf-8"))
    return found


def changed(run: RunFolder, images: Identity) -> str:
    """How the images differ from those that the run was trained on, in words; empty if they do not, or if unknown."""
    before = trained_on(run)
    return "" if before is None else difference(before, images)


def warn(run: RunFolder, images: Identity) -> None:
    """A warning on stderr where the images to be measured are not those that the run was trained on."""
    if how := changed(run, images):
        print(f"warning: {run.path} was trained on other images ({how}); figures are of those of now", file=sys.stderr)


def check(run: RunFolder, images: Identity) -> None:
    """Raise ConfigError, saying which differ, where the images are not those that the run was trained on.

    Groups and figures belong to the images by their order, so that a run cannot go on with others.
    """
    if how := changed(run, images):
        raise ConfigError(
            f"--resume: {run.path} was trained on other images ({how}); put the former ones back, name their folder "
            "with --data-dir, or start a new run"
        )
