"""Figures of merit against their definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from fastgan.evaluation import metrics
from fastgan.reporting.labels import table
from fastgan.runs import metrics_log
from fastgan.runs.run_folder import RunFolder


def _random_counts(codes: int, classes: int) -> torch.Tensor:
    return torch.randint(0, 50, (codes, classes), generator=torch.Generator().manual_seed(1))


def test_count_matrix_counts_pairs() -> None:
    counts = metrics.count_matrix(torch.tensor([0, 0, 2, 1]), torch.tensor([1, 1, 0, 3]), 3, 4)
    assert counts.tolist() == [[0, 2, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]


def test_entropy_score_is_zero_for_a_permutation_and_log_k_for_uniform_counts() -> None:
    assert metrics.entropy_score(torch.eye(10)[torch.randperm(10)] * 1000) == (0.0, 0)
    score, empty = metrics.entropy_score(torch.full((10, 10), 100))
    assert score == pytest.approx(math.log(10))
    assert empty == 0


def test_entropy_score_by_hand_with_an_empty_column() -> None:
    # Rows: entropies log 2, 0. Columns: (1, 1) -> log 2, (1, 0) -> hmm of [2, 0] is 0, and an empty one -> log 3.
    counts = torch.tensor([[2, 2, 0], [2, 0, 0], [1, 0, 0]])
    rows = [math.log(2), 0.0, 0.0]
    column = [2 / 5, 2 / 5, 1 / 5]
    columns = [-sum(p * math.log(p) for p in column), 0.0, math.log(3)]
    score, empty = metrics.entropy_score(counts)
    assert score == pytest.approx((sum(rows) + sum(columns)) / 6)
    assert empty == 1


def test_nmi_equals_scikit_learn_on_the_spelled_out_labels() -> None:
    counts = _random_counts(7, 10)
    codes = [k for k in range(7) for c in range(10) for _ in range(int(counts[k, c]))]
    labels = [c for k in range(7) for c in range(10) for _ in range(int(counts[k, c]))]
    expected = normalized_mutual_info_score(labels, codes)
    assert metrics.normalised_mutual_information(counts) == pytest.approx(expected)


def test_nmi_is_one_for_a_permutation_and_zero_for_independence() -> None:
    assert metrics.normalised_mutual_information(torch.eye(4).long()[[2, 0, 3, 1]] * 9) == pytest.approx(1.0)
    assert metrics.normalised_mutual_information(torch.full((4, 4), 9)) == pytest.approx(0.0, abs=1e-9)


def test_matching_is_one_to_one_and_best() -> None:
    # Greedy by rows would give class 0 to code 0; the best total gives it to code 1.
    counts = torch.tensor([[10, 9], [10, 0]])
    assert metrics.match_codes(counts).tolist() == [1, 0]


def test_prior_error_undoes_the_permutation() -> None:
    frequencies = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    permutation = torch.tensor([2, 0, 1])
    counts = torch.eye(3).long()[permutation] * 100
    assert metrics.prior_error(frequencies[permutation], frequencies, counts) == pytest.approx(0.0, abs=1e-12)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert metrics.prior_error(uniform, frequencies, counts) == pytest.approx(
        float((uniform - frequencies).square().mean().sqrt())
    )


def test_prior_error_adds_up_codes_of_one_class() -> None:
    frequencies = torch.tensor([0.7, 0.3], dtype=torch.float64)
    prior = torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64)
    counts = torch.tensor([[9, 1], [8, 2], [0, 10]])
    assert metrics.prior_error(prior, frequencies, counts) == pytest.approx(0.0, abs=1e-12)


def test_clustering_is_perfect_up_to_names() -> None:
    labels = torch.arange(30) % 3
    found = metrics.clustering((labels + 1) % 3, labels, 3, 3)
    perfect = dict.fromkeys(("accuracy", "macro_accuracy", "rarest_recall", "nmi", "ami", "ari"), pytest.approx(1.0))
    assert found == {**perfect, "share_error": 0.0}


def test_clustering_of_a_lost_rare_class() -> None:
    """Eight images of class 0, of which two have a code of their own, and two of class 1, which share the others'."""
    labels, codes = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 6 + [1] * 2 + [0] * 2)
    found = metrics.clustering(codes, labels, 2, 2)
    assert found["accuracy"] == pytest.approx(0.6) and found["macro_accuracy"] == pytest.approx((6 / 8 + 0) / 2)
    assert found["rarest_recall"] == 0.0 and found["share_error"] == pytest.approx(0.0)
    assert found["ami"] < found["nmi"] + 1e-9 and found["ari"] < 0.1
    assert metrics.clustering(codes, labels, 2, 2, rarest=0)["rarest_recall"] == pytest.approx(6 / 8)


def test_clustering_leaves_out_classes_without_images() -> None:
    labels = torch.tensor([0, 0, 2, 2])
    found = metrics.clustering(labels, labels, 3, 3)
    assert found["macro_accuracy"] == found["rarest_recall"] == 1.0


def test_frechet_distance_of_equal_and_of_shifted_sets() -> None:
    features = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    assert metrics.frechet_distance(features, features) == pytest.approx(0.0, abs=1e-8)
    # A shift adds its squared length; a scale s adds (1 - s)^2 times the total variance.
    assert metrics.frechet_distance(features, features + 0.5) == pytest.approx(8 * 0.25, rel=1e-6)
    centred = features - features.mean(0)
    variance = float(torch.cov(features.T).trace())
    assert metrics.frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance, rel=1e-5)


def test_frechet_distance_bears_dead_features() -> None:
    """A judge's hidden unit that never fires makes the covariance singular."""
    features = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    features[:, 2] = 0
    assert metrics.frechet_distance(features, features + 1) == pytest.approx(4.0, rel=1e-6)


def test_mean_pairwise_distance() -> None:
    assert metrics.mean_pairwise_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)
    assert math.isnan(metrics.mean_pairwise_distance(torch.zeros(1, 2)))


def test_effective_classes() -> None:
    assert metrics.effective_classes(torch.full((10,), 0.1)) == pytest.approx(10.0)
    assert metrics.effective_classes(torch.tensor([1.0, 0.0])) == pytest.approx(1.0)


def test_log_keeps_whole_rows_and_drops_what_a_resumed_run_writes_again(tmp_path: Path) -> None:
    log = metrics_log.MetricsLog(tmp_path / "metrics.jsonl")
    assert log.rows() == []
    for images in (10, 20, 30):
        log.append({"images_seen": images, "nmi": math.nan})
    with log.path.open("a") as file:
        file.write('{"images_seen": 4')  # a kill in the middle of a line
    assert [row["images_seen"] for row in log.rows()] == [10, 20, 30]
    assert log.rows()[0]["nmi"] is None
    log.keep_until(20)
    log.append({"images_seen": 25})
    assert [row["images_seen"] for row in log.rows()] == [10, 20, 25]


def test_of_many_ranks_one_writes_the_log(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    main, other = metrics_log.RunLog(run), metrics_log.RunLog(run, writes=False)
    for log in (main, other):
        with log.opened(0):
            log.append({"images_seen": 10})
    assert other.rows() == main.rows() == [{"images_seen": 10}]


def test_log_leaves_out_what_no_run_writes(tmp_path: Path) -> None:
    log = metrics_log.MetricsLog(tmp_path / "metrics.jsonl")
    good = {"images_seen": 10, "nmi": None, "d_loss": 1.5, "codes": 3}
    damaged = ['{"images_seen": "10"}', '{"images_seen": null}', '{"d_loss": 1.0}', '{"images_seen": 1, "nmi": [2]}']
    damaged += [
        '{"images_seen": 1, "nmi": 1e999}',
        '{"images_seen": 1, "nmi": NaN}',
        '{"images_seen": 1.5}',
        "5",
        "null",
    ]
    damaged += [
        "[" * 200_000,
        '{"images_seen": ' + "9" * 5_000 + "}",
        '{"images_seen": 1, "nmi": ' + "9" * 400 + "}",
        "}",
    ]
    log.path.write_text("\n".join([*damaged, json.dumps(good), *damaged]), encoding="utf-8")
    assert log.rows() == [good]
    log.keep_until(10)
    assert log.rows() == [good] and len(log.path.read_text().splitlines()) == 1


def test_table_shows_figures_that_are_there() -> None:
    text = table({"nmi": 0.8125, "unused_codes": 2, "ent": None})
    assert "0.8125" in text
    assert "2" in text.splitlines()[1]
    assert "ENT" not in text
