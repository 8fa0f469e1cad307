"""What is left to the number of images: epochs, groupings, evaluations, checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.config.presets import preset
from fastgan.config.schedule import FEWEST_EPOCHS, RATES, SHOWN, Phases, resolve_schedule
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
    digits = replace(config, dataset="mnist", data_dir=None, channels=1, intensity_range="type")
    assert validate(digits).epochs == config.epochs  # no 0 left


@pytest.mark.parametrize(
    "images, epochs, at", [(3_000, 0, (55, 71, 87)), (8_571, 0, (19, 25, 31)), (3_000, 1_000, (55, 71, 87))]
)
def test_images_are_grouped_after_half_of_a_run_and_no_later_in_a_longer_one(
    images: int, epochs: int, at: tuple[int, ...]
) -> None:
    config = resolve_schedule(replace(OPEN, epochs=epochs), images)
    assert config.grouping.at == at and config.pretrain_epochs == at[0]


@pytest.mark.parametrize("epochs, at", [(1, ()), (2, (1,)), (3, (2,)), (4, (2, 3))])
def test_a_short_run_is_grouped_as_often_as_it_can_be(epochs: int, at: tuple[int, ...]) -> None:
    assert resolve_schedule(replace(OPEN, epochs=epochs), 3_000).grouping.at == at


def test_what_is_given_stays() -> None:
    given = replace(OPEN, epochs=7, eval_every=3, save_every=2, pretrain_epochs=1, grouping=GroupingConfig(at=(1, 5)))
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


@pytest.mark.parametrize("epochs, expected", [(1, 0), (2, 1), (3, 2), (5, 2), (20, 2)])
def test_pretraining_lasts_until_the_first_grouping_and_half_of_the_run(epochs: int, expected: int) -> None:
    config = replace(preset("mnist"), epochs=epochs)
    assert config.pretrain_epochs == -1
    assert resolve_schedule(config, 38_000).pretrain_epochs == expected


def test_pretraining_needs_something_to_learn() -> None:
    mnist = preset("mnist")
    for nothing in (
        {"front_end_learns": False},
        {"grouping": GroupingConfig()},
        {"contrastive_weight": 0.0, "agreement_weight": 0.0, "prior_pull": 0.0, "grouping": GroupingConfig()},
    ):
        assert resolve_schedule(replace(mnist, **nothing), 38_000).pretrain_epochs == 0  # type: ignore[arg-type]
    assert resolve_schedule(replace(mnist, pretrain_epochs=3), 38_000).pretrain_epochs == 3
    assert resolve_schedule(preset("mnist", "paper"), 38_000).pretrain_epochs == 0
    with pytest.raises(ConfigError, match="^--pretrain-epochs 2: .*--front-end-learns"):
        validate(replace(mnist, pretrain_epochs=2, front_end_learns=False))
    with pytest.raises(ConfigError, match="^--pretrain-epochs 20: must be below --epochs 20"):
        validate(replace(mnist, pretrain_epochs=20))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    epochs=st.integers(1, 7),
    epoch_images=st.integers(1, 3000),
    pretrained=st.integers(0, 6),
    final=st.floats(0.01, 0.9),
)
def test_learning_rates_fall_in_steps_that_are_known_beforehand(
    epochs: int, epoch_images: int, pretrained: int, final: float
) -> None:
    """Each holds for as long as `constant_for` says; they fall to the final share, and pretraining has its own."""
    config = replace(OPEN, epochs=epochs, pretrain_epochs=min(pretrained, epochs - 1), final_rate=final)
    phases = Phases.of(config, epoch_images)
    seen, rates = 0, []
    while seen < phases.total:
        count = phases.constant_for(seen)
        assert count >= 1 and seen + count <= phases.total
        assert len({phases.learning_rate(images) for images in (seen, seen + count // 2, seen + count - 1)}) == 1
        if seen >= phases.pretrained:
            rates.append(phases.learning_rate(seen))
        else:
            assert phases.learning_rate(seen) == config.pretrain_learning_rate and count == phases.pretrained
        seen += count
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == config.learning_rate
    if phases.total - phases.pretrained >= RATES:
        assert len(set(rates)) == RATES and rates[-1] == pytest.approx(final * config.learning_rate)
