"""report.html: what it shows of a run, that it stands alone, and how a browser takes it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_images import where_code_is_seen
from report_pages import check, state

from fastgan import page, train
from fastgan.config import command_line
from fastgan.evaluation import code_summary, confusion
from fastgan.evaluation.code_summary import RunState
from fastgan.models.networks import Networks
from fastgan.reporting import html_report, run_reporter
from fastgan.reporting.group_cards import PICTURES
from fastgan.reporting.labels import LOSS_NAMES
from fastgan.runs import checkpoint

SMALL = ["--network.width", "8", "--network.hidden", "64", "--network.embedding", "16", "--device", "cpu"]


def test_the_loop_leaves_a_page(trained_run: Path) -> None:
    path = trained_run / html_report.NAME
    found = check(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 3_000_000
    alternatives = [image["alt"] or "" for image in found.of("img")]
    assert sum(text.startswith("Generated image") for text in alternatives) == 10 * PICTURES
    assert sum(re.match(r"image \d+: group \d", text) is not None for text in alternatives) >= 2 * PICTURES
    for said in ("digits-split1", "1,182 images", "learned probability", "Groups and real classes", "NMI", "torch"):
        assert said in found.text
    assert "The run stopped early" not in found.text


def test_the_command_writes_the_same_page_anew(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained_run / html_report.NAME
    before = path.read_text(encoding="utf-8")
    path.unlink()
    assert command_line.run_command(page.main, [str(trained_run), "--device", "cpu"]) == 0
    assert html_report.NAME in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == before
    assert command_line.run_command(page.main, [str(trained_run / "nowhere")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_a_page_that_fails_is_one_line_and_the_run_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_judge: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """In training, where it fails too, and at the end."""

    def fails(path: Path, state: RunState, unfinished: str) -> None:
        saved = list((path.parent / "checkpoints").iterdir())
        assert saved or unfinished, "the run is saved before its last page is written"
        raise ValueError("a page\nthat fails")

    monkeypatch.setattr(html_report, "write", fails)
    run = tmp_path / "run"
    flags = ["--epochs", "2", "--eval-every", "1", "--grouping.at", "--run-dir", str(run)]
    assert command_line.run_command(train.main, [*SMALL, *flags]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if html_report.NAME in line]
    assert len(lines) == 2 and all("a page that fails" in line and "python -m fastgan.page" in line for line in lines)
    assert (run / "checkpoints").is_dir() and any((run / "checkpoints").iterdir())
    assert not (run / html_report.NAME).exists()


def test_a_run_in_training_has_a_page_that_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_judge: None
) -> None:
    """From the first evaluation on; it loads itself again, which the last one no longer does."""
    pages: list[str] = []
    write = html_report.write

    def spy(path: Path, state: RunState, unfinished: str) -> None:
        write(path, state, unfinished)
        pages.append(path.read_text(encoding="utf-8"))

    weights = {}
    for name, called in (("with", spy), ("without", lambda *_: None)):
        monkeypatch.setattr(html_report, "write", called)
        monkeypatch.setattr(run_reporter, "PAGE_SHARE", 1e9)
        flags = ["--epochs", "3", "--eval-every", "1", "--grouping.at", "--run-dir", str(tmp_path / name)]
        assert command_line.run_command(train.main, [*SMALL, *flags]) == 0
        weights[name] = checkpoint.load(checkpoint.newest(tmp_path / name / "checkpoints")[0], "model")
    assert all(torch.equal(value, weights["without"][key]) for key, value in weights["with"].items())
    assert len(pages) == 3
    for number, text in enumerate(pages, 1):
        found = check(text)
        unfinished = number < 3
        assert ({"http-equiv": "refresh", "content": "60"} in found.of("meta")) == unfinished
        assert (f"at epoch {number} of 3" in found.text) == unfinished
        assert "The run stopped early" not in found.text


def test_pages_in_training_keep_to_their_share_of_the_time() -> None:
    reporter = run_reporter.RunReporter(*[None] * 5)  # type: ignore[arg-type]
    assert reporter._page_fits(0.0)  # the first one, whatever it costs
    reporter._page_seconds.append(6.0)
    share = run_reporter.PAGE_SHARE
    assert not reporter._page_fits(11.9 / share) and reporter._page_fits(12.0 / share)
    reporter._page_seconds.append(2.0)
    assert not reporter._page_fits(9.9 / share) and reporter._page_fits(10.0 / share)


@pytest.mark.parametrize("classes", [2, 30])
@pytest.mark.parametrize("labelled", [True, False])
def test_few_and_many_codes_with_and_without_labels(classes: int, labelled: bool) -> None:
    found = check(html_report.render(html_report.collect(state(classes, labelled=labelled))))
    assert len(found.of("article")) == classes
    assert ("Groups and real classes" in found.text) == labelled
    assert bool(re.search(": (mixes|mostly) class", found.text)) == labelled
    assert ("unlabelled" in found.text) != labelled
    assert "No evaluation was logged" in found.text


def test_groups_beyond_the_first_hundred_are_counted_not_shown() -> None:
    found = check(html_report.render(html_report.collect(state(103, labelled=False))))
    assert len(found.of("article")) == html_report.SHOWN_GROUPS
    assert "3 more are left out" in found.text


def test_large_coloured_images_stay_below_three_megabytes() -> None:
    """Noise is the worst that PNG can be given."""
    html = html_report.render(html_report.collect(state(10, size=128, channels=3)))
    check(html)
    assert len(html) < 4_000_000


def test_groups_come_largest_first_and_tables_by_number() -> None:
    made = html_report.collect(state(4))
    shares = [group.share for group in made.groups]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert sum(group.count for group in made.groups) == 40
    assert [group.number for group in made.by_number] == [number for number, _ in made.confusion] == [0, 1, 2, 3]
    assert sum(sum(counts) for _, counts in made.confusion) == 40


@pytest.mark.parametrize(
    ("labelled", "figures", "said"),
    [
        (True, {"judge_accuracy": 0.9, "judge_required": 0.95}, "real images is 90.0%, and 95% is needed"),
        (True, {}, "this evaluation had no judge"),
        (False, {}, "without labels nothing is claimed"),
        (True, {"nmi": 0.5, "judge_accuracy": 0.97, "judge_required": 0.95}, ""),
    ],
)
def test_figures_that_are_withheld_are_so_in_words(labelled: bool, figures: dict[str, float], said: str) -> None:
    rows = [{"images_seen": 40, "confidence": 0.5, **figures}]
    found = html_report.collect(state(labelled=labelled, rows=rows))
    assert said in found.withheld and bool(said) == bool(found.withheld)
    assert said in check(html_report.render(found)).text


def test_a_fixed_prior_is_not_called_learned() -> None:
    given = state()
    given = dataclasses.replace(given, config=dataclasses.replace(given.config, prior="uniform"))
    text = check(html_report.render(html_report.collect(given))).text
    assert "fixed probability" in text and "learned" not in text


def test_hostile_names_are_text() -> None:
    hostile = "<script>alert('x')</script>"
    given = state()
    names = (hostile, "b & c", '"quoted"', "$x^2$ _a_")
    given = dataclasses.replace(
        given,
        images=dataclasses.replace(given.images, name=hostile, class_names=names),
        settings={"settings": {hostile: hostile}, "environment": {"resumed": [{"command": hostile}]}},
    )
    html = html_report.render(html_report.collect(given))
    found = check(html)
    assert hostile in found.text and hostile not in html
    assert all(set(attributes) <= {"class", "src", "alt"} for attributes in found.of("img"))
    assert not found.of("script")[2:], "a name made an element"


def test_ones_own_folder_gives_the_page_its_name() -> None:
    assert html_report.collect(state()).title.startswith("noise: ")
    given = state()
    for folder, named in (("/home/me/holiday photos", "holiday photos"), ("/", "noise")):
        config = dataclasses.replace(given.config, dataset="folder", data_dir=Path(folder))
        assert html_report.collect(dataclasses.replace(given, config=config)).title.startswith(f"{named}: ")


ROW = {"images_seen": 40, "confidence": 0.5, "nmi": 0.4} | dict.fromkeys(LOSS_NAMES, 1.0)
TWIN = [[8.0, 7.9, 0.0, 0.0], [7.9, 8.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [0.0, 0.0, 0.0, 9.0]]
UNUSED = [[9.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [9.0, 0.0, 0.0, 0.0]]
EACH = (9 * torch.eye(4)).tolist()
UNEVEN = {"prior_K": torch.tensor([0.46, 0.22, 0.22, 0.1])}


@pytest.mark.parametrize(
    ("title", "wrong", "logits", "moves"),
    [
        (None, {}, EACH, True),
        ("The run stopped early", {"images_seen": 319_960}, EACH, True),
        ("Hardly trained", {"images_seen": 2000}, TWIN, False),
        ("Hardly trained: the codes have collapsed", UNEVEN, [EACH[0]], True),
        ("The discriminator has won", {"rows": [ROW | {"d_loss": 0.01}]}, EACH, True),
        ("The model makes one image again and again", {}, EACH, False),
        ("A group that stays empty", UNEVEN, UNUSED, True),
        ("Two groups are hard to tell apart", {}, TWIN, True),
        ("The prior is still at uniform", {}, [*EACH, EACH[0]], True),
        ("The prior and the images disagree", {"prior_K": torch.tensor([0.45, 0.25, 0.25, 0.05])}, EACH, True),
    ],
)
def test_a_warning_is_on_the_page_when_it_should_be(
    title: str | None, wrong: dict[str, Any], logits: Any, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty images; samples as varied as they, or one again and again."""

    class Drawn:
        def __init__(self, *args: Any) -> None: ...

        def __call__(self, codes_N: torch.Tensor, offset: int) -> torch.Tensor:
            return torch.rand(len(codes_N) if moves else 1, 1, 16, 16).mul(2).sub(1).expand(len(codes_N), -1, -1, -1)

    def asked(networks: Networks, images: torch.Tensor, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return images.flatten(1).float(), torch.tensor(logits).repeat(40 // len(logits), 1)

    monkeypatch.setattr(code_summary, "Sampler", Drawn)

    def transformed(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(40), asked(*args)[1].softmax(1)

    monkeypatch.setattr(code_summary, "read", asked)
    monkeypatch.setattr(confusion, "read_transforms", transformed)
    given = state(4, **({"rows": [ROW | {"d_loss": 1.3}]} | wrong))
    given = dataclasses.replace(given, images=where_code_is_seen(torch.tensor(logits).repeat(40, 1)[:40].argmax(1)))
    found = check(html_report.render(html_report.collect(given)))
    made = html_report.collect(given)
    assert [finding.title for finding, _ in made.findings] == ([title] if title else [])
    assert title is None or any(title in step.because for step in made.steps), "each asks for something"
    assert "What to do next" in found.text and len(made.steps) >= 2
    assert ("Nothing that this page looks for" in found.text) == (title is None)
    hardly = title is not None and title.startswith("Hardly")
    headings = [attributes.get("id") for attributes in found.of("h2")]
    assert (headings.index("findings") < headings.index("summary")) == hardly
    assert ("pairs that Q confuses" in found.text) == (not hardly)
