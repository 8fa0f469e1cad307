"""Two ranks learn what one process learns from the whole batch, and their states stay equal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ports import free_port
from two_ranks import CHECKS, JOB, Found, alone

HERE = Path(__file__).parents[1]
# The same computation in float64, in another order: losses, and the gradients that Adam keeps, to 1e-12.
EXACT = {"atol": 1e-12, "rtol": 1e-12}
# Adam divides a gradient by its size, and so makes much of one that is nothing but rounding: that of a bias before a
# normalisation, which takes it out again (its running mean does not).
LEARNED, SHIFT = {"atol": 1e-11, "rtol": 1e-11}, {"atol": 1e-8, "rtol": 0.0}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Found]]:
    """The results of every check, by rank, from two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common["PYTHONPATH"] = os.pathsep.join(sys.path)
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "two_ranks.py"), str(folder)],
            env={**os.environ, **common, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]


def near(ours: Found, theirs: Found, **tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


def same(ours: Found, theirs: Found) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different


@pytest.mark.parametrize("name", ["paper", "default", "paper, bare", "default, bare", "pretraining"])
def test_two_ranks_learn_what_one_does(ranks: list[dict[str, Found]], name: str) -> None:
    """Losses of every step, and weights, optimisers, averages and counters after the last."""
    expected, found = alone(name), ranks[0][name]
    for name, tolerance in (
        ("losses", EXACT),
        ("exp_avg", EXACT),
        ("bias", SHIFT),
        ("running_mean", SHIFT),
        ("", LEARNED),
    ):
        chosen = [key for key in expected if key.endswith(name)]
        near(
            {key: found[key] for key in chosen if key in found},
            {key: expected.pop(key) for key in chosen},
            **tolerance,
        )
    assert not expected
    assert int(found["images_seen"]) == 6 * JOB  # three of pretraining and three others count as six
    assert (found["prior.logits"] != 0).any()


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ("noise", "order", "unsynchronised")])
def test_ranks_hold_the_same_bit_for_bit(ranks: list[dict[str, Found]], name: str) -> None:
    same(ranks[0][name], ranks[1][name])


@pytest.mark.parametrize("name", ["contrastive", "agreement", "normalisation", "normalisation of many ranks"])
def test_parts_equal_those_of_the_whole_batch(ranks: list[dict[str, Found]], name: str) -> None:
    near(ranks[0][name], alone(name), **EXACT)


@pytest.mark.parametrize(("name", "tolerance"), [("bfloat16", 0.05), ("float16", 0.02)])
def test_mixed_precision_stays_near_one_process(ranks: list[dict[str, Found]], name: str, tolerance: float) -> None:
    near({"losses": ranks[0][name]["losses"]}, {"losses": alone(name)["losses"]}, atol=tolerance, rtol=tolerance)


def test_without_synchronised_normalisation_weights_are_alike_and_averages_are_their_mean(
    ranks: list[dict[str, Found]],
) -> None:
    first, second = (found["unsynchronised"] for found in ranks)
    own = {name for name in first if not torch.equal(first[name], second[name])}
    assert own and all("running_" in name for name in own)
    for name in own:
        torch.testing.assert_close(first[f"settled.{name}"], (first[name] + second[name]) / 2, **EXACT)
        assert torch.equal(first[f"settled.{name}"], second[f"settled.{name}"])


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_what_is_not_finite_on_one_rank_freezes_all(ranks: list[dict[str, Found]], name: str) -> None:
    for found in (rank[f"poisoned {name}"] for rank in ranks):
        assert int(found["first_bad"]) == 2 * JOB
        before = {key.removeprefix("before."): value for key, value in found.items() if key.startswith("before.")}
        moved = {key for key, value in before.items() if not torch.equal(value, found[key])}
        still = {key for key in moved if "num_batches_tracked" not in key}
        learned = {key for key in still if not key.startswith(("networks.front_end", "networks.discriminator"))}
        assert not learned if name == "generator" else not still


def test_noise_is_drawn_in_parts_of_one_batch(ranks: list[dict[str, Found]]) -> None:
    """As one process draws it, each row once."""
    whole = alone("noise")
    for name in ("noise", "codes"):
        drawn = torch.cat([found["noise"][name] for found in ranks], 1)
        if name == "noise":
            assert torch.equal(drawn, whole[name])
            assert len(drawn.flatten(0, 1).unique(dim=0)) == 3 * JOB
        else:
            assert torch.equal(drawn[0], whole[name][0])  # later the prior has learned, in another order


def test_an_epoch_is_shared_out_without_overlap(ranks: list[dict[str, Found]]) -> None:
    for epoch, order in alone("order").items():
        shares = [found["order"][epoch].split(10) for found in ranks]
        batches = len(order) // 20
        assert [len(share) for share in shares] == [batches, batches] and batches > 50
        # Every batch of the job is the next 20 images of the epoch's order: the first rank's ten, then the second's.
        shared_out = torch.cat([torch.cat(batch) for batch in zip(*shares, strict=True)])
        assert torch.equal(shared_out, order[: 20 * batches])
        assert len(shared_out.unique()) == len(shared_out)
