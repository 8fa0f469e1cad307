"""The pictures of docs/guide.md: a run on a folder of image files, its report and a comparison, in a browser.

python -m bench.studies.guide_pictures --place DIR writes 2,000 images of clothes into DIR/photos, trains two runs on
them (what is finished is not trained again), writes both pages anew, and takes the pictures with Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from bench.rows import ROOT
from bench.studies.known_kinds import KINDS
from bench.studies.suggest_k import finished

PICTURES = ROOT / "docs" / "pictures"
WIDTH = 900  # pixels of a window
COLOURS = 128  # of a PNG's palette, so that a picture takes little space
EPOCHS = 40
FLAGS = f"--dataset folder --channels 1 --image-size 32 --epochs {EPOCHS} --eval-every {EPOCHS} --amp --threads 1"
NETWORK = "--network.width 16 --network.hidden 128 --device cpu"


def photos(folder: Path) -> Path:
    """A folder of image files, made if it is absent."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        images, _ = KINDS["five"].make()
        for number, pixels in enumerate(images):
            Image.fromarray(pixels).save(partial / f"photo-{number * 577 % len(images):04d}.png")
        partial.rename(folder)
    return folder


def call(*words: str) -> None:
    """A command of fastgan, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "fastgan", *words], cwd=ROOT, env=environment, check=True)


def trained(place: Path, classes: int, seed: int) -> Path:
    """A finished run on the photos."""
    run = place / f"clothes-{classes}-seed{seed}"
    if not finished(run, EPOCHS):
        shutil.rmtree(run, ignore_errors=True)
        own = ["--data-dir", str(photos(place / "photos")), "--classes", str(classes), "--seed", str(seed)]
        call("train", *FLAGS.split(), *NETWORK.split(), *own, "--run-dir", str(run))
    return run


def picture(page: Path, name: str, top: int, height: int) -> None:
    """A part of a page, `height` pixels from `top` on, as docs/pictures/NAME."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no chromium, chromium-browser or google-chrome in PATH: install one")
    PICTURES.mkdir(exist_ok=True)
    shot, profile = page.with_suffix(".png"), page.with_suffix(".profile")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    flags += [f"--user-data-dir={profile}", f"--window-size={WIDTH},{top + height}", f"--screenshot={shot}"]
    subprocess.run([browser, *flags, page.as_uri()], check=True, capture_output=True, timeout=120)
    with Image.open(shot) as whole:
        part = whole.convert("RGB").crop((0, top, WIDTH, top + height))
    part.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
    shutil.rmtree(profile, ignore_errors=True)


def main() -> None:
    """Train what is left, write the pages, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="where the images and the runs are kept")
    place = parser.parse_args().place.resolve()
    runs = [trained(place, 6, seed) for seed in (0, 1)]
    call("report", str(runs[0]), "--threads", "1")
    call("report", *map(str, runs), "--threads", "1", "--out", str(place / "compare.html"), "--force")
    picture(runs[0] / "report.html", "report-top.png", 0, 1000)
    picture(place / "compare.html", "compare-top.png", 0, 1100)


if __name__ == "__main__":
    main()
