"""What a folder of images holds, and what a run on it would take."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan.config.command_line import other_program
from fastgan.config.commands import CheckConfig
from fastgan.config.presets import PRESETS
from fastgan.config.schedule import resolve_schedule
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.config.validation import check_count
from fastgan.data import cache, cache_contents
from fastgan.data.advice import FEWEST, Advice, advice
from fastgan.data.image_set import ImageSet, resized
from fastgan.data.survey import Survey, survey
from fastgan.inference import trained_run
from fastgan.reporting import survey_table
from fastgan.runtime.process import tune_malloc
from fastgan.text import in_bytes, in_time, shell_quoted
from fastgan.training.estimate import Estimate, estimate
from fastgan.training.resolve import resolve


def show_cache(args: CheckConfig) -> None:
    """Print what lies in the cache; empty it if asked to."""
    root = cache.cache_dir(args.cache_dir)
    kept = cache_contents.contents(args.cache_dir)
    print(f"{root}: {in_bytes(sum(each.size for each in kept))}")
    if kept:
        print(survey_table.as_text(survey_table.cache_rows(kept, time.time())))
    if args.empty_cache:
        print(f"removed {in_bytes(cache_contents.empty(args.cache_dir))}")


def look(args: CheckConfig, data: Path) -> None:
    """Print what the folder `data` holds, and write it to --json; raises DataError where it cannot be read."""
    device = trained_run.choose_processor(args.device, args.threads)
    base = PRESETS["folder"]
    found = survey(data, base.image_size, base.channels)
    print(f"{data}:")
    print(survey_table.as_text(survey_table.rows(found)))
    told: dict[str, Any] = survey_table.as_json(found)
    if found.images < FEWEST:
        print(f"  too few images to train on: {FEWEST} at least, and better hundreds of each kind")
    else:
        flags = advice(found, device.type == "cuda")
        own = _own_flags(data, args)
        config = train_config([*own, *(word for flag in flags for word in (flag.flag, flag.value) if word)], _preset)
        _print_flags(own, flags)
        told |= {"suggested": [dataclasses.asdict(flag) for flag in flags]}
        if args.time and len(found.sample.paths) >= config.batch_size:
            told |= {"estimate": dataclasses.asdict(_print_estimate(config, found, device))}
    if args.json is not None:
        args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8", errors="backslashreplace")


def _own_flags(data: Path, args: CheckConfig) -> list[str]:
    """The flags of a run that are not advised: what it is on, and what this command was called with."""
    cache_place = [] if args.cache_dir is None else ["--cache-dir", str(args.cache_dir)]
    return ["--dataset", "folder", "--data-dir", str(data), *cache_place, *(["--amp"] if args.amp else [])]


def _preset(_: Path) -> TrainConfig:
    return PRESETS["folder"]


def _print_flags(own: Sequence[str], flags: Sequence[Advice]) -> None:
    chosen = " ".join(f"{flag.flag} {flag.value}".strip() for flag in flags)
    print("\nto train on it:")
    print(f"  {other_program('train')} {' '.join(shell_quoted(word) for word in own)} {chosen}")
    print(survey_table.as_text((f"{flag.flag} {flag.value}".strip(), flag.why) for flag in flags))


def preflight(config: TrainConfig) -> None:
    """Print what the folder of a run holds and what the run would take, to stderr; nothing is written.

    Raises:
        DataError: when the folder cannot be read or holds no images.
        ConfigError: when it holds too few for the settings.
    """
    assert config.data_dir is not None
    device = trained_run.choose_processor(config.device, config.threads)
    found = survey(config.data_dir, config.image_size, config.channels)
    check_count(config, found.images - len(found.sample.bad))
    with contextlib.redirect_stdout(sys.stderr):
        print(f"{config.data_dir}:")
        print(survey_table.as_text(survey_table.rows(found)))
        if len(found.sample.paths) >= config.batch_size:
            _print_estimate(config, found, device)


def _print_estimate(config: TrainConfig, found: Survey, device: torch.device) -> Estimate:
    """Estimate a run and print it."""
    tune_malloc()
    # A run has fewer channels than the sample only where the images are grey, and all channels are equal.
    pixels = resized(found.sample.images[:, : config.channels], config.image_size)
    sample = ImageSet("folder", pixels, None, 0, found.sample.paths)
    usable = found.images - len(found.sample.bad)
    config, _ = resolve(resolve_schedule(config, usable), sample)
    needs = estimate(config, sample, usable, device)
    print(f"\nwhat that would take on {needs.device}, about:")
    print(survey_table.as_text(_needs_rows(needs, config, found)))
    return needs


def _needs_rows(needs: Estimate, config: TrainConfig, found: Survey) -> list[tuple[str, str]]:
    trained = needs.shown - needs.pretrained
    time = f"{in_time(needs.seconds)}: {trained:,} images at {needs.rate:.0f} a second"
    if needs.pretraining_rate is not None:
        time = f"{time}, before them {needs.pretrained:,} in pretraining at {needs.pretraining_rate:.0f}"
    if config.grouping.at:
        time = f"{time}, and {len(config.grouping.at)} groupings of {in_time(needs.grouping_seconds)}"
    decoding = found.sample.seconds / len(found.sample.paths) * found.images
    decoded = found.images * config.channels * config.image_size**2
    where = cache.cache_dir(config.cache_dir)
    return [
        ("time", time),
        ("decoding, once", in_time(decoding)),
        ("memory", in_bytes(needs.memory)),
        ("disk", f"{in_bytes(decoded)} in {where}, {in_bytes(needs.checkpoints)} or more in the run folder"),
        ("parameters", f"{needs.parameters:,}"),
    ]
