"""YouTube-Faces: frames of videos of people, in the official layout.

    aligned_images_DB/<person>/<video>/aligned_detect_<video>.<frame>.jpg
    frame_images_DB/<person>/<video>/<video>.<frame>.jpg

The label of a frame is its person. Frames are sorted by person's name, video number and frame number. Each is cropped
to the same central square in both trees: frames differ in size, but the face in their centre does not. No face detector
is used, so in `frame_images_DB` a face off the centre is cut off. A smaller frame is cropped to its largest square.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from fastgan.config.schema import IntensityRange
from fastgan.data import folder
from fastgan.data.decode import Form
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import Entry, Scan, check, listing, merged, scan, shown
from fastgan.errors import ConfigError, DataError
from fastgan.text import pluralize

CROP = 110  # pixels of a frame: the face is about 108, in frames of 301 and of 319 pixels
TREES = ("aligned_images_DB", "frame_images_DB")  # the first that exists is read
LAYOUT = "<person>/<video>/[aligned_detect_]<video>.<frame>.jpg"
NAMED = 5  # files that a message names at most
_FRAME = re.compile(
    r"(?P<person>[^/]+)/(?P<video>[0-9]+)/(?:aligned_detect_)?(?P=video)\.(?P<frame>[0-9]+)\.[A-Za-z]+", re.DOTALL
)


def full(
    data_dir: Path,
    image_size: int,
    channels: int,
    *,
    identities: int,
    frame_stride: int,
    skip_bad: bool,
    cache_dir: Path | None = None,
    ground: str = "black",
    intensity_range: IntensityRange = "type",
) -> ImageSet:
    """Frames of the first `identities` people by name that have frames, uint8 [N, C, S, S], memory-mapped.

    Prints a summary to stderr.

    Args:
        data_dir: one of TREES or its parent folder.
        frame_stride: keep every frame_stride-th frame of each video.
        skip_bad: skip bad files, and print where they are listed.
        cache_dir: for decoded images; None for the user's cache.
        ground, intensity_range: as the settings of these names.

    Raises:
        DataError: for a folder of another layout, and for bad files unless they are skipped.
        ConfigError: when fewer people have frames, or the cache cannot be written to.
    """
    tree, passed_over = _tree(data_dir)
    chosen = _chosen(tree, identities, frame_stride)
    choice = f"faces{identities}_every{frame_stride}_"
    form = Form(image_size, channels, ground, intensity_range)
    decoded = folder.read(tree, chosen, form, skip_bad=skip_bad, choice=choice, cache_dir=cache_dir)
    _print_summary(tree, passed_over, decoded.paths, frame_stride)
    labels, names = folder.by_name([path.partition("/")[0] for path in decoded.paths])
    inner = "" if tree == data_dir else f"{tree.name}/"
    paths = tuple(inner + path for path in decoded.paths)
    return folder.with_facts(ImageSet("youtube-faces", decoded.images, labels, len(names), paths, names), decoded)


def elsewhere(
    images: Path,
    image_size: int,
    channels: int,
    *,
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    ground: str = "black",
    intensity_range: IntensityRange = "type",
) -> ImageSet:
    """All images of a folder, without labels; frames of YouTube-Faces, by their paths, are cropped as in `full`.

    Arguments as in `full`.

    Raises:
        DataError: for a folder without images, and for bad files unless they are skipped.
    """
    found = folder.images_in(images)
    place = images.resolve().as_posix()
    entries = tuple(replace(entry, crop=_crop(f"{place}/{entry.path}")) for entry in found.entries)
    cropped = sum(entry.crop is not None for entry in entries)
    print(
        f"{images}: {cropped:,} of {pluralize(len(entries), 'image')} {'is a frame' if cropped == 1 else 'are frames'} "
        f"of YouTube-Faces by name; of these the central {CROP} x {CROP} pixels are read, of others the largest square",
        file=sys.stderr,
    )
    found = replace(found, entries=entries)
    form = Form(image_size, channels, ground, intensity_range)
    decoded = folder.read(images, found, form, skip_bad=skip_bad, choice="faces_", cache_dir=cache_dir)
    return folder.with_facts(ImageSet("folder", decoded.images, None, 0, decoded.paths), decoded)


def _crop(path: str) -> int | None:
    """The crop of a file: CROP if the last three parts of its path are those of a frame, else None."""
    return CROP if _FRAME.fullmatch("/".join(path.split("/")[-3:])) else None


def _tree(data_dir: Path) -> tuple[Path, str | None]:
    """The folder of the people's folders, and the name of the unused tree if both exist."""
    check(data_dir)
    there = [name for name in TREES if (data_dir / name).is_dir()]
    if not there:
        return data_dir, None
    return data_dir / there[0], there[1] if len(there) > 1 else None


def _chosen(tree: Path, identities: int, frame_stride: int) -> Scan:
    """The frames of the first `identities` people; later people's folders are not scanned."""
    entries: list[Entry] = []
    bad: list[tuple[str, str]] = []
    others: list[str] = []
    missed: list[tuple[str, int, str]] = []
    people = ignored = 0
    names = listing(tree)
    for person in (name[:-1] for name in names if name.endswith("/")):
        found = scan(tree, person)
        videos = _videos(found)
        entries += (frame for video in videos for frame in video[::frame_stride])
        ignored += found.ignored + len(found.entries) - sum(map(len, videos))
        others += (entry.path for entry in found.entries if not _FRAME.fullmatch(entry.path))
        bad += ((path, reason) for path, reason in found.bad if path.endswith("/") or _FRAME.fullmatch(path))
        missed += found.unsupported
        people += bool(videos)
        if people == identities:
            break
    if people == 0 and not bad:
        raise DataError(_no_tree(tree, others or names))
    if people < identities:
        unread = f" ({shown(bad[0][0])}: {bad[0][1]})" if bad else ""
        raise ConfigError(f"--identities {identities}: only {people:,} people in {tree} have frames{unread}; lower it")
    return Scan(tuple(entries), tuple(bad), ignored, merged(missed))


def _videos(found: Scan) -> list[list[Entry]]:
    """The frames of a person, grouped by video, both sorted by number, with their crop."""
    keyed = [
        ((int(match["video"]), match["video"]), (int(match["frame"]), entry.path), replace(entry, crop=CROP))
        for entry in found.entries
        if (match := _FRAME.fullmatch(entry.path)) is not None
    ]
    keyed.sort(key=lambda each: each[:2])
    return [[entry for *_, entry in video] for _, video in groupby(keyed, key=lambda each: each[0])]


def _no_tree(tree: Path, found: list[str]) -> str:
    above = "" if tree.name in TREES else f"{' or '.join(TREES)} in it, or "
    named = ", ".join(shown(name) for name in found[:NAMED]) or "nothing"
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return (
        f"{tree}: not YouTube-Faces; expected {above}{LAYOUT}, found {named}{more}; name its "
        "folder with --data-dir, or use --dataset folder"
    )


def _print_summary(tree: Path, passed_over: str | None, paths: tuple[str, ...], frame_stride: int) -> None:
    """Print one line of summary to stderr."""
    of = Counter(path.partition("/")[0] for path in paths)
    videos = {path.rpartition("/")[0] for path in paths}
    # Ties go to the first by name.
    most, fewest = min(of, key=lambda name: (-of[name], name)), min(of, key=lambda name: (of[name], name))
    thinned = "" if frame_stride == 1 else f" (one in {frame_stride})"
    other = "" if passed_over is None else f"; {passed_over} is there too and was not read"
    counts = (
        f"{pluralize(len(of), 'person', 'people')}, {pluralize(len(videos), 'video')}, {pluralize(len(paths), 'frame')}"
    )
    print(
        f"{tree}: {counts}{thinned}, from {of[most]:,} of {shown(most)} to {of[fewest]:,} of {shown(fewest)}; of each "
        f"the central {CROP} x {CROP} pixels{other}",
        file=sys.stderr,
    )
