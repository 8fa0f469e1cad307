"""The suggestion of K, from readings made by hand: what is known to be right, and what must not be claimed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fastgan.config.presets import preset
from fastgan.evaluation import choice_of_k, metrics
from fastgan.evaluation.choice_of_k import Level, levels, suggest
from fastgan.evaluation.confusion import MergeCandidate
from fastgan.evaluation.diagnosis import Finding
from fastgan.evaluation.run_reading import RunReading

KIND_N = torch.arange(600) % 6  # six kinds


def reading(
    codes_N: Tensor,
    classes: int,
    seed: int = 0,
    views: float = 0.99,
    merge: Sequence[MergeCandidate] = (),
    hardly: Finding | None = None,
) -> RunReading:
    sizes_K = metrics.cluster_sizes(codes_N, classes)
    return RunReading(
        name=f"k{classes}-seed{seed}",
        config=dataclasses.replace(preset("digits"), classes=classes, seed=seed),
        images_seen=100_000,
        codes_N=codes_N,
        confidences_N=torch.ones(len(codes_N)),
        sizes_K=sizes_K,
        effective=metrics.effective_classes(sizes_K),
        unused=metrics.unused_codes(sizes_K),
        merge=merge,
        views=views,
        silhouette=0.5,
        row={},
        settings={},
        hardly=hardly,
        collapsed="",
    )


def split(parts: int, seed: int) -> Tensor:
    """The six kinds with each cut into `parts` by chance: what a K too large does."""
    generator = torch.Generator().manual_seed(seed)
    return KIND_N * parts + torch.randint(parts, KIND_N.shape, generator=generator)


def joined(seed: int) -> Tensor:
    """Kinds put together in pairs, other ones with another seed: what a K too small does."""
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    return order[KIND_N] // 2


def test_the_k_that_seeds_agree_on_is_suggested() -> None:
    runs = [reading(joined(seed), 3, seed) for seed in range(3)]
    runs += [reading((KIND_N + seed) % 6, 6, seed) for seed in range(3)]
    runs += [reading(split(2, seed), 12, seed) for seed in range(3)]
    found = levels(runs)
    assert [level.classes for level in found] == [3, 6, 12] and [level.runs for level in found] == [3, 3, 3]
    assert found[1].seeds == pytest.approx(1) and not found[0].stable and not found[2].stable
    assert found[1].nested == pytest.approx(1), "twelve only split six"
    suggestion = suggest(found)
    assert suggestion.classes == 6 and "K = 6" in suggestion.title
    assert any("K = 12 is not stable" in reason for reason in suggestion.reasons)


def test_of_several_stable_numbers_the_largest_is_taken() -> None:
    two_N = (KIND_N > 2).long()  # stable too: the same halves with every seed
    runs = [reading(two_N, 2, seed) for seed in (0, 1)] + [reading(KIND_N, 6, seed) for seed in (0, 1)]
    suggestion = suggest(levels(runs))
    assert suggestion.classes == 6
    assert "--classes 12" in suggestion.next_step, "nothing larger was tried"


def test_with_one_seed_transforms_decide_and_a_second_is_asked_for() -> None:
    runs = [reading(joined(0), 3), reading(KIND_N, 6), reading(split(2, 0), 12, views=0.7)]
    suggestion = suggest(levels(runs))
    assert suggestion.classes == 6 and "another --seed" in suggestion.next_step
    assert all("one seed" in reason for reason in suggestion.reasons)


def test_what_is_left_of_codes_too_many_is_the_guess_where_no_k_is_whole() -> None:
    pairs = [MergeCandidate(2 * k, 2 * k + 1, 0.3) for k in range(6)]
    runs = [reading(split(2, seed), 12, seed, merge=pairs) for seed in (0, 1)]
    more = [MergeCandidate(3 * k, 3 * k + part, 0.3) for k in range(6) for part in (1, 2)][:-1]
    runs += [reading(split(3, seed), 18, seed, merge=more) for seed in (0, 1)]
    suggestion = suggest(levels(runs))
    assert suggestion.classes is None and "--classes 6 to 7," in suggestion.next_step


def test_what_is_left_says_nothing_where_it_grows_with_k() -> None:
    """As in runs that have not learned enough, which confuse codes of any K."""
    runs = [reading(split(2, 0), 12, views=0.8, merge=[MergeCandidate(k, k + 1, 0.2) for k in range(8)])]
    runs += [reading(split(4, 0), 24, views=0.8, merge=[MergeCandidate(k, k + 1, 0.2) for k in range(10)])]
    suggestion = suggest(levels(runs))
    assert suggestion.classes is None and "more --epochs first" in suggestion.next_step


def test_chance_groups_get_no_suggestion() -> None:
    generator = torch.Generator().manual_seed(0)
    runs = [
        reading(torch.randint(k, (600,), generator=generator), k, seed, views=0.1) for k in (3, 6) for seed in (0, 1)
    ]
    suggestion = suggest(levels(runs))
    assert suggestion.classes is None and "more than 6" in suggestion.next_step


def test_a_run_that_says_little_does_not_count() -> None:
    hardly = Finding("Hardly trained", "", "")
    assert levels([reading(KIND_N, 6, hardly=hardly)]) == []
    assert [level.runs for level in levels([reading(KIND_N, 6), reading(KIND_N, 6, 1, hardly=hardly)])] == [1]


def test_distinct_counts_groups_of_confused_codes_once_and_unused_ones_never() -> None:
    codes_N = torch.arange(600) % 4  # of six codes two are unused
    merge = [MergeCandidate(0, 1, 0.3), MergeCandidate(1, 2, 0.3)]
    assert reading(codes_N, 6, merge=merge).distinct == 2


def test_a_level_in_between_is_named() -> None:
    good = {"runs": 2, "seeds": 0.95, "views": 0.9, "effective": 5.0, "silhouette": None, "nested": None}
    bad = good | {"seeds": 0.5}
    found = [Level(classes=5, distinct=5, **good), Level(classes=8, distinct=8, **bad)]
    assert choice_of_k.suggest(found).next_step.startswith("Not tried: K = 6 and 7.")
