"""Images, labels and parameters that cannot be used: a ValueError in one line, with the argument and the remedy."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import small_models
import torch

from fastgan import ElasticInfoGAN

pytestmark = pytest.mark.usefixtures("no_pictures")

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8), dtype=np.uint8)
LABELS = np.arange(16) % 2
SETTINGS: dict[str, Any] = {
    **small_models.SMALL,
    "n_classes": 2,
    "epochs": 1,
    "pretrain_epochs": 0,
    "batch_size": 8,
    "augment": "torchvision",
}
OBJECTS = np.array([IMAGES[0], "a"], dtype=object)
RAGGED = np.array([None, None], dtype=object)
RAGGED[0], RAGGED[1] = IMAGES[0], IMAGES[1, :5]

BAD_IMAGES: list[tuple[Any, str]] = [
    (None, "images: NoneType is neither an array nor a sequence of images; give an array"),
    (3, "images: int is neither"),
    (IMAGES[0], "images: an array of shape (8, 8); give [N, H, W], [N, H, W, C] or [N, C, H, W]"),
    (
        IMAGES.reshape(16, 64),
        "images: an array of shape (16, 64); give [N, H, W], [N, H, W, C] or [N, C, H, W], such as",
    ),
    (IMAGES.reshape(16, 64), "images.reshape(-1, 8, 8)"),
    (IMAGES[None, None], "images: an array of shape (1, 1, 16, 8, 8); give [N, H, W]"),
    (IMAGES[:0], "images: an array of shape (0, 8, 8); give"),
    (np.zeros((16, 8, 8, 7), np.uint8), "neither its last nor its second axis has 1, 3 or 4 channels; move them"),
    (IMAGES.astype(float), "images: floats from 0 to 255; scale them to [0, 1], or give integers of 0 to 255"),
    (IMAGES / -255.0, "images: floats from -1 to -0; scale them to [0, 1]"),
    (IMAGES.astype(int) - 1, "images: integers from -1 to 254; scale them to 0 to 255"),
    (IMAGES.astype(int) * 9, "images: integers from 0 to 2295; scale them to 0 to 255"),
    (np.where(IMAGES > 250, np.nan, 0.5), "with NaN; leave them out, or fill their pixels"),
    (np.where(IMAGES > 250, np.inf, 0.5), "images: floats from 0.5 to inf; scale them to [0, 1]"),
    (IMAGES.astype(complex), "images: an array of type complex128; give"),
    (IMAGES.astype(str), "images: an array of type <U3; give"),
    (
        np.full((16, 8, 8), 7, np.uint8),
        "images: all 16 images are of (nearly) one colour or equal to each other; give images that differ",
    ),
    (OBJECTS, "images: item 1 is 'a', no pixels; open it with PIL.Image"),
    (IMAGES.astype(object), "images: an array of Python objects, of shape (16, 8, 8); give an array [N, H, W]"),
    (["a.png", "b.png"], "images: item 0 is 'a.png', no pixels; open it with PIL.Image, or give its folder's path"),
    ([1.0, 2.0], "images: item 0 has shape () and type float64; give numbers [H, W], [H, W, C] or [C, H, W]"),
    ([None, IMAGES[0]], "images: item 0 is None, no pixels"),
    ({"images": IMAGES}, "images: a dictionary with images; give the images in it"),
    (scipy.sparse.csr_matrix(IMAGES[0]), "images: a sparse csr_matrix; give an array"),
    (torch.zeros(4, 8), "images: an array of shape (4, 8); give"),
    ("nowhere", "nowhere: no such folder; name the one with your images"),
    (b"bytes", "images: item 0"),
    (
        torch.utils.data.DataLoader(list(IMAGES)),
        "images: DataLoader is neither an array nor a sequence of images; give its dataset",
    ),
]
BAD_LABELS: list[tuple[Any, str]] = [
    (LABELS[:-1], "y: 15 labels for 16 images; give one for each"),
    (LABELS.reshape(8, 2), "y: labels of shape (8, 2) and type int64; give one integer or word for each image"),
    (LABELS / 2, "y: labels of shape (16,) and type float64; give one integer or word"),
    (np.array([None] * 16), "y: labels of shape (16,) and type object; give one integer or word"),
    (LABELS * 0, "y: all labels are the same; give those of two classes or more, or leave y out"),
    (5, "y: labels of shape () and type int64; give one"),
]
BAD_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"n_classes": 1}, "n_classes 1: must be at least 2"),
    ({"n_classes": 17}, "n_classes 17: more codes than the data has images, 16; use far fewer"),
    ({"n_classes": "ten"}, "n_classes 'ten': must be a whole number"),
    ({"n_classes": 2.5}, "n_classes 2.5: must be a whole number"),
    ({"n_classes": True}, "n_classes True: must be a whole number"),
    ({"random_state": -1}, "random_state -1: must be 0 or more"),
    ({"random_state": np.random.RandomState(0)}, "RandomState(MT19937)"),
    ({"batch_size": 64}, "batch_size 64: larger than the data, which has 16 images; lower it to 16, or add images"),
    ({"learning_rate": float("nan")}, "learning_rate nan: must be a number"),
    ({"learning_rate": 0}, "learning_rate 0: must be above 0"),
    ({"epochs": "3"}, "epochs '3': must be a whole number"),
    ({"amp": "yes"}, "amp 'yes': must be True or False"),
    ({"prior": "flat"}, "prior 'flat': must be 'learned' or 'uniform' or 'true'"),
    ({"prior": "true"}, 'prior true: needs images with labels; use prior="learned" or "uniform"'),
    ({"device": "gpu"}, "device 'gpu': must be 'auto' or 'cpu' or 'cuda'"),
    ({"image_size": 9}, "image_size 9: must be 8 to 256 and divisible by 4"),
    ({"channels": 2}, "channels 2: must be 0 or 1 or 3"),
    ({"preset": "photos"}, "preset 'photos': not known; choose one of 'digits', 'mnist'"),
    ({"recipe": "mine"}, "recipe 'mine': not known; choose one of 'default', 'paper'"),
    ({"network": 5}, "network 5: must be a dictionary, with some of 'noise', 'width'"),
    ({"network": {"widht": 5}}, "network['widht']: not known; choose one of 'noise', 'width'"),
    ({"network": {"width": 0}}, 'network["width"] 0: must be at least 1'),
    ({"transforms": {"zoom": 1}}, "transforms['zoom'] 1: must be 2 numbers"),
    ({"transforms": {"rotation": 200}}, 'transforms["rotation"] 200: must be 0 to 180 degrees'),
    ({"grouping": {"at": "all"}}, "grouping['at'] 'all': must be a sequence of whole numbers"),
    ({"pretrain_epochs": 5}, "pretrain_epochs 5: must be below epochs=1, or the generator never learns"),
    ({"skip_bad": True}, "skip_bad: is for a folder of images; leave it out with arrays"),
    ({"ground": "white"}, "ground white: is for a folder of images; leave it out with arrays"),
    ({"threads": 999}, "threads 999: this process may use"),
    ({"threads": None}, "threads None: must be a whole number"),
    ({"run_dir": 3}, "run_dir 3: must be a path"),
]


def refused(act: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        act()
    said = str(found.value)
    assert "\n" not in said and not re.search(r"(?<!\w)--[a-z]", said) and len(said) < 300


@pytest.fixture
def nothing_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Within, everything that might be written lies here; at the end nothing does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize("kept", [False, True], ids=["temporary", "run_dir"])
def test_images_that_are_none_are_refused_and_nothing_is_written(kept: bool) -> None:
    for images, message in BAD_IMAGES:
        model = ElasticInfoGAN(**SETTINGS, run_dir="runs/new" if kept else None)
        refused(lambda model=model, images=images: model.fit(images), message)
        assert not hasattr(model, "labels_")


@pytest.mark.usefixtures("nothing_written")
def test_labels_that_do_not_fit_are_refused() -> None:
    for labels, message in BAD_LABELS:
        refused(lambda labels=labels: ElasticInfoGAN(**SETTINGS).fit(IMAGES, labels), message)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(("parameters", "message"), BAD_PARAMETERS, ids=[message for _, message in BAD_PARAMETERS])
def test_a_parameter_that_cannot_be_used_is_refused(parameters: dict[str, Any], message: str) -> None:
    refused(lambda: ElasticInfoGAN(**{**SETTINGS, **parameters}).fit(IMAGES), message)


def test_a_fitted_model_refuses_the_same_images(tmp_path: Path) -> None:
    model = ElasticInfoGAN(**SETTINGS).fit(IMAGES)
    for images, message in BAD_IMAGES:
        if "give images that differ" in message:
            assert model.predict(images).shape == (16,)  # nothing is learned from these
            continue
        for method in (model.predict, model.predict_proba, model.transform):
            refused(lambda method=method, images=images: method(images), message)
    for labels, message in BAD_LABELS:
        if "all labels" not in message:
            refused(lambda labels=labels: model.score(IMAGES, labels), message)
    for name, value, message in [
        ("count", 0, "count 0: must be at least 1"),
        ("count", 1.5, "count 1.5: must be a whole number"),
        ("code", 2, "code 2: this model has codes 0 to 1"),
        ("code", "a", "code 'a': must be a whole number"),
        ("random_state", -1, "random_state -1: must be at least 0"),
    ]:
        refused(lambda name=name, value=value: model.sample(**{name: value}), message)
    refused(lambda: model.save(3), "path 3: must be a path")
    assert np.array_equal(model.predict(IMAGES), model.labels_)


def test_numbers_of_numpy_and_labels_of_pandas_kind_are_taken(tmp_path: Path) -> None:
    settings = SETTINGS | {"n_classes": np.int64(2), "random_state": np.uint8(1), "learning_rate": np.float32(1e-3)}
    settings |= {"grouping": {"at": np.array([], int)}, "run_dir": str(tmp_path / "run")}
    words = np.array(["cat", "dog"], dtype=object)[LABELS]
    read_only = IMAGES.copy()
    read_only.flags.writeable = False
    model = ElasticInfoGAN(**settings).fit(read_only, words)
    assert "cluster_accuracy" in model.history_[-1] and ElasticInfoGAN.load(tmp_path / "run").n_classes == 2


def test_one_class_of_a_data_set_is_none() -> None:
    model = ElasticInfoGAN(**SETTINGS).fit([(image, 3) for image in IMAGES])
    assert "cluster_accuracy" not in model.history_[-1]


def test_images_in_an_array_of_arrays_become_one_size() -> None:
    assert ElasticInfoGAN(**SETTINGS).fit(IMAGES).predict(RAGGED).shape == (2,)


def test_a_notebook_shows_the_most_frequent_of_many_classes() -> None:
    model = ElasticInfoGAN(**SETTINGS | {"n_classes": 60, "batch_size": 4}).fit(np.concatenate([IMAGES] * 4))
    shown = model._repr_html_()
    assert shown.endswith(" and 10 more</div>") and shown.count("%") == 50
