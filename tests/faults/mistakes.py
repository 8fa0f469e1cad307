"""Mistakes on the command line: case 17."""

from __future__ import annotations

from pathlib import Path

from faults import Result, children, ranks

DIGITS = "--dataset digits --image-size 16 --device cpu"
OWN = "--dataset folder --batch-size 2 --classes 2"
# Command line -> words of its one line.
LINES = (
    (f"{OWN} --data-dir empty", "empty: holds no images"),
    (f"{DIGITS} --batch-size 5000", "--batch-size 5000: larger than the data"),
    (f"{DIGITS} --classes 1", "--classes 1: must be at least 2"),
    (f"{DIGITS} --classes 5000 --grouping.at", "--classes 5000: more codes than the data has images"),
    (f"{DIGITS} --split 51", "--split 51: must be 1 to 50"),
    (f"{DIGITS} --temperature 0", "--temperature 0.0: must be above 0"),
    (f"{DIGITS} --learning-rate -1", "--learning-rate -1.0: must be above 0"),
    (f"{DIGITS} --learning-rate nan", "--learning-rate nan: must be above 0"),
    (f"{DIGITS} --epochs 0", "--epochs 0: must be at least 1"),
    (f"{DIGITS} --batch-size 1", "--batch-size 1: must be at least 2"),
    (f"{DIGITS} --seed -1", "--seed -1: must be 0 or more"),
    (f"{DIGITS} --image-size 30", "--image-size 30: must be 8 to 256"),
    (f"{DIGITS} --no-such-flag 3", "no-such-flag"),
    (f"{DIGITS} --epochs many", "--epochs"),
    ("--dataset cifar", "cifar"),
    (f"{OWN} --data-dir absent", "absent: no such folder"),
    (OWN, "add --data-dir DIR"),
    (f"{DIGITS} --skip-bad", "--skip-bad: is for --dataset folder"),
    ("--resume", "add --run-dir RUN"),
    ("--resume --run-dir absent", "absent: is not a run folder"),
    ("--config absent.json", "absent.json: cannot be read"),
    ("--like absent", "absent: is not a run folder"),
    (f"{DIGITS} --device cuda", "--device cuda"),
    ("--dataset youtube-faces --data-dir empty", "empty"),
    (f"{DIGITS} --network.width 0", "--network.width 0: must be at least 1"),
    (f"{DIGITS} --transform.zoom 2 1", "--transform.zoom 2.0 1.0"),
    (f"{DIGITS} --amp-dtype float64 --amp", "--amp-dtype"),
    (f"{DIGITS} --prior-learning-rate 0", "--prior-learning-rate 0.0: must be above 0"),
)

# On two ranks: rank 0 says it.
OVER_RANKS = (
    (f"{DIGITS} --bath-size 3", "perhaps you meant --batch-size"),
    (f"{DIGITS} --batch-size 600", "--batch-size 600: on 2 ranks larger than the data"),
    (f"{OWN} --data-dir absent", "absent: no such folder"),
    ("--resume --run-dir absent", "absent: is not a run folder"),
    ("--config absent.json", "absent.json: cannot be read"),
    ("--like absent", "absent: is not a run folder"),
    (f"{DIGITS} --run-dir full", "--run-dir full: already holds a run"),
)


def refused(count: int, folder: Path) -> Result:
    """Each must end with exit code 2 and one line, and leave nothing behind."""
    result = Result()
    for number, (line, words) in enumerate(LINES[:count]):
        here = folder / f"here-{number}"
        (here / "empty").mkdir(parents=True)
        environment = {"XDG_CACHE_HOME": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
        log = folder / f"{number}.log"
        ended = children.run(line.split(), log, environment=environment, cwd=here)
        lines = [each for each in ended.said.splitlines() if each.strip()]
        made = sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.name != "empty")
        result.count(
            ended.complaint(2, words),
            (len(lines) != 1 or not lines[0].startswith("error: ")) and f"{line}: {len(lines)} lines: {ended.said}",
            bool(made) and f"{line}: made {made}",
        )
    for number, (line, words) in enumerate(OVER_RANKS[: max(count - len(LINES), 0)]):
        here = folder / f"ranks-{number}"
        (here / "full").mkdir(parents=True)
        (here / "full" / "run.json").touch()
        result.count(ranks.complaints(ranks.finish(line.split(), here.with_suffix(".log"), here), 2, words))
    result.note = f"{len(LINES)} command lines, and some on two ranks, of which rank 0 says what is wrong, once"
    return result
