"""When a run's events are due: the same for single steps and for several at once, as in graphs."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.config.schema import GroupingConfig, TrainConfig
from fastgan.training.events import Events


def events(
    unroll: int, *, batch: int, log_every: int, epoch_batches: int, save_every: int, first: int, chunk: int
) -> tuple[list[tuple[int, tuple[bool, ...]]], list[int]]:
    """When reports, evaluations and checkpoints are due in three epochs, and how many steps ran at once."""
    config = TrainConfig(batch_size=batch, epochs=3, log_every=log_every, eval_every=2, save_every=save_every)
    one = Events(config, batch=batch, epoch_images=batch * epoch_batches)
    found, counts, images_seen = [], [], first * batch
    while not one.done(images_seen):
        counts.append(one.steps_ahead(images_seen, min(unroll, chunk)))
        images_seen += counts[-1] * batch
        due = one.report_due(images_seen), one.evaluation_due(images_seen), one.checkpoint_due(images_seen)
        if any(due):
            found.append((images_seen, due))
    assert images_seen == one.total
    return found, counts


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    batch=st.integers(2, 130),
    log_every=st.integers(1, 3000),
    epoch_batches=st.integers(1, 60),
    save_every=st.integers(1, 3),
    first=st.integers(0, 50),
    chunk=st.integers(1, 20),
)
def test_events_are_the_same_as_with_single_steps(**case: int) -> None:
    """For all batch sizes, periods and points of resuming."""
    case["first"] = min(case["first"], 3 * case["epoch_batches"] - 1)
    single, ones = events(1, **case)
    several, counts = events(8, **case)
    assert several == single
    assert set(ones) == {1} and sum(counts) == sum(ones)
    assert all(1 <= count <= min(8, case["chunk"]) for count in counts)


def test_most_steps_come_at_once() -> None:
    _, counts = events(8, batch=64, log_every=6400, epoch_batches=600, save_every=1, first=0, chunk=128)
    assert len([count for count in counts if count == 8]) >= 0.9 * len(counts)


# Epochs of ten batches of 10 images; an evaluation every second epoch.
CALENDAR = TrainConfig(batch_size=10, epochs=3, log_every=250, eval_every=2, save_every=1)


def test_each_event_is_due_after_the_batch_that_crosses_its_period() -> None:
    one = Events(CALENDAR, batch=10, epoch_images=100)
    seen = range(10, 310, 10)
    assert [images for images in seen if one.report_due(images)] == [250, 300]  # and at the end
    assert [images for images in seen if one.evaluation_due(images)] == [200, 300]
    assert [images for images in seen if one.checkpoint_due(images)] == [100, 200, 300]
    assert [images for images in seen if one.done(images)] == [300] == [one.total]


def test_steps_end_where_a_grouping_is_due() -> None:
    """It comes before its epoch, also if nothing else is due between two epochs."""
    config = dataclasses.replace(CALENDAR, log_every=10_000, save_every=3)
    plain = Events(config, batch=10, epoch_images=100)
    grouped = Events(dataclasses.replace(config, grouping=GroupingConfig(at=(1,))), batch=10, epoch_images=100)
    assert plain.steps_ahead(0, 64) == 20 and grouped.steps_ahead(0, 64) == 10
    assert [images for images in range(0, 310, 10) if grouped.grouping_due(images)] == [100]
    assert not any(plain.grouping_due(images) for images in range(0, 310, 10))


def test_pretraining_ends_with_a_report_and_without_an_evaluation() -> None:
    config = dataclasses.replace(CALENDAR, pretrain_epochs=1, eval_every=1, log_every=10_000, save_every=3)
    one = Events(config, batch=10, epoch_images=100)
    seen = range(10, 310, 10)
    assert one.steps_ahead(0, 64) == 10
    assert [images for images in seen if one.pretrains(images)] == list(range(10, 110, 10))
    assert [images for images in seen if one.report_due(images)] == [100, 300]
    assert [images for images in seen if one.evaluation_due(images)] == [200, 300]
