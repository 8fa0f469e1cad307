"""Who may write into a run folder, and with which images: cases 25 to 27."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fastgan import cluster, export, page, sample
from fastgan.config import command_line
from faults import Result, children, hooks

WRITING = {"cluster": cluster.main, "sample": sample.main, "export": export.main, "page": page.main}
_OWN = (
    "--dataset folder --channels 1 --image-size 8 --batch-size 8 --classes 2 --network.width 4 --network.hidden 16 "
    "--network.embedding 8 --device cpu --epochs 2 --eval-every 2 --grouping.at 1 --grouping.landmarks 32 "
    "--grouping.neighbours 3 --transform.kind default"
)
OWN = _OWN.split()


def _command(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    return command_line.run_command(main, argv)


def twice(count: int, folder: Path) -> Result:
    """While a run waits before a step: another is started or resumed in its folder, or a command writes into it."""
    whole, result = children.uninterrupted(), Result()
    for number in range(count):
        run, killed = folder / f"run-{number}", number % 2 == 1
        ours, theirs = multiprocessing.Pipe()
        argv = [*children.TINY, "--run-dir", str(run)]
        child = children.start(
            argv, run.with_suffix(".log"), partial(hooks.gates, theirs, [("step", children.EPOCH + 1)])
        )
        theirs.close()
        ours.recv_bytes()
        owner = f"in use by process {child.pid} on {socket.gethostname()}"
        log = run.with_suffix(".second")
        seconds = [
            children.run([*argv, "--seed", "1"], log),
            children.run(["--resume", "--run-dir", str(run)], log),
        ]
        name = list(WRITING)[number % len(WRITING)]
        seconds.append(children.call(partial(_command, WRITING[name], [str(run)]), log))
        wrong = [ended.complaint(2, owner) for ended in seconds]
        if killed:  # its lock is gone with it, at once
            child.kill(signal.SIGKILL)
            child.wait()
            wrong.append(children.resume(run).complaint(0, "resumed from"))
        else:
            ours.send_bytes(b"on")
            wrong.append(child.wait().complaint(0))
        ours.close()
        result.count(*wrong, children.differs(run, whole))
        shutil.rmtree(run)
    result.note = "each refused with the owner's process and host; half of the owners killed, and resumed at once"
    return result


def _images(folder: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(40):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number:02d}.png")


def other_images(count: int, folder: Path) -> Result:
    """Other pixels, other names in another order, one file more: refused; the same elsewhere: accepted."""
    result = Result()
    environment = {"XDG_CACHE_HOME": str(folder / "cache")}
    for number in range(count):
        run, images = folder / f"run-{number}", folder / f"images-{number}"
        _images(images, number)
        argv = [*OWN, "--data-dir", str(images), "--run-dir", str(run)]
        log = run.with_suffix(".log")
        first = children.run(argv, log, partial(hooks.stop_before, 6, signal.SIGTERM), environment=environment)
        other = folder / f"other-{number}"
        shutil.copytree(images, other)
        if number % 3 == 0:
            _images(other, 1000 + number)
            words = "40 then, 40 now; 40 with other pixels: 00.png, 01.png, 02.png and 37 more"
        elif number % 3 == 1:
            (other / "00.png").rename(other / "zz.png")
            words = "40 then, 40 now; 1 gone: 00.png; 1 new: zz.png"
        else:
            shutil.copy(other / "03.png", other / "new.png")
            words = "40 then, 41 now; 1 new: new.png"
        again = ["--resume", "--run-dir", str(run), "--data-dir"]
        refused = children.run([*again, str(other)], log, environment=environment)
        images.rename(folder / f"moved-{number}")
        moved = children.run([*again, str(folder / f"moved-{number}")], log, environment=environment)
        result.count(first.complaint(143), refused.complaint(2, words), moved.complaint(0, "resumed from"))
    return result


def outputs_inside(count: int, folder: Path) -> Result:
    """`cd photos; train --data-dir .`, whose run lies among the images, is resumed, and a second run sees the same."""
    result = Result()
    environment = {"XDG_CACHE_HOME": str(folder / "cache")}
    for number in range(count):
        photos = folder / f"photos-{number}"
        _images(photos, number)
        argv = [*OWN, "--data-dir", "."]
        log = folder / f"{number}.log"
        first = children.run(
            argv, log, partial(hooks.stop_before, 6, signal.SIGTERM), environment=environment, cwd=photos
        )
        (run,) = (photos / "runs").iterdir()
        Image.new("L", (8, 8)).save(run / "samples" / "epoch-0001.png")
        inside = f"runs/{run.name}"
        resumed = children.run(["--resume", "--run-dir", inside], log, environment=environment, cwd=photos)
        second = children.run(argv, log, environment=environment, cwd=photos)
        told = "left out 1 folder of what fastgan wrote"
        result.count(
            first.complaint(143),
            resumed.complaint(0, told, inside, "resumed from"),
            second.complaint(0, told, "40 images"),
        )
    return result
