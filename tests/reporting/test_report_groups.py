"""report.html: the pictures of each group, its words, the map, second looks, and what names from anywhere cannot do."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from report_pages import ENDING, HOSTILE, check, of_files, script_values, state

from fastgan.data.image_set import ImageSet
from fastgan.evaluation import code_summary, confusion, run_findings
from fastgan.evaluation.finding import Action, Advice, Finding, Shown
from fastgan.evaluation.run_findings import Found
from fastgan.models.networks import Networks
from fastgan.reporting import html_report, images
from fastgan.reporting.script_data import in_script


def sure_of(logits_NK: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Q says this of the images and of their transforms."""

    def said(networks: Networks, images_NCHW: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return images_NCHW.flatten(1).float(), logits_NK

    monkeypatch.setattr(code_summary, "read", said)
    monkeypatch.setattr(confusion, "read_transforms", lambda *_: (torch.arange(len(logits_NK)), logits_NK.softmax(1)))


def test_a_group_says_its_share_and_counts_files_where_there_are_files(tmp_path: Path) -> None:
    text = check(html_report.render(html_report.collect(of_files(tmp_path, labelled=False)))).text
    assert re.search(r"Group \d · \d+% of your images · \d+ files?\n", text)
    text = check(html_report.render(html_report.collect(state()))).text
    assert re.search(r"Group \d · \d+% of the images · \d+ images?: (mostly|mixes) class \d", text)


def test_each_group_has_its_typical_unsure_random_and_undecided_images(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_NK = torch.zeros(40, 3)
    logits_NK[torch.arange(40), torch.arange(40) % 2] = torch.linspace(0.1, 6, 40)
    logits_NK[:, 2] = -3
    sure_of(logits_NK, monkeypatch)
    made = html_report.collect(state(3))
    first = next(group for group in made.groups if group.number == 0)
    assert [row.title for row in first.rows] == ["Least sure", "At random", "Between 0 and 1"]
    unsure, drawn, between = ([shot.index for shot in row.shots] for row in first.rows)
    assert unsure == list(range(0, 16, 2)) and between == list(range(8))
    assert set(drawn) < set(range(0, 40, 2)) and drawn != sorted(drawn)
    assert len(first.typical) == 8 and {shot.index % 2 for shot in first.typical} == {0}
    assert sum(bar.height for bar in first.histogram) > 0 and "above 90% for" in first.histogram_text
    text = check(html_report.render(made)).text
    assert "40 images of either group" not in text and "images of either group stand between the two" in text


def test_a_group_without_images_and_a_thousand_groups_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_NK = torch.full((40, 3), -9.0)
    logits_NK[:, 0] = 9.0
    logits_NK[20:] = torch.tensor([-9.0, 9.0, -9.0])
    sure_of(logits_NK, monkeypatch)
    found = check(html_report.render(html_report.collect(state(3))))
    assert len(found.of("article")) == 3 and "The model gives this group to none of the images." in found.text
    monkeypatch.undo()
    found = check(html_report.render(html_report.collect(state(1000, labelled=False))))
    assert len(found.of("article")) == html_report.SHOWN_GROUPS and "900 more are left out" in found.text


def test_originals_are_linked_where_they_exist(tmp_path: Path) -> None:
    made = html_report.collect(of_files(tmp_path))
    shots = {shot.index: shot for group in made.groups for row in group.rows for shot in (*row.shots, *group.typical)}
    assert len(shots) > 10
    for index, shot in shots.items():
        there = (tmp_path / f"{HOSTILE}/{index:02d} &{ENDING}.png").as_uri()
        assert shot.link == (there if index % 2 == 0 else None)
    beside = html_report.collect(of_files(tmp_path / "images"), tmp_path)
    links = [shot.link for group in beside.groups for shot in group.typical if shot.link]
    assert links and all(link.startswith("images/%3Cimg%20src%3Dx%20onerror") for link in links)


def test_names_of_files_folders_and_classes_are_text_everywhere(tmp_path: Path) -> None:
    given = of_files(tmp_path)
    names = (HOSTILE, ENDING, "'\"><svg onload=alert(3)>", "b")
    given = dataclasses.replace(given, images=dataclasses.replace(given.images, class_names=names))
    html = html_report.render(html_report.collect(given))
    found = check(html)
    assert HOSTILE not in html and ENDING not in html and "<svg onload" not in html
    assert HOSTILE in found.text and any(ENDING in (image["alt"] or "") for image in found.of("img"))
    values = script_values(html)
    assert all(name.startswith(HOSTILE) and ENDING in name for name in values["map"]["name"])
    assert in_script({"<!--": "</SCRIPT>&\u2028"}).isascii() and "<" not in in_script(["</script>", "<!--"])
    assert json.loads(in_script([ENDING, "\u2028"])) == [ENDING, "\u2028"]


def test_the_script_is_given_the_table_of_all_images(tmp_path: Path) -> None:
    given = of_files(tmp_path)
    run = code_summary.summarise_run(given)
    values = script_values(html_report.render(html_report.collect(given)))
    table = json.loads(zlib.decompress(base64.b64decode(values["table"])))
    assert values["first"] == "path" and values["folder"] == f"{tmp_path}/"
    assert table["name"] == list(given.images.paths or ())
    assert table["code"] == run.codes_N.tolist()
    assert torch.allclose(torch.tensor(table["sure"]) / 1e6, run.confidences_N, atol=1e-6)
    assert values["map"]["index"] == list(range(40)) and max(values["map"]["x"]) <= 1000


def test_a_finding_shows_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding(
        "Groups follow the light", "Dark and bright.", "Look.", [Advice(Action.SEED)], [Shown("The darkest", [3, 1], 2)]
    )
    monkeypatch.setattr(run_findings, "diagnose", lambda *_: Found([finding], {1: ["it mixes classes", "unsure"]}))
    made = html_report.collect(state())
    ((_, (strip,)),) = made.findings
    assert strip.caption == "The darkest" and [shot.index for shot in strip.shots] == [3, 1]
    text = check(html_report.render(made)).text
    assert text.index("Dark and bright.") < text.index("The darkest") < text.index("Look.") < text.index("What to do:")
    assert [picture.text for picture in strip.made] == [f"Generated image {i + 1} of group 2" for i in range(8)]
    assert "What to do: step 1, step 2" in text and "Because: groups follow the light" in text
    assert "Doubtful, for reasons that stand at each, is group 1." in text
    assert "No finding speaks against the others." in text
    assert "Doubtful: it mixes classes; unsure." in text
    whole = dataclasses.replace(finding, of_all=True)
    monkeypatch.setattr(run_findings, "diagnose", lambda *_: Found([whole], {1: ["it mixes classes"]}))
    text = check(html_report.render(html_report.collect(state()))).text
    assert "Besides, all groups are in doubt: groups follow the light." in text and "speaks against" not in text


def test_outliers_and_images_that_are_there_twice_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits_NK = torch.tensor([9.0, -9.0, -9.0]).repeat(40, 1)
    sure_of(logits_NK, monkeypatch)
    given = state(3)
    pixels = (torch.rand(1, 1, 16, 16) * 200 + torch.rand(40, 1, 16, 16) * 50).to(torch.uint8)
    pixels[7] = 255 - pixels[7]
    pixels[30] = pixels[4]
    made = html_report.collect(dataclasses.replace(given, images=ImageSet("x", pixels, None, 0)))
    assert [shot.index for shot in made.outliers] == [7] and made.outlier_count == 1
    assert [(pair.first.index, pair.second.index, pair.text) for pair in made.duplicates] == [
        (4, 30, "the same pixels")
    ]
    text = check(html_report.render(made)).text
    assert "1 image stands out" in text and "1 pair of images" in text
    text = check(html_report.render(html_report.collect(state()))).text
    assert "No two images have the same" in text


def test_words_are_explained_and_settings_come_last_and_closed() -> None:
    html = html_report.render(html_report.collect(state()))
    found = check(html)
    order = [attributes.get("id") for attributes in found.of("h2")]
    assert order[0] == "summary" and order[-2:] == ["words", "settings"]
    assert order.index("findings") < order.index("classes") < order.index("map") < order.index("training")
    for word in ("Code", "Q", "Confidence", "Prior", "Typical", "Real class"):
        assert word.lower() in found.text[found.text.rindex("What the words mean") :].lower()
    assert not any("open" in attributes for attributes in found.of("details"))
    unlabelled = check(html_report.render(html_report.collect(state(labelled=False)))).text
    assert "Real class" not in unlabelled


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (128, 3)])
def test_pictures_are_as_large_as_the_page_allows(size: int, channels: int) -> None:
    torch.manual_seed(0)
    noise_NCHW = torch.rand(6, channels, size, size) * 2 - 1
    assert images.suited_side(noise_NCHW, 10) == min(size, images.LARGEST)
    assert images.suited_side(noise_NCHW, 10**6) == 16
    many = images.suited_side(noise_NCHW, 2000)
    assert 2000 * len(images.embedded(noise_NCHW[0], many)) <= 1.1 * images.BUDGET


def test_a_group_with_a_lost_class_is_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([13 * [0], 13 * [1]]).flatten().tolist() + 12 * [2] + 2 * [3]
    codes = torch.tensor(labels).clamp(max=2)
    sure_of(8 * torch.nn.functional.one_hot(codes, 3).float(), monkeypatch)
    given = state(3)
    made = html_report.collect(
        dataclasses.replace(given, images=dataclasses.replace(given.images, labels=torch.tensor(labels)))
    )
    lost = {each.number: [doubt for doubt in each.doubts if "has no group" in doubt] for each in made.groups}
    assert lost == {0: [], 1: [], 2: ["it holds class 3, which has no group of its own"]}
