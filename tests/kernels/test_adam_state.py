"""FusedAdam's state, which is interchangeable with that of torch.optim.Adam, and the arguments it refuses."""

from __future__ import annotations

import copy
import io
import pickle
import re
from typing import Any

import pytest
import torch
from tolerances import close
from torch import Tensor, nn

from kernels.adam.op import FusedAdam

SHAPES: list[tuple[int, ...]] = [(), (3, 5), (17,), (2, 100)]
OPTIONS: dict[str, Any] = {"lr": 2e-4, "betas": (0.5, 0.999)}


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def train(optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps of random gradients that depend only on the step's number."""
    leaves = [p for group in optimizer.param_groups for p in group["params"]]
    if isinstance(optimizer, FusedAdam):
        leaves = [optimizer.shadow_parameters().get(p, p) for p in leaves]
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for leaf in leaves:
            leaf.grad = torch.randn(leaf.shape, generator=generator).to(leaf.dtype)
        optimizer.step()


def saved(value: Any) -> Any:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_equal(ours: list[nn.Parameter], theirs: list[nn.Parameter]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), **close(torch.float32, 0.01))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("start", [0, 5])
def test_continues_from_a_torch_state(fused: bool, start: int) -> None:
    """Five steps of torch's Adam, then five of ours, equal ten of torch's; also from its empty first state."""
    theirs, ours = parameters(), parameters()
    other, adam = torch.optim.Adam(theirs, fused=fused, **OPTIONS), FusedAdam(ours, lr=1.0)
    flat, places = adam.param_groups[0]["lr"], [adam.state[p]["exp_avg"].data_ptr() for p in ours]
    train(adam, 90, 93)  # to be forgotten
    train(other, 0, start)
    for a, b in zip(ours, theirs, strict=True):
        a.data.copy_(b.detach())
    adam.load_state_dict(saved(other.state_dict()))
    for optimizer in (adam, other):
        train(optimizer, start, 10)
    assert_equal(ours, theirs)
    # In place: a captured graph keeps its tensors.
    assert adam.param_groups[0]["lr"] is flat and adam.param_groups[0]["betas"] == OPTIONS["betas"]
    assert [adam.state[p]["exp_avg"].data_ptr() for p in ours] == places


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("start", [0, 5])
def test_torch_continues_from_our_state(fused: bool, start: int) -> None:
    sides = parameters(), parameters(), parameters()
    adam, other, whole = (
        FusedAdam(sides[0], **OPTIONS),
        torch.optim.Adam(sides[1], lr=1.0, fused=fused),
        torch.optim.Adam(sides[2], **OPTIONS),
    )
    train(adam, 0, start)
    state = adam.state_dict()
    for a, b in zip(sides[1], sides[0], strict=True):
        a.data.copy_(b.detach())
    before = copy.deepcopy(state)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 2e-4
    train(other, start, 10)
    train(whole, 0, 10)
    assert_equal(sides[1], sides[2])
    assert other.state[sides[1][0]]["step"] == 10
    # torch keeps and writes into what it loads: none of it may be ours.
    for index, entry in adam.state_dict()["state"].items():
        assert all(torch.equal(value, before["state"][index][name]) for name, value in entry.items())


@pytest.mark.parametrize("through", [saved, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_loaded_state_continues_bit_for_bit(through: Any) -> None:
    """Two groups, one with low-precision copies, which are refreshed; the loaded optimizer continues bit for bit."""

    def build() -> tuple[list[nn.Parameter], FusedAdam]:
        leaves = parameters()
        groups = [{"params": leaves[:2], "shadow_dtype": None, "lr": 0.1}, {"params": leaves[2:]}]
        return leaves, FusedAdam(groups, shadow_dtype=torch.bfloat16, **OPTIONS)

    (leaves, adam), (others, second) = build(), build()
    scheduler = torch.optim.lr_scheduler.StepLR(adam, 2)
    train(adam, 0, 5)
    scheduler.step()
    state = through(adam.state_dict())
    assert all(type(group["lr"]) is float for group in state["param_groups"])
    for a, b in zip(others, leaves, strict=True):
        a.data.copy_(b.detach())
    second.load_state_dict(state)
    for master, shadow in second.shadow_parameters().items():
        assert torch.equal(shadow.detach(), master.detach().to(torch.bfloat16))
    assert [float(group["initial_lr"]) for group in second.param_groups] == pytest.approx([0.1, 2e-4])
    for optimizer in (adam, second):
        train(optimizer, 5, 8)
    assert all(torch.equal(a, b) for a, b in zip(leaves, others, strict=True))
    assert [g["shadow_dtype"] for g in second.param_groups] == [None, torch.bfloat16]


def _change(state: dict[str, Any], **values: Any) -> dict[str, Any]:
    state["param_groups"][0].update(values)
    return state


@pytest.mark.parametrize(
    "words, damage",
    [
        ("weight_decay", lambda s: _change(s, weight_decay=0.1)),
        ("amsgrad", lambda s: _change(s, amsgrad=True)),
        ("maximize", lambda s: _change(s, maximize=True)),
        ("lr -1.0", lambda s: _change(s, lr=-1.0)),
        ("betas (0.5, 1.0)", lambda s: _change(s, betas=(0.5, 1.0))),
        ("steps", lambda s: s["state"][1].update(step=torch.tensor(3.0)) or s),
        ("steps", lambda s: s["state"].pop(1) and s),
        ("exp_avg", lambda s: s["state"][1].update(exp_avg=torch.zeros(5)) or s),
        ("doesn't match the size", lambda s: s["param_groups"][0]["params"].pop() and s),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(words: str, damage: Any) -> None:
    adam = FusedAdam(parameters(), **OPTIONS)
    train(adam, 0, 2)
    before, state = adam.state_dict(), damage(adam.state_dict())
    with pytest.raises(ValueError, match=re.escape(words)):
        adam.load_state_dict(state)
    after = adam.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for index, entry in after["state"].items():
        assert all(torch.equal(value, before["state"][index][name]) for name, value in entry.items())


def _p(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize(
    "words, params, options",
    [
        ("params", [], {}),
        ("params", [{"params": []}], {}),
        ("params", [_p(0)], {}),
        ("params", [_p(3), _p(3, dtype=torch.float64)], {}),
        ("params", [_p(3), nn.Parameter(torch.zeros(3, device="meta"))], {}),
        ("params", [nn.Parameter(torch.zeros(1).expand(3))], {}),
        ("params", [nn.Parameter(torch.zeros(3, 4)[:, ::2])], {}),
        ("lr -0.1", [_p(3)], {"lr": -0.1}),
        ("lr nan", [_p(3)], {"lr": float("nan")}),
        ("betas", [_p(3)], {"betas": (1.0, 0.9)}),
        ("betas", [_p(3)], {"betas": (0.9, -0.1)}),
        ("betas", [_p(3)], {"betas": (0.9,)}),
        ("eps", [_p(3)], {"eps": -1e-8}),
        ("eps", [{"params": [_p(3)], "eps": -1.0}], {}),
        ("shadow_dtype", [_p(3)], {"shadow_dtype": torch.float64}),
        ("weight_decay: not supported", [{"params": [_p(3)], "weight_decay": 0.1}], {}),
        ("amsgrad: not supported", [{"params": [_p(3)], "amsgrad": True}], {}),
        ("maximize: not supported", [{"params": [_p(3)]}, {"params": [_p(3)], "maximize": True}], {}),
        ("weight_decay, amsgrad", [{"params": [_p(3)], "weight_decay": 0.1, "amsgrad": True}], {}),
        ("differentiable", [{"params": [_p(3)], "differentiable": True}], {}),
    ],
)
def test_bad_arguments_are_named(words: str, params: list[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words):
        FusedAdam(params, **{"lr": 1e-3, **options})


def test_options_that_are_off_are_no_options() -> None:
    """A group of torch.optim.Adam's may come with all of them."""
    off = {"weight_decay": 0, "amsgrad": False, "maximize": False, "foreach": None, "fused": True, "name": "all"}
    adam = FusedAdam([{"params": [_p(3)], **off}], lr=1e-3)
    adam.step()
    assert adam.param_groups[0]["name"] == "all"


def test_an_option_that_is_set_later_is_refused() -> None:
    parameter = _p(3)
    adam = FusedAdam([parameter], lr=1e-3)
    parameter.grad = torch.ones(3)
    adam.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(ValueError, match="weight_decay: not supported"):
        adam.step()
    assert (parameter == 0).all() and adam.state[parameter]["step"] == 0


@pytest.mark.parametrize("gather", [False, True])
def test_sparse_gradients_are_refused(gather: bool) -> None:
    """As an embedding gives them; nothing has changed by then, in no group."""
    embedding, other = nn.Embedding(5, 3, sparse=True), _p(4)
    before = embedding.weight.detach().clone()
    adam = FusedAdam([{"params": [other]}, {"params": [_p(2), embedding.weight]}], lr=1e-3)
    other.grad = torch.ones(4)
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match=r"parameter 1 of its group, \[5, 3\], is torch.sparse"):
        if gather:
            _ = adam.flat_grad
        else:
            adam.step()
    assert (other == 0).all() and torch.equal(embedding.weight, before)


@pytest.mark.parametrize("value", [1.0, torch.ones(2), torch.ones((), device="meta")])
@pytest.mark.parametrize("name", ["grad_scale", "found_inf"])
def test_bad_step_arguments_are_named(name: str, value: float | Tensor) -> None:
    with pytest.raises(ValueError, match=name):
        FusedAdam([_p(3)], lr=1e-3).step(**{name: value})


def test_a_bad_rate_is_refused() -> None:
    adam = FusedAdam([_p(3)], lr=1e-3)
    with pytest.raises(ValueError, match="lr -1"):
        adam.set_lr(-1.0)
    assert adam.param_groups[0]["lr"].item() == pytest.approx(1e-3)


def test_parameters_that_left_are_noticed() -> None:
    net = nn.Linear(3, 2)
    adam = FusedAdam(net.parameters(), lr=1e-3)
    net.double()
    with pytest.raises(ValueError, match="left its flat buffer"):
        adam.step()


def test_gradients_of_a_master_with_a_copy_are_refused() -> None:
    """A forward pass that read the master by mistake would train nothing."""
    adam = FusedAdam([master := _p(3)], lr=1e-3, shadow_dtype=torch.bfloat16)
    master.sum().backward()
    with pytest.raises(ValueError, match="shadow_parameters"):
        adam.step()


def test_grad_scaler_with_shadows_is_refused() -> None:
    adam = FusedAdam([master := _p(3)], lr=1e-3, shadow_dtype=torch.float16)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(adam.shadow_parameters()[master].sum()).backward()
    with pytest.raises(ValueError, match="found_inf"):
        scaler.step(adam)


def test_the_optimizer_itself_is_not_copied() -> None:
    adam = FusedAdam([_p(3)], lr=1e-3)
    for through in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="state_dict"):
            through(adam)


def test_a_group_added_later() -> None:
    first, second = _p(3), _p(4)
    adam = FusedAdam([first], lr=0.1)
    adam.add_param_group({"params": [second], "lr": 0.2})
    (first.sum() + second.sum()).backward()
    adam.step()
    torch.testing.assert_close(first.detach(), torch.full((3,), -0.1))
    torch.testing.assert_close(second.detach(), torch.full((4,), -0.2))
    with pytest.raises(ValueError, match="params"):
        adam.add_param_group({"params": []})
    assert len(adam.param_groups) == 2


def test_a_graph_that_needs_old_weights_is_refused() -> None:
    """As with torch's Adam: backward after a step would silently mix old and new weights."""
    weight = nn.Parameter(torch.ones(3))
    adam = FusedAdam([weight], lr=0.1)
    loss = (weight * weight.detach().clone().requires_grad_()).sum()
    adam.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_closure_computes_the_loss() -> None:
    weight = nn.Parameter(torch.ones(3))
    adam = FusedAdam([weight], lr=0.1)

    def closure() -> Tensor:
        adam.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert adam.step(closure) == 3.0
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.9))
