"""The README.md of an export: what goes in and comes out, and how to load it with only torch."""

from __future__ import annotations

from pathlib import Path

import jinja2

from fastgan.config.serialization import to_json
from fastgan.inference.trained_run import TrainedRun
from fastgan.runtime.environment import environment

SETTINGS = (
    *("dataset", "recipe", "split", "imbalance", "image_size", "classes", "prior", "finer_codes", "epochs"),
    *("batch_size", "average_decay", "seed", "amp", "network"),
)


def readme(run: TrainedRun) -> str:
    """The README of an export of this run, as Markdown."""
    shape, settings = run.networks.shape, to_json(run.config)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template("README.md.j2").render(
        dataset=run.config.dataset,
        images_seen=run.images_seen,
        generator="the averaged one" if run.config.average_decay > 0 else "as trained last",
        classes=shape.classes,
        network=shape.network,
        channels=shape.channels,
        size=shape.image_size,
        prior=run.prior.probabilities().tolist(),
        versions=environment(run.device)["versions"],
        settings={name: settings[name] for name in SETTINGS},
    )
