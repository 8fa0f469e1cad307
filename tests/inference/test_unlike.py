"""Images unlike those that a run was trained on: a note of cluster, a warning from Python; none for an older run."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from own_images import natural_patches
from PIL import Image
from sklearn.datasets import load_digits

from fastgan import ElasticInfoGAN, cluster, train
from fastgan.config.command_line import run_command
from fastgan.inference.unlike import training_look
from fastgan.runs import run_folder

DIGITS = load_digits().images  # 0 to 16


def noted(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "unlike those" in line]


def written(here: Path, values: np.ndarray) -> Path:
    here.mkdir(parents=True)
    for number, image in enumerate(values):
        Image.fromarray(image).save(here / f"{number:03d}.png")
    return here


def test_cluster_notes_what_the_run_has_not_seen(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = natural_patches(tmp_path / "photographs", per_class=8)
    faint = written(tmp_path / "faint", DIGITS[:40].astype(np.uint8))
    like = written(tmp_path / "like", (DIGITS[:40] * (255 / 16)).astype(np.uint8))
    deep = written(tmp_path / "deep", DIGITS[:40].astype(np.uint16))
    told = {}
    for images in (photographs, faint, like, deep):
        assert (
            run_command(cluster.main, [str(tiny_run), str(images), "--out", str(tmp_path / f"{images.name}.csv")]) == 0
        )
        told[images.name] = noted(capsys)
    assert told["like"] == []
    (line,) = told["photographs"]
    assert line.startswith("note: 24 images unlike those that ") and str(tiny_run) in line
    assert "in colour, those were grey" in line and "stretch" not in line
    for name in ("faint", "deep"):
        (line,) = told[name]
        assert "brightest pixels " in line and line.endswith("such as 0 to 16, stretch them to 0 to 255")
    assert run_command(cluster.main, [str(tiny_run), "--out", str(tmp_path / "own.csv")]) == 0
    assert noted(capsys) == []


def test_a_run_that_keeps_no_look_says_nothing(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor where what it keeps is damaged; a look of a resumed run counts."""
    faint = written(tmp_path / "faint", DIGITS[:40].astype(np.uint8))
    older = tmp_path / "older"
    shutil.copytree(tiny_run, older)
    values: dict[str, Any] = json.loads((older / "run.json").read_text())
    look = values["environment"]["images"].pop("look")
    for damaged, resumed in ((None, None), ({"mean": "grey"}, None), (None, look)):
        began = values["environment"]
        began["images"] = {"count": 1, "digest": "0"} | ({} if damaged is None else {"look": damaged})
        began["resumed"] = [{"images": {"look": resumed}}] if resumed else []
        (older / "run.json").write_text(json.dumps(values))
        assert run_command(cluster.main, [str(older), str(faint), "--out", str(tmp_path / "t.csv"), "--force"]) == 0
        assert bool(noted(capsys)) == (resumed is not None)


SMALL: dict[str, Any] = {
    **small_models.SMALL,
    "epochs": 1,
    "pretrain_epochs": 0,
    "batch_size": 16,
}


def unlike(call: Any, images: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(images)
    return [str(each.message) for each in caught if "unlike those" in str(each.message)]


def test_python_warns_in_predict_and_transform(tmp_path: Path) -> None:
    images = (DIGITS[:100] * (255 / 16)).astype(np.uint8)
    model = ElasticInfoGAN(2, **SMALL).fit(images)
    for call in (model.predict, model.predict_proba, model.transform):
        assert unlike(call, images[:30]) == [] == unlike(call, images[:1] / 255)
        (line,) = unlike(call, DIGITS[:30].astype(np.uint8))
        assert line.startswith("30 images unlike those that ") and "brightest pixels 16 of 255" in line
        tinted = np.stack([images[:30], images[:30] // 2, images[:30] // 2], axis=3)
        assert "in colour, those were grey" in unlike(call, tinted)[0]
    faint = written(tmp_path / "faint", DIGITS[:40].astype(np.uint8))
    assert len(unlike(model.predict, faint)) == 1
    colour = ElasticInfoGAN(2, channels=1, **SMALL).fit(np.repeat(tinted, 2, axis=0))  # its grey was chosen
    assert unlike(colour.predict, tinted) == []


def test_a_resumed_run_keeps_the_look_of_its_beginning(tiny_run: Path, tmp_path: Path, no_judge: None) -> None:
    own = tmp_path / "run"
    shutil.copytree(tiny_run, own)
    before = training_look(run_folder.read_settings(own))
    assert run_command(train.main, ["--resume", "--run-dir", str(own), "--epochs", "5"]) == 0
    values = run_folder.read_settings(own)
    assert before is not None and training_look(values) == before
    values["environment"]["resumed"][0]["images"]["look"]["coloured"] = 0.7
    assert training_look(values) == before
