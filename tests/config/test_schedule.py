"""What is left to the number of images: epochs, groupings, evaluations, checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastgan.config.presets import preset
from fastgan.config.schedule import FEWEST_EPOCHS, SHOWN, resolve_schedule
from fastgan.config.schema import GroupingConfig, TrainConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError

OPEN = replace(preset("folder"), data_dir="photos")


@pytest.mark.parametrize("images", [64, 300, 3_000, 70_000, 1_000_000])
def test_a_run_shows_enough_images_and_no_more_than_it_must(images: int) -> None:
    config = resolve_schedule(OPEN, images)
    shown = images // 64 * 64
    assert config.epochs * shown >= SHOWN and config.epochs >= FEWEST_EPOCHS
    assert config.epochs == FEWEST_EPOCHS or (config.epochs - 1) * shown < SHOWN
    assert 3 * config.eval_every < config.epochs <= 4 * config.eval_every
    assert 1 <= config.save_every <= config.epochs
    assert len(config.grouping.at) == 3 and config.grouping.at[0] >= 1 and config.grouping.at[-1] < config.epochs
    assert list(config.grouping.at) == sorted(set(config.grouping.at))
    assert validate(replace(config, dataset="mnist", data_dir=None, channels=1)).epochs == config.epochs  # no 0 left


@pytest.mark.parametrize("dataset, images", [("mnist", 37_000), ("digits", 1_182)])
def test_the_rule_gives_the_groupings_of_the_tuned_presets(dataset: str, images: int) -> None:
    tuned = preset(dataset)
    left_to_the_rule = replace(tuned, grouping=replace(tuned.grouping, at=(0,)))
    assert resolve_schedule(left_to_the_rule, images).grouping == tuned.grouping


@pytest.mark.parametrize("epochs, at", [(1, ()), (2, (1,)), (3, (1, 2)), (4, (1, 2, 3))])
def test_a_short_run_is_grouped_as_often_as_it_can_be(epochs: int, at: tuple[int, ...]) -> None:
    assert resolve_schedule(replace(OPEN, epochs=epochs), 3_000).grouping.at == at


def test_what_is_given_stays() -> None:
    given = replace(OPEN, epochs=7, eval_every=3, save_every=2, grouping=GroupingConfig(at=(1, 5)))
    assert resolve_schedule(given, 3_000) == given
    assert resolve_schedule(replace(OPEN, grouping=GroupingConfig()), 3_000).grouping.at == ()


def test_fewer_images_than_a_batch_are_no_division_by_zero() -> None:
    assert resolve_schedule(OPEN, 3).epochs >= FEWEST_EPOCHS  # the data set is refused elsewhere


@pytest.mark.parametrize("flag", ["epochs", "eval_every", "save_every"])
def test_zero_is_for_own_images_alone(flag: str) -> None:
    assert isinstance(validate(replace(OPEN, **{flag: 0})), TrainConfig)
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')} 0: must be at least 1"):
        validate(replace(preset("mnist"), **{flag: 0}))
    with pytest.raises(ConfigError, match="--grouping.at"):
        validate(replace(preset("mnist"), grouping=GroupingConfig(at=(0,))))
    with pytest.raises(ConfigError, match="--grouping.at"):
        validate(replace(OPEN, grouping=GroupingConfig(at=(0, 2))))


def test_ranks_share_a_larger_batch() -> None:
    assert resolve_schedule(OPEN, 3_000, 4) == replace(
        resolve_schedule(replace(OPEN, batch_size=256), 3_000), batch_size=64
    )
