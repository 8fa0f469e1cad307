"""Models that travel: saved without their run, read back bit for bit, refused when damaged, and pushed to the Hub."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from safetensors.numpy import load_file, save_file

from fastgan import ElasticInfoGAN, export
from fastgan.config.command_line import run_command

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
SETTINGS: dict[str, Any] = {
    **small_models.SMALL,
    "epochs": 2,
    "pretrain_epochs": 1,
    "batch_size": 8,
    "augment": "torchvision",
}
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def fitted(no_pictures: None) -> ElasticInfoGAN:
    return ElasticInfoGAN(3, **SETTINGS).fit(IMAGES)


@pytest.fixture(scope="module")
def saved(fitted: ElasticInfoGAN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save_pretrained(tmp_path_factory.mktemp("saved") / "model")


def the_same(ours: ElasticInfoGAN, theirs: ElasticInfoGAN) -> None:
    assert np.array_equal(ours.predict_proba(IMAGES), theirs.predict_proba(IMAGES))
    assert np.array_equal(ours.transform(IMAGES), theirs.transform(IMAGES))
    assert np.array_equal(ours.class_prior_, theirs.class_prior_)
    assert np.array_equal(ours.sample(20), theirs.sample(20)) and ours._repr_html_() == theirs._repr_html_()


def test_a_saved_model_is_the_same_without_its_run(fitted: ElasticInfoGAN, saved: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(saved, tmp_path / "elsewhere")
    again = ElasticInfoGAN.from_pretrained(moved, device="cpu")
    the_same(fitted, again)
    assert again.n_classes == 3 and again.image_size == 16 and again.history_ == fitted.history_[-1:]
    assert not hasattr(again, "labels_") and not hasattr(again, "run_dir_")
    for method in (lambda: again.save(tmp_path / "x"), again.report):
        with pytest.raises(ValueError, match="this model came without its run"):
            method()
    with pytest.raises(ValueError, match="resume: nothing to go on with"):
        again.fit(IMAGES, resume=True)
    once_more = ElasticInfoGAN.from_pretrained(again.save_pretrained(tmp_path / "again"), device="cpu")
    the_same(fitted, once_more)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_an_export_is_a_saved_model(fitted: ElasticInfoGAN, tmp_path: Path) -> None:
    assert run_command(export.main, [str(fitted.run_dir_), "--out", str(tmp_path / "export")]) == 0
    the_same(fitted, ElasticInfoGAN.from_pretrained(str(tmp_path / "export"), device="cpu"))


def test_what_is_saved_holds_no_images_no_pickle_and_no_place(fitted: ElasticInfoGAN, saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == FILES
    values = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert values["model_type"] == "elastic-infogan" and values["images"] == 40 and values["n_classes"] == 3
    assert np.allclose(values["class_prior"], fitted.class_prior_) and values["figures"]["epoch"] == 2
    assert all(values["settings"][name] is None for name in ("data_dir", "run_dir", "cache_dir"))
    text = (saved / "README.md").read_text(encoding="utf-8")
    assert "its maker's own images: 40 images, RGB, 16x16 pixels" in text and "labeller.pt2" not in text
    assert not any(str(fitted.run_dir_.parent).encode() in path.read_bytes() for path in saved.iterdir())


def test_only_a_saved_model_is_replaced_and_only_with_force(fitted: ElasticInfoGAN, tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()  # an empty folder is free
    assert fitted.save_pretrained(place) == place
    with pytest.raises(ValueError, match=r"path .*model: is there already; give force=True to replace it"):
        fitted.save_pretrained(place)
    assert fitted.save_pretrained(place, force=True) == place
    (place / "thesis.txt").write_text("not ours")
    with pytest.raises(ValueError, match="force=True replaces only an earlier export, and this holds something else"):
        fitted.save_pretrained(place, force=True)
    assert (place / "thesis.txt").exists() and [path.name for path in tmp_path.iterdir()] == ["model"]


def _without(name: str) -> Any:
    return lambda place: (place / name).unlink()


def _changed(**values: Any) -> Any:
    def change(place: Path) -> None:
        known = json.loads((place / "config.json").read_text(encoding="utf-8"))
        known["settings"] |= values.pop("settings", {})
        (place / "config.json").write_text(json.dumps(known | values), encoding="utf-8")

    return change


def _tensors(place: Path) -> None:
    found = load_file(place / "model.safetensors")
    found.pop("code_head.code.bias")
    save_file(found, place / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _without("config.json"),
            r"is not a saved model \(config.json: No such file or directory\); give a folder that",
        ),
        (_without("model.safetensors"), r"is not a saved model \(model.safetensors: No such file"),
        (lambda place: (place / "config.json").write_text("{"), "is not a saved model"),
        (_changed(model_type="bert"), "not of a model of type elastic-infogan"),
        (_changed(channels=2), "damaged or do not fit"),
        (_changed(channels=1), "damaged or do not fit"),
        (_changed(images_seen="many"), "damaged or do not fit"),
        (_changed(settings={"classes": 4}), "damaged or do not fit"),
        (_changed(settings={"novel": 4}), "unknown settings novel"),
        (_tensors, "damaged or do not fit .*code.bias"),
        (lambda place: (place / "model.safetensors").write_bytes(b"\x80\x04pickle"), "damaged or do not fit"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(damage: Any, message: str, saved: Path, tmp_path: Path) -> None:
    place = shutil.copytree(saved, tmp_path / "model")
    damage(place)
    with pytest.raises(ValueError, match=message) as found:
        ElasticInfoGAN.from_pretrained(place)
    assert "\n" not in str(found.value)


class Hub(types.ModuleType):
    """huggingface_hub as far as it is called, over a folder."""

    def __init__(self, place: Path) -> None:
        super().__init__("huggingface_hub")
        self.place, self.calls = place, list[Any]()

    def HfApi(self, token: str | None = None) -> Hub:  # noqa: N802 - theirs
        self.calls.append(("token", token))
        return self

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
        self.calls.append(("create", repo_id, private, exist_ok))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        shutil.copytree(folder_path, self.place / repo_id)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(self, repo_id: str, *, revision: str | None, token: str | None, allow_patterns: Any) -> str:
        self.calls.append(("download", repo_id, revision, set(allow_patterns)))
        return str(self.place / repo_id)


def test_a_model_is_pushed_and_read_by_its_id(
    fitted: ElasticInfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert fitted.push_to_hub("me/digits", private=True, token="secret") == "https://hub/me/digits/commit/1"
    assert hub.calls == [("token", "secret"), ("create", "me/digits", True, True)]
    assert {path.name for path in (tmp_path / "me" / "digits").iterdir()} == FILES
    the_same(fitted, ElasticInfoGAN.from_pretrained("me/digits", revision="v1", device="cpu"))
    assert hub.calls[-1] == ("download", "me/digits", "v1", FILES)


def test_an_id_that_the_hub_does_not_give_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path)

    def missing(*_: Any, **__: Any) -> str:
        raise OSError("404 Client Error.\nRepository Not Found for url: ...")

    hub.snapshot_download = missing  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(
        ValueError, match=r"^source me/x: no such folder, and the Hub does not give it \(404 Client Error\)"
    ):
        ElasticInfoGAN.from_pretrained("me/x")


def test_without_huggingface_hub_one_line_says_how_to_install_it(
    fitted: ElasticInfoGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"^push_to_hub needs huggingface_hub: pip install huggingface_hub$"):
        fitted.push_to_hub("me/digits")
    with pytest.raises(ImportError, match="^source me/digits: no such folder, and the Hub needs huggingface_hub: pip"):
        ElasticInfoGAN.from_pretrained("me/digits")
    with pytest.raises(ValueError, match="source nowhere: no such folder; give one, or an id of the Hub"):
        ElasticInfoGAN.from_pretrained("nowhere")


def test_huggingface_hub_itself_takes_these_calls(
    fitted: ElasticInfoGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real package, its traffic replaced: names of arguments are checked by its own signatures."""
    hub = pytest.importorskip("huggingface_hub", reason="pip install huggingface_hub")
    with monkeypatch.context() as patch:
        from unittest import mock

        for name in ("create_repo", "upload_folder"):
            spied = mock.create_autospec(getattr(hub.HfApi, name), side_effect=lambda api, *args, **named: str(named))
            patch.setattr(hub.HfApi, name, spied)
        patch.setattr(
            hub, "snapshot_download", mock.create_autospec(hub.snapshot_download, return_value=str(tmp_path / "model"))
        )
        assert "'commit_message': 'Upload a model by fastgan'" in fitted.push_to_hub("me/digits")
        fitted.save_pretrained(tmp_path / "model")
        the_same(fitted, ElasticInfoGAN.from_pretrained("me/digits", device="cpu"))
