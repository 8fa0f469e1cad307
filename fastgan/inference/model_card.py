"""The README.md of a saved model and of an export: its model card, and how its files are used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import jinja2

from fastgan.config.serialization import to_json
from fastgan.inference.saved_model import Provenance
from fastgan.inference.trained_run import TrainedModel
from fastgan.runtime.environment import environment

SHOWN = (
    *("dataset", "recipe", "split", "imbalance", "image_size", "classes", "prior", "finer_codes", "epochs"),
    *("batch_size", "average_decay", "seed", "amp", "network"),
)
# Where the images are from, in words; of others, which are the user's own, only their number is known.
DATA = {
    "digits": "scikit-learn's handwritten digits, made imbalanced",
    "mnist": "MNIST, made imbalanced",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "emnist": "EMNIST",
    "usps": "USPS",
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
    "youtube-faces": "YouTube-Faces",
}


def model_card(model: TrainedModel, of: Provenance, files: Collection[str], words: Mapping[str, str]) -> str:
    """The model card, as Markdown.

    Args:
        files: those in the folder, which are explained.
        words: what each figure means; figures that are not in it are left out.
    """
    shape, settings = model.networks.shape, to_json(model.config)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    figures = {" ".join(meaning.split()): of.figures[name] for name, meaning in words.items() if name in of.figures}
    return templates.get_template("README.md.j2").render(
        files=files,
        dataset=model.config.dataset,
        data=DATA.get(model.config.dataset, "its maker's own images"),
        images=of.images,
        figures={meaning: value for meaning, value in figures.items() if isinstance(value, (int, float))},
        images_seen=model.images_seen,
        generator="the averaged one" if model.config.average_decay > 0 else "as trained last",
        classes=shape.classes,
        network=shape.network,
        channels=shape.channels,
        size=shape.image_size,
        prior=model.prior.probabilities().tolist(),
        versions=environment(model.device)["versions"],
        settings={name: settings[name] for name in SHOWN},
    )
