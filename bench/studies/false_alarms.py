"""How often the report's findings on groups are wrong, on groups that are right, and how often they miss what is there.

    python -m bench.studies.false_alarms [RUN ...] --data FOLDER --save

FOLDER holds mnist/ and fashion-mnist/. The true classes of digits, MNIST and FashionMNIST are the best groups that
there can be: whatever is found of them is a false alarm. Groups by one quantity of the same images, blurred by noise,
must be found. Of each RUN all findings on its groups are listed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fastgan.data import digits, loading, mnist
from fastgan.data.image_set import ImageSet, to_unit_range
from fastgan.evaluation import code_summary, drawn_alike, followed, properties, run_findings, told_apart, trust
from fastgan.evaluation.code_summary import RunState
from fastgan.inference import trained_run
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog

RESULTS = Path(__file__).parent.parent / "results"
IMAGES = 5000  # of a data set, as the report takes them
SAMPLES, PER_CLASS, DRAWN = 32, 400, 10  # in the place of made images, beside them, and choices of classes
DRAWS = 30  # choices of classes for each number of them
NOISE = (0.0, 0.5, 1.0, 2.0, 4.0)  # standard deviations of what blurs a quantity, relative to its own (by rank)


def sets(data: Path) -> Iterator[tuple[str, ImageSet]]:
    """Data sets whose classes are known."""
    yield "digits", digits.full(16)
    for name in ("mnist", "fashion-mnist"):
        if (data / name).is_dir():
            yield name, mnist.everything(data / name, 28, name)


def on_true_classes(name: str, images: ImageSet, draw: np.random.Generator) -> Iterator[str]:
    """False alarms where each group is a class, by the number of classes; DRAWS choices of them, unlabelled."""
    assert images.labels is not None
    for count in (2, 3, 4, 5, 6, 8, 10):
        alarms, near, scores = 0, 0, []
        draws = DRAWS if count < images.label_count else 1
        for _ in range(draws):
            classes = draw.permutation(images.label_count)[:count]
            rows = np.flatnonzero(np.isin(images.labels.numpy(), classes))
            chosen = torch.from_numpy(np.sort(draw.permutation(rows)[:IMAGES]))
            codes = images.labels[chosen]
            found = followed.follow(codes.numpy(), properties.measure(images, None, chosen))
            alarms += any(each.clearly for each in found)
            scores.append(found[0].score)
            agree = trust.neighbours_agree(images.images, codes, chosen)
            chance = float(torch.bincount(codes).double().div(len(codes)).square().sum())
            near += agree is not None and (float(agree.mean()) - chance) / (1 - chance) < trust.NEIGHBOURS_LOW
        yield (
            f"{name:14s} {count:2d} classes: follows something {alarms:2d} of {draws}, "
            f"neighbours disagree {near} of {draws}, highest score {max(scores):.2f}"
        )


def told_apart_on_true_classes(name: str, images: ImageSet, draw: np.random.Generator) -> Iterator[str]:
    """False alarms of classes that one property is said to tell apart, by the number of classes, unlabelled."""
    assert images.labels is not None
    for count in (3, 4, 5, 6, 8, 10):
        draws = DRAWS if count < images.label_count else 1
        alarms = 0
        for _ in range(draws):
            classes = draw.permutation(images.label_count)[:count]
            rows = np.flatnonzero(np.isin(images.labels.numpy(), classes))
            chosen = torch.from_numpy(np.sort(draw.permutation(rows)[:IMAGES]))
            looked = followed.Looked(chosen.numpy(), images.labels[chosen].numpy())
            alarms += bool(told_apart.splits(looked, properties.measure(images, None, chosen)))
        yield f"{name:14s} {count:2d} classes: told apart by what another has both kinds of {alarms} of {draws}"


def drawn_on_true_classes(name: str, images: ImageSet, draw: np.random.Generator) -> Iterator[str]:
    """Real images in the place of made ones, SAMPLES of each class: as they are, changed a little, of another class."""
    assert images.labels is not None
    noise = torch.Generator().manual_seed(0)
    for count in (2, 3, 5, 10):
        told = dict.fromkeys(("as they are", "blurred", "noisy", "darker", "half of another class", "another class"), 0)
        draws = DRAWN if count < images.label_count else 1
        for _ in range(draws):
            classes = draw.permutation(images.label_count)[:count].tolist()
            rows = [draw.permutation(np.flatnonzero(images.labels.numpy() == c)) for c in classes]
            spare = [to_unit_range(images.images[torch.from_numpy(row[:SAMPLES])]) for row in rows]
            own = torch.from_numpy(np.concatenate([row[SAMPLES : SAMPLES + PER_CLASS] for row in rows]))
            groups = drawn_alike.Groups(images.images[own], images.labels[own], 0)
            for i, code in enumerate(classes):
                mine, other = spare[i], spare[(i + 1) % count]
                tried = {
                    "as they are": mine,
                    "blurred": F.avg_pool2d(F.pad(mine, (1, 1, 1, 1), mode="replicate"), 3, 1),
                    "noisy": mine + 0.2 * torch.randn(mine.shape, generator=noise),
                    "darker": 0.8 * mine - 0.1,
                    "half of another class": torch.cat([mine[::2], other[::2]]),
                    "another class": other,
                }
                for how, samples in tried.items():
                    found = groups.compare(samples, code)
                    told[how] += found is not None and found.unlike
        parts = ", ".join(f"{how} {number}" for how, number in told.items())
        yield f"{name:14s} {count:2d} classes: made images called another kind, of {draws * count}: {parts}"


def on_quantities(name: str, images: ImageSet, draw: np.random.Generator) -> Iterator[str]:
    """Found or missed where groups are cut from one quantity with noise, ten groups and three, unlabelled."""
    chosen = torch.from_numpy(np.sort(draw.permutation(len(images.images))[:IMAGES]))
    measured = properties.measure(images, None, chosen)
    for each in measured:
        assert each.values_MD is not None
        place = _ranked(each.values_MD[:, 0])
        for groups in (3, 10):
            told = []
            for noise in NOISE:
                blurred = place / place.std() + noise * draw.standard_normal(len(place))
                codes = (_ranked(blurred) * groups).astype(np.int64).clip(0, groups - 1)
                found = {one.what.name: one for one in followed.follow(codes, measured)}[each.name]
                told.append(f"{noise:g}: {found.score:.2f}{' found' if found.clearly else ' -'}")
            yield f"{name:14s} {groups:2d} groups by {each.name} with noise of {', '.join(told)}"


def _ranked(values_M: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.argsort(np.argsort(values_M, kind="stable"), kind="stable") / len(values_M)


def of_run(path: Path) -> Iterator[str]:
    """Everything that is found of a run's groups, and what its Q and others say."""
    run = trained_run.load(path, torch.device("cpu"))
    state = RunState(
        config=run.config,
        networks=run.networks,
        generator=run.generator,
        prior_K=run.prior.probabilities(),
        images=loading.load(run.config),
        images_seen=run.images_seen,
        rows=MetricsLog(run.run.metrics).rows(),
        settings=run_folder.read_settings(path),
        device=run.device,
    )
    summary = code_summary.summarise_run(state)
    asked, config = summary.trust, run.config
    yield (
        f"{state.images.name}, seed {config.seed}, {config.classes} codes, {run.images_seen:,} images shown: sure "
        f"{asked.stated:.3f}, views {asked.views:.3f}, neighbours above chance {asked.above_chance or 0:.3f}, labels "
        f"{-1 if asked.labels is None else asked.labels:.3f}, calibration error {asked.error:.3f}"
    )
    for finding in run_findings.of_groups(state, summary)[0]:
        yield f"    {finding.title}: {finding.text}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds mnist/ and fashion-mnist/")
    parser.add_argument("--save", action="store_true", help="write bench/results/false-alarms.txt")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = list[str]()

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    draw = np.random.default_rng(0)
    for name, images in sets(args.data):
        for line in on_true_classes(name, images, draw):
            say(line)
        for line in on_quantities(name, images, draw):
            say(line)
        for line in drawn_on_true_classes(name, images, np.random.default_rng(2)):
            say(line)
        for line in told_apart_on_true_classes(name, images, np.random.default_rng(1)):
            say(line)
    for path in args.runs:
        for line in of_run(path):
            say(line)
    if args.save:
        file = RESULTS / "false-alarms.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
