"""The estimator: the command's weights, scikit-learn's conventions, and mistakes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import fastgan
from fastgan import ElasticInfoGAN, train
from fastgan.api.images import as_arrays
from fastgan.api.settings import OWN, RENAMED
from fastgan.config.command_line import run_command
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.runs import checkpoint
from fastgan.runs.ownership import LOCK
from fastgan.runs.run_folder import saved_config

SMALL: dict[str, Any] = {
    **small_models.SMALL,
    "epochs": 2,
    "pretrain_epochs": 1,
    "eval_every": 2,
}
FLAGS = "--epochs 2 --pretrain-epochs 1 --eval-every 2 --threads 1 --device cpu --network.width 4 --network.hidden 16"
FLAGS += " --network.embedding 8 --grouping.at"


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The images of the command's default run, and their classes."""
    images = loading.load(train_config([], lambda _: preset("digits")))
    assert images.labels is not None
    return images.images.numpy(), images.labels.numpy()


@pytest.fixture(scope="module")
def fitted(digits: tuple[np.ndarray, np.ndarray]) -> ElasticInfoGAN:
    return ElasticInfoGAN(10, preset="digits", random_state=0, **SMALL).fit(digits[0])


def test_fit_gives_the_weights_of_the_command(fitted: ElasticInfoGAN, tmp_path: Path, no_judge: None) -> None:
    run = tmp_path / "run"
    assert run_command(train.main, [*FLAGS.split(), "--run-dir", str(run)]) == 0
    theirs, ours = (
        checkpoint.load(checkpoint.newest(path / "checkpoints")[0], "model") for path in (run, fitted.run_dir_)
    )
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_what_a_fitted_model_gives(fitted: ElasticInfoGAN, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    assert fitted.class_prior_.shape == (10,) and fitted.class_prior_.sum() == pytest.approx(1)
    assert fitted.labels_.shape == labels.shape and fitted.n_iter_ == 2 and fitted.history_[-1]["epoch"] == 2
    assert np.array_equal(fitted.predict(images), fitted.labels_)
    shares = fitted.predict_proba(images[:50])
    assert shares.shape == (50, 10) and np.allclose(shares.sum(1), 1, atol=1e-5)
    assert np.array_equal(shares.argmax(1), fitted.labels_[:50])
    assert fitted.transform(images[:7]).shape == (7, 8)
    chance = fitted.score(images, np.random.default_rng(0).permutation(labels))
    assert chance < 0.25 and fitted.score(images, fitted.labels_) == 1.0
    assert fitted.score(images, np.array(list("abcdefghij"))[fitted.labels_]) == 1.0


def test_samples_are_drawn_of_a_code_or_of_the_prior(fitted: ElasticInfoGAN) -> None:
    drawn = fitted.sample(40, code=3)
    assert drawn.shape == (40, 16, 16) and drawn.dtype == np.uint8 and drawn.std() > 0
    assert np.array_equal(drawn, fitted.sample(40, code=3)) and not np.array_equal(drawn, fitted.sample(40, code=4))
    assert not np.array_equal(fitted.sample(5, random_state=1), fitted.sample(5))
    with pytest.raises(ValueError, match="code 10: this model has codes 0 to 9"):
        fitted.sample(code=10)
    with pytest.raises(ValueError, match="count 0: must be at least 1"):
        fitted.sample(0)
    assert "data:image/png;base64," in fitted._repr_html_() and "<pre>" in ElasticInfoGAN()._repr_html_()


def test_a_saved_model_is_loaded_and_reported(fitted: ElasticInfoGAN, tmp_path: Path, digits: Any) -> None:
    place = fitted.save(tmp_path / "kept")
    again = ElasticInfoGAN.load(place, device="cpu")
    assert np.array_equal(again.labels_, fitted.labels_) and np.array_equal(again.class_prior_, fitted.class_prior_)
    assert saved_config(place).data_dir == place / "images.npz"  # and the commands find the images
    again.verbose = False
    assert again.report() == place / "report.html" and (place / "report.html").stat().st_size > 10_000
    with pytest.raises(ValueError, match="is there already"):
        fitted.save(place)
    assert fitted.save(place, force=True) == place
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="is there already"):
        fitted.save(tmp_path / "other", force=True)
    with pytest.raises(ValueError, match="is there already"):
        again.save(place, force=True)  # its own folder
    with pytest.raises(ValueError, match="lies in the run's own folder"):
        fitted.save(fitted.run_dir_ / "copy")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"path .*: cannot be written \(Not a directory\); name a folder that can"):
        fitted.save(tmp_path / "file" / "run")
    with pytest.raises(ValueError, match="is not a run folder"):
        ElasticInfoGAN.load(tmp_path)


def test_a_run_that_cannot_be_copied_replaces_none(
    fitted: ElasticInfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = fitted.save(tmp_path / "kept")
    before = sorted(path.relative_to(place) for path in place.rglob("*"))

    def full(*_: Any, **__: Any) -> None:
        raise shutil.Error([("images.npz", "images.npz", "No space left on device")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)"):
        fitted.save(place, force=True)
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_folder_is_trained_on_as_by_the_command(here: Path, no_judge: None) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(here / f"{number}.png")
    settings = SMALL | {"image_size": 8, "batch_size": 2, "augment": "torchvision"}
    model = ElasticInfoGAN(2, **settings).fit(here)
    assert model.labels_.shape == (6,) and np.array_equal(model.predict(str(here)), model.labels_)
    assert (model.run_dir_ / "run.json").exists() and saved_config(model.run_dir_).dataset == "folder"


def test_a_folder_with_a_bad_file_and_with_classes(tmp_path: Path, no_judge: None) -> None:
    """The remedy of the error is a parameter, and does what it says."""
    rng = np.random.default_rng(0)
    for number in range(8):
        place = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(place)
    (tmp_path / "images" / "a" / "broken.png").write_bytes(b"no image")
    settings = SMALL | {"image_size": 8, "batch_size": 2, "augment": "torchvision", "cache_dir": tmp_path / "cache"}
    with pytest.raises(ValueError, match="broken.png.* or leave it out with skip_bad=True"):
        ElasticInfoGAN(2, **settings).fit(tmp_path / "images")
    model = ElasticInfoGAN(2, skip_bad=True, labels_from_folders=True, **settings).fit(tmp_path / "images")
    assert model.labels_.shape == (8,) and "cluster_accuracy" in model.history_[-1]
    with pytest.raises(ValueError, match="y: is for arrays; of a folder the subfolders can be: leave y out"):
        ElasticInfoGAN(2, **settings).fit(tmp_path / "images", [0] * 8)


def test_labels_serve_evaluation_alone(digits: Any, no_judge: None) -> None:
    images, labels = digits
    without = ElasticInfoGAN(10, preset="digits", **SMALL).fit(images[:200])
    told = ElasticInfoGAN(10, preset="digits", **SMALL).fit(images[:200], labels[:200])
    assert np.array_equal(told.class_prior_, without.class_prior_)
    assert "cluster_accuracy" in told.history_[-1] and "cluster_accuracy" not in without.history_[-1]


def test_threads_and_output_are_as_before(digits: Any, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        ElasticInfoGAN(10, preset="digits", **SMALL).fit(digits[0][:200])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(digits: Any, tmp_path: Path) -> None:
    """Two epochs, and two more, end with the weights of four."""
    images = digits[0][:200]
    settings = SMALL | {"final_rate": 1.0, "eval_every": 1}
    first = ElasticInfoGAN(10, preset="digits", run_dir=tmp_path / "a", **settings).fit(images)
    rest = first.set_params(epochs=4).fit(images, resume=True)
    whole = ElasticInfoGAN(10, preset="digits", run_dir=tmp_path / "b", **(settings | {"epochs": 4})).fit(images)
    assert rest.n_iter_ == 4 and np.array_equal(rest.class_prior_, whole.class_prior_)
    assert np.array_equal(rest.transform(images), whole.transform(images))
    with pytest.raises(ValueError, match=r"resume: batch_size \(was 64\) must stay"):
        rest.set_params(batch_size=32, epochs=5).fit(images, resume=True)
    with pytest.raises(ValueError, match="was trained on other images"):
        rest.set_params(batch_size=None).fit(digits[0][1:201], resume=True)
    with pytest.raises(ValueError, match="resume: nothing to go on with; call fit first, or give run_dir"):
        ElasticInfoGAN(10).fit(images, resume=True)


# --- scikit-learn's conventions; its own checks are in test_conventions.py ---


def test_every_setting_of_a_run_is_a_parameter() -> None:
    names = set(inspect.signature(ElasticInfoGAN).parameters)
    settings = {field.name for field in dataclasses.fields(TrainConfig)} - OWN
    missing = {name for name in settings if {v: k for k, v in RENAMED.items()}.get(name, name) not in names}
    assert not missing


def test_a_model_is_cloned_and_kept_by_its_folder_alone(fitted: ElasticInfoGAN) -> None:
    other = clone(fitted)
    assert not hasattr(other, "labels_") and other.get_params() == fitted.get_params()
    assert pickle.loads(pickle.dumps(other)).get_params() == other.get_params()
    with pytest.raises(TypeError, match=r"kept by save\(path\)"):
        pickle.dumps(fitted)
    with pytest.raises(NotFittedError):
        copy.deepcopy(other).predict(np.zeros((1, 8, 8), np.uint8))


# --- images of all kinds ---

GREY = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)


class Pairs(torch.utils.data.Dataset[Any]):
    """Images and labels, as torchvision gives them."""

    def __len__(self) -> int:
        return len(GREY)

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(GREY[index]), index % 2


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (GREY, None),
        (torch.from_numpy(GREY), None),
        (list(GREY), None),
        ([torch.from_numpy(image) for image in GREY], None),
        (Pairs(), [0, 1, 0, 1]),
        ([{"image": Image.fromarray(image), "label": 7} for image in GREY], [7] * 4),
    ],
)
def test_every_kind_of_data_is_the_same_array(data: Any, labels: list[int] | None) -> None:
    images, found = as_arrays(data)
    assert np.array_equal(images, GREY) and (None if found is None else found.tolist()) == labels


def test_images_of_several_sizes_become_one() -> None:
    images, _ = as_arrays([np.full((9, 30), 3, np.uint8), np.full((3, 12, 12), 200, np.uint8)])
    assert images.shape == (2, 9, 9, 3) and images[0].max() == 3 and images[1].min() == 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "neither an array nor a sequence"),
        ([], "images: none"),
        ([{"picture": 1}], "items with picture; expected one of image"),
        ([np.zeros(3)], r"item 0 has shape \(3,\)"),
    ],
)
def test_what_holds_no_images_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_arrays(data)


@pytest.mark.parametrize(
    ("parameters", "images", "message"),
    [
        ({"n_classes": 1}, GREY, "n_classes 1: must be at least 2"),
        ({"batch_size": 64, "n_classes": 2}, GREY, "batch_size 64: larger than the data"),
        ({"image_size": 9}, GREY, "image_size 9: must be 8 to 256"),
        ({"preset": "photos"}, GREY, "preset 'photos': not known; choose one of"),
        ({}, GREY.astype(np.float32), "scale them to"),
        ({}, np.full((4, 8, 8), np.nan), "images: 4 images with NaN; leave them out"),
        ({}, GREY[0, 0], "give .N, H, W."),
        ({}, "nowhere", "no such folder"),
        ({"batch_size": 2, "n_classes": 99}, GREY, "n_classes 99: more codes"),
    ],
)
def test_a_mistake_is_a_value_error_and_nothing_is_written(
    parameters: dict[str, Any], images: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticInfoGAN(run_dir=tmp_path / "run", **(SMALL | parameters)).fit(images)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(fitted: ElasticInfoGAN, digits: Any, tmp_path: Path) -> None:
    place = fitted.save(tmp_path / "kept")

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name != LOCK}

    before = files()
    with pytest.raises(ValueError, match="already holds a run"):
        ElasticInfoGAN(10, preset="digits", run_dir=place, **SMALL).fit(digits[0][:200])
    assert files() == before
    other = ElasticInfoGAN(10, preset="digits", run_dir=place, **SMALL)
    with pytest.raises(ValueError, match="already holds a run; go on with fit"):
        other.fit(digits[0][:200])
    with pytest.raises(ValueError, match="resume: nothing to go on with"):  # that run is not its own
        other.set_params(run_dir=None).fit(digits[0][:200], resume=True)


def test_the_readmes_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it stands there, but for two epochs of small networks."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = readme.partition("```python\n")[2].partition("```")[0]
    settings = {name: value for name, value in SMALL.items() if name != "eval_every"}
    monkeypatch.setattr(fastgan, "ElasticInfoGAN", functools.partial(ElasticInfoGAN, **settings), raising=False)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["more"].shape == (16, 16, 16) and (tmp_path / "runs" / "digits" / "run.json").exists()
