"""python -m fastgan.train: train on a data set and fill a run folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from fastgan import data, loop, metrics, page, run_folder
from fastgan.command_line import run_command, train_config
from fastgan.config import TrainConfig
from fastgan.config_json import to_json
from fastgan.memory import keep_freed_memory
from fastgan.schedule import fitted
from fastgan.trainer import Trainer


def _python() -> str:
    """How to call the interpreter that runs: one in a virtual environment that was not activated is not `python`."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = os.path.relpath(sys.executable)
    return shlex.quote(sys.executable if here.startswith("..") else here)


def _say(run: run_folder.RunFolder, config: TrainConfig, outcome: loop.Outcome) -> None:
    if outcome.signal_number is not None:
        print(
            f"stopped and saved; continue with: {_python()} -m fastgan.train --resume --run-dir "
            f"{shlex.quote(str(run.path))}"
        )
        return
    assert outcome.evaluation is not None
    print(f"\nafter {config.epochs} epochs, {outcome.seconds:.0f} s of training:")
    print(metrics.table(outcome.evaluation.row))
    print()
    if (run.path / page.NAME).exists():
        print(f"open {run.path / page.NAME} in a browser: classes, frequencies, and what to do next")
    print(f"look at {run.samples} (a row a code), {run.path / 'losses.png'} and {run.path / 'prior.png'}")
    if config.dataset == "digits":
        print(
            "This was a demonstration on 8x8 digits. MNIST is next: "
            "python -m fastgan.train --dataset mnist --split 1 --amp"
        )


def main(argv: Sequence[str]) -> int:
    """Parse, build, train. Returns the exit code."""
    config = train_config(argv, run_folder.saved_config)
    if config.dry_run:
        print(json.dumps(to_json(config), indent=1))
        return 0
    keep_freed_memory()
    run_folder.choose_kernels(config.kernels)
    device = run_folder.choose_device(config.device)
    images = data.load(config)
    config = fitted(config, len(images.images))
    # Before the folder is made: what cannot be built leaves nothing behind.
    trainer = Trainer(config, images, device)
    transforms = trainer.transforms
    if config.resume:
        assert config.run_dir is not None
        run = run_folder.RunFolder(config.run_dir)
        kept = run_folder.read_settings(run.path)["environment"]
        before = [kept, *kept.get("resumed", [])][-1].get("transforms", transforms)
        if before != transforms:
            print(f"images were transformed by {before}, and are by {transforms} from here on", file=sys.stderr)
    else:
        run = run_folder.create(config, device, transforms)
    print(
        f"{images.name}: {len(images.images):,} images of {config.image_size}x{config.image_size}, "
        f"K = {config.classes}, {config.epochs} epoch{'s' if config.epochs > 1 else ''}, "
        f"on {run_folder.device_name(device)}"
        + (", streamed from the host" if trainer.feed.streams else "")
        + ("" if transforms is None else f", transforms by {transforms}")
        + f"; run folder {run.path}",
        file=sys.stderr,
    )
    if config.compile:
        print("compiling before the first step (up to half a minute, once a machine) ...", file=sys.stderr)
    training = loop.Loop(config, run, images, trainer)
    if config.resume:
        with run_folder.continued(run.path):
            training.resume()
            if training.images_seen >= training.total:
                print(f"{run.path} is complete after {config.epochs} epochs; raise --epochs to train on")
                return 0
            run_folder.note_resume(run, config, device, training.images_seen, transforms)
    outcome = training.train()
    _say(run, config, outcome)
    return 128 + outcome.signal_number if outcome.signal_number is not None else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
