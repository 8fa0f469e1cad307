"""The groups as the report shows them: pictures sorted in several ways, and how sure Q is of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastgan.evaluation.code_summary import CodeSummary
from fastgan.evaluation.group_images import BINS
from fastgan.reporting import images
from fastgan.reporting.images import Picture
from fastgan.reporting.shots import Shot, Shots
from fastgan.text import pluralize

FEW_GROUPS = 40  # up to so many groups have pictures in full number
ALL_IN_ONE = 0.9  # share of a group's images in one part of its histogram, from which a sentence says more
PICTURES, FEWER_PICTURES = 8, 4  # in a row of a group


@dataclass(frozen=True)
class Row:
    """A row of pictures of a group: what it shows, and a sentence on how they were chosen."""

    title: str
    note: str
    shots: Sequence[Shot]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, in units of its picture."""

    x: int
    height: int


@dataclass(frozen=True)
class Group:
    """A group, the images that Q gives one code; `stands_for` is its most frequent real class, None where unknown.

    confidence: Q's mean; makeup: its most frequent classes with their shares; mixed: it is not mostly one of them;
    histogram: empty where nearly all images are in one of its parts; histogram_text: what the bars say, empty where
    there is no image; neighbour: the group that it shares most doubtful images with; doubts: why it may not be one
    kind.
    """

    number: int
    probability: float
    share: float
    count: int
    confidence: float | None
    stands_for: str | None
    true_share: float | None
    makeup: Sequence[tuple[str, float]]
    mixed: bool
    generated: Sequence[Picture]
    typical: Sequence[Shot]
    rows: Sequence[Row]
    neighbour: int | None
    histogram: Sequence[Bar]
    histogram_text: str
    doubts: Sequence[str] = ()


def pictures_a_row(groups: int) -> int:
    """How many pictures a row of each of so many groups has."""
    return PICTURES if groups <= FEW_GROUPS else FEWER_PICTURES


def most_pictures(groups: int) -> int:
    """How many pictures so many groups have in all, at most."""
    return 5 * groups * pictures_a_row(groups)


def group_card(code: CodeSummary, shots: Shots, side: int, most: int) -> Group:
    """A group with at most `most` pictures a row, of `side` pixels."""
    mostly = code.stands_for is not None and not code.mixed
    about = f", which mostly gets class {code.stands_for}" if mostly else ""
    found = code.images
    generated = [
        Picture(images.embedded(image, side), f"Generated image {i + 1} of group {code.number}{about}")
        for i, image in enumerate(code.samples_SCHW[:most])
    ]
    return Group(
        number=code.number,
        probability=code.probability,
        share=code.share,
        count=len(found.typical_M),
        confidence=code.confidence,
        stands_for=code.stands_for,
        true_share=code.true_share,
        makeup=code.makeup,
        mixed=code.mixed,
        generated=generated,
        typical=shots(found.spread_M[:most].tolist()),
        rows=_rows(code, shots, most),
        neighbour=found.neighbour,
        histogram=_bars(found.histogram),
        histogram_text=_in_words(found.histogram, code.number),
    )


def _rows(code: CodeSummary, shots: Shots, most: int) -> list[Row]:
    """The rows beside the typical images: the least sure, some at random, and those between two groups."""
    found, rows = code.images, []
    if len(found.typical_M) > 1:
        rows = [
            Row(
                "Least sure",
                "The images of this group of which Q is least sure.",
                shots(found.unsure_M[:most].tolist()),
            ),
            Row("At random", "Drawn by lot: what this group is really like.", shots(found.random_M[:most].tolist())),
        ]
    if found.neighbour is not None:
        low, high = sorted((code.number, found.neighbour))
        shared = pluralize(len(found.between_M), "image")
        note = f"{shared} of either group stand between the two; the most undecided come first."
        note = note.replace("stand", "stands") if len(found.between_M) == 1 else note
        rows.append(Row(f"Between {low} and {high}", note, shots(found.between_M[:most].tolist())))
    return rows


def _bars(histogram: Sequence[int]) -> list[Bar]:
    """Bars of at most 40 units; a part with any image has at least one. None where one bar would say it all."""
    top = max(histogram)
    if top >= ALL_IN_ONE * sum(histogram):
        return []
    return [Bar(6 * i, max(1, round(40 * count / top))) for i, count in enumerate(histogram) if count]


def _in_words(histogram: Sequence[int], number: int) -> str:
    """Of how many images Q is how sure; of nearly all alike, in which range."""
    total = sum(histogram)
    if not total:
        return ""
    top = max(range(BINS), key=lambda i: histogram[i])
    if (share := histogram[top] / total) >= ALL_IN_ONE:
        which = "all" if histogram[top] == total else f"{min(share, 0.999):.1%}"
        low = next(i for i in range(BINS) if histogram[i])
        rest = f", of the least sure {low / BINS:.0%} to {(low + 1) / BINS:.0%}" if low < top else ""
        sure = f"above {top / BINS:.0%}" if top == BINS - 1 else f"{top / BINS:.0%} to {(top + 1) / BINS:.0%}"
        return f"Q is {sure} sure of {which} of them{rest}"
    sure_of, unsure = sum(histogram[BINS * 9 // 10 :]), sum(histogram[: BINS // 2])
    return (
        f"Confidence in group {number}: above 90% for {sure_of / total:.0%} of its images, below 50% for "
        f"{unsure / total:.0%}"
    )
