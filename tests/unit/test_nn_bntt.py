"""Batch norm through time: a batch norm of torch at every step, no shift, and never a step that it has not learned."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bitspike import BatchNormThroughTime, checkpoint_layers
from bitspike.errors import ConstraintError
from bitspike.models import digits_net
from bitspike.nn import LIF, Chain, Repeat, SumReadout, TimeDistributed, fuse, set_steps
from bitspike.nn.norms.base import affine
from bitspike.train.optimizers import SGD, AdamW

STEPS = 4


def trained(channels: int = 3, steps: int = STEPS, dims: int = 2) -> BatchNormThroughTime:
    """Return a norm with gains and statistics that differ from step to step."""
    norm = BatchNormThroughTime(channels, steps=steps)
    nn.init.uniform_(norm.weight, 0.2, 2.0)
    for _ in range(3):
        norm(
            torch.randn(steps, 8, channels, *[5] * dims) * torch.arange(1.0, steps + 1).view(-1, *[1] * (2 + dims)) + 1
        )
    return norm.eval()


def apart(norm: BatchNormThroughTime, kind: type[nn.Module]) -> list[nn.Module]:
    """Return the T batch norms of torch that a norm stands for."""
    parts = []
    for t in range(norm.steps):
        part = kind(norm.channels, norm.eps, norm.momentum)  # type: ignore[call-arg]
        part.bias = None
        part.load_state_dict(
            {
                "weight": norm.weight[t].detach(),
                "running_mean": norm.running_mean[t],
                "running_var": norm.running_var[t],
                "num_batches_tracked": torch.tensor(0),
            }
        )
        parts.append(part.train(norm.training))
    return parts


@pytest.mark.parametrize(
    ("kind", "space"),
    [(nn.BatchNorm1d, ()), (nn.BatchNorm1d, (7,)), (nn.BatchNorm2d, (5, 6)), (nn.BatchNorm3d, (2, 3, 4))],
)
@pytest.mark.parametrize("training", [True, False])
def test_every_step_is_a_batch_norm_of_torch_without_a_shift(
    kind: type[nn.Module], space: tuple[int, ...], training: bool
) -> None:
    norm = trained(dims=len(space)).train(training)
    parts = apart(norm, kind)
    x = torch.randn(STEPS, 6, 3, *space, requires_grad=True)
    theirs = x.detach().clone().requires_grad_()
    ours, wanted = norm(x), torch.stack([part(step) for part, step in zip(parts, theirs, strict=True)])
    assert torch.equal(ours, wanted)
    for result in (ours, wanted):
        (result * torch.arange(1.0, 1 + result.numel()).view_as(result).sin()).sum().backward()
    assert torch.equal(x.grad, theirs.grad)
    assert torch.equal(norm.weight.grad, torch.stack([part.weight.grad for part in parts]))
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(norm, name), torch.stack([getattr(part, name) for part in parts]))


def test_hybrid_check_05_a_forward_in_training_moves_the_statistics_of_every_step() -> None:
    norm = BatchNormThroughTime(3, steps=STEPS)
    norm(torch.randn(STEPS, 6, 3, 5, 5) + torch.arange(1.0, 1 + STEPS).view(-1, 1, 1, 1, 1))
    means = norm.running_mean.mean(1)
    assert (norm.running_mean != 0).all()
    assert (norm.running_var != 1).all()
    assert means.sort().values.tolist() == means.tolist()


def network(steps: int = STEPS) -> nn.Sequential:
    net = nn.Sequential(
        Repeat(steps),
        TimeDistributed(nn.Conv2d(1, 3, 3, bias=False), trained(steps=steps)),
        LIF(0.5),
        TimeDistributed(nn.Flatten(), nn.Linear(48, 4, bias=False)),
        SumReadout(),
    )
    return net.eval()


def each_step(net: nn.Sequential, x: Tensor) -> Tensor:
    """Return the logits of every step, before they are added up."""
    logits: Tensor = net[:-1](x)
    return logits


@pytest.mark.parametrize("changed", range(STEPS))
def test_hybrid_check_05_the_gain_of_a_step_reaches_no_step_before_it(changed: int) -> None:
    net, x = network(), torch.rand(5, 1, 6, 6) * 4
    before = each_step(net, x)
    with torch.no_grad():
        net[1][1].weight[changed] *= 3
    after = each_step(net, x)
    assert torch.equal(after[:changed], before[:changed])
    assert not torch.equal(after[changed:], before[changed:])


def test_hybrid_check_05_a_shorter_run_is_the_beginning_of_the_whole_one_whatever_comes_after() -> None:
    net, x = network(), torch.rand(5, 1, 6, 6) * 4
    for shorter in range(1, STEPS + 1):
        with set_steps(net, shorter):
            accumulated = net(x)
        assert torch.equal(accumulated, each_step(net, x)[:shorter].sum(0))
    with torch.no_grad():
        net[1][1].weight[2:] = 7.0
        net[1][1].running_mean[2:] -= 3.0
    with set_steps(net, 2):
        assert torch.equal(net(x), each_step(net, x)[:2].sum(0))


def test_more_steps_than_were_trained_are_refused_with_the_ways_out_that_work() -> None:
    net, x = network(), torch.rand(2, 1, 6, 6)
    with (
        set_steps(net, STEPS + 1),
        pytest.raises(
            ConstraintError, match=r"got 5 steps: it has statistics and gains for 4\n.*set_steps\(model, 4\).*steps=5"
        ),
    ):
        net(x)
    with set_steps(net, STEPS):
        net(x)


@pytest.mark.parametrize(
    ("shape", "training"),
    [((STEPS, 2, 2, 5), False), ((STEPS, 3), False), ((0, 2, 3), False), ((STEPS, 1, 3), True), ((STEPS, 0, 3), True)],
)
def test_shapes_that_it_does_not_take_are_refused_and_leave_no_trace(shape: tuple[int, ...], training: bool) -> None:
    norm = trained().train(training)
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(ConstraintError, match=r"BatchNormThroughTime\(3, steps=4\) got \[(.|\n)*fix: "):
        norm(torch.zeros(shape))
    assert all(torch.equal(values, before[name]) for name, values in norm.state_dict().items())


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, None])
def test_a_number_of_steps_that_is_none_is_refused(steps: object) -> None:
    with pytest.raises(ConstraintError, match="steps="):
        BatchNormThroughTime(3, steps=steps)  # type: ignore[arg-type]


def test_on_a_grid_gains_and_shifts_are_whole_multiples_in_training_too_and_learn_as_without() -> None:
    norm, plain = BatchNormThroughTime(3, steps=STEPS, grid=2**-6), BatchNormThroughTime(3, steps=STEPS)
    nn.init.uniform_(norm.weight, 0.2, 2.0)
    plain.load_state_dict(norm.state_dict())
    for training in (True, True, False):
        x = torch.randint(-8, 9, (STEPS, 6, 3, 5, 5)) / 8
        y = norm.train(training)(x)
        wanted = plain.train(training)(x)
        assert torch.equal(y * 2**9, (y * 2**9).round())
        torch.testing.assert_close(y, wanted, atol=2**-5, rtol=2**-5)
        y.square().sum().backward()
        wanted.square().sum().backward()
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(norm, name), getattr(plain, name))
    torch.testing.assert_close(norm.weight.grad, plain.weight.grad, rtol=0.1, atol=0.1 * plain.weight.grad.abs().max())
    gain, shift = affine(norm)
    assert all(torch.equal(values * 64, (values * 64).round()) for values in (gain, shift))


@pytest.mark.parametrize("grid", [0.3, 0.0, -0.5, float("nan")])
def test_a_grid_that_is_no_power_of_two_is_refused(grid: float) -> None:
    with pytest.raises(ConstraintError, match="grid="):
        BatchNormThroughTime(3, steps=2, grid=grid)


def test_an_empty_batch_is_normalized_in_evaluation() -> None:
    assert trained()(torch.zeros(STEPS, 0, 3, 5, 5)).shape == (STEPS, 0, 3, 5, 5)


def test_one_step_one_channel_is_a_batch_norm() -> None:
    norm, x = trained(1, 1), torch.randn(1, 4, 1, 3, 3)
    (part,) = apart(norm, nn.BatchNorm2d)
    assert torch.equal(norm(x)[0], part(x[0]))


def test_the_law_of_every_step_is_given_in_double_precision() -> None:
    norm, x = trained().double(), torch.randn(STEPS, 6, 3, 5, 5, dtype=torch.float64)
    gain, shift = (values.view(STEPS, 1, 3, 1, 1) for values in affine(norm))
    torch.testing.assert_close(norm(x), gain * x + shift, rtol=1e-12, atol=1e-12)


def test_a_chain_and_a_chain_that_runs_again_give_the_same_values_gradients_and_statistics() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(
        TimeDistributed(nn.Conv2d(1, 3, 3, bias=False), BatchNormThroughTime(3, steps=STEPS)), LIF(0.5)
    )
    again, x = fuse(copy.deepcopy(plain)), torch.randn(STEPS, 6, 1, 40, 40)
    assert isinstance(again, Chain)
    checkpoint_layers(again)
    for net in (plain, again):
        net(x).square().sum().backward()
    for (name, ours), theirs in zip(again.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    for ours, theirs in zip(again.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_half_precision_keeps_its_statistics_wide() -> None:
    layers = TimeDistributed(nn.Conv2d(1, 3, 3, bias=False), BatchNormThroughTime(3, steps=2))
    with torch.autocast("cpu", torch.bfloat16):
        y = layers(torch.randn(2, 4, 1, 8, 8))
    assert y.dtype == torch.bfloat16
    assert layers[1].running_mean.dtype == torch.float32
    y.float().sum().backward()
    assert layers[1].weight.grad.dtype == torch.float32


def test_it_compiles_and_maps_over_models_in_evaluation() -> None:
    norm, x = trained(), torch.randn(STEPS, 6, 3, 5, 5)
    assert torch.equal(torch.compile(norm, backend="eager", fullgraph=True)(x), norm(x))
    many = torch.randn(2, STEPS, 6, 3, 5, 5)
    torch.testing.assert_close(torch.vmap(norm)(many), torch.stack([norm(each) for each in many]))


def test_a_bare_class_has_no_steps_and_says_how_to_give_them() -> None:
    with pytest.raises(ConstraintError, match=r"number of steps is missing\n.*steps=T"):
        digits_net(norm=BatchNormThroughTime)
    net = digits_net(steps=4, norm=lambda channels: BatchNormThroughTime(channels, steps=4))
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("optimizer", [SGD(weight_decay=0.1), AdamW(weight_decay=0.1)])
def test_gains_of_every_step_do_not_decay_unless_norms_are_to(optimizer: SGD | AdamW) -> None:
    net = network()
    decays = {id(p): group["weight_decay"] for group in optimizer.build(net).param_groups for p in group["params"]}
    every = {g["weight_decay"] for g in dataclasses.replace(optimizer, decay_norms=True).build(net).param_groups}
    assert every == {0.1}
    assert {name: decays[id(p)] for name, p in net.named_parameters()} == {
        "1.0.weight": 0.1, "1.1.weight": 0.0, "3.1.weight": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize("library", ["snnTorch", "SpikingJelly"])
@pytest.mark.parametrize("training", [True, False])
def test_it_equals_the_layers_of_others_with_their_settings(library: str, training: bool) -> None:
    ours = BatchNormThroughTime(3, steps=STEPS, eps=1e-5, momentum=0.1)
    nn.init.uniform_(ours.weight, 0.2, 2.0)
    if library == "snnTorch":
        theirs = pytest.importorskip("snntorch", reason="snnTorch comes with the extra readers").BatchNormTT2d(
            3, STEPS, eps=1e-5
        )
        parts = list(theirs)
    else:
        layers = pytest.importorskip(
            "spikingjelly.activation_based.layer", reason="SpikingJelly comes with the extra bench"
        )
        theirs = layers.BatchNormThroughTime2d(STEPS, 3, step_mode="m")
        parts = list(theirs.bn_list)
    for part, gains in zip(parts, ours.weight, strict=True):
        part.weight.data.copy_(gains.detach())

    def run(x: Tensor) -> Tensor:
        if library == "snnTorch":
            return torch.stack([part(step) for part, step in zip(parts, x, strict=True)])
        theirs.reset()
        result: Tensor = theirs(x)
        return result

    x = torch.randn(STEPS, 6, 3, 5, 5)
    assert torch.equal(ours(x), run(x))
    ours.train(training)
    theirs.train(training)
    x = torch.randn(STEPS, 6, 3, 5, 5)
    assert torch.equal(ours(x), run(x))
    assert torch.equal(ours.running_var, torch.stack([part.running_var for part in parts]))
    again = BatchNormThroughTime(3, steps=STEPS, eps=1e-5).train(training)
    again.load_state_dict(theirs.state_dict())
    assert torch.equal(again(x), ours(x))


@pytest.mark.parametrize("inside", ["", "bn_list."], ids=["a list of norms", "SpikingJelly"])
def test_a_state_of_t_batch_norms_becomes_rows(inside: str) -> None:
    norm = trained()
    theirs = {
        f"1.1.{inside}{t}.{name}": values
        for t, part in enumerate(apart(norm, nn.BatchNorm2d))
        for name, values in part.state_dict().items()
    }
    net = network()
    whole = {name: values for name, values in net.state_dict().items() if not name.startswith("1.1.")}
    net.load_state_dict(whole | theirs)
    for name, values in norm.state_dict().items():
        assert torch.equal(net[1][1].state_dict()[name], values)
    assert sorted(net.state_dict()) == sorted(network().state_dict())


def test_a_state_of_another_number_of_norms_or_with_shifts_is_refused() -> None:
    parts = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(STEPS + 1))
    with pytest.raises(RuntimeError, match="5 batch norms, one for each step, and this norm has 4 steps"):
        trained().load_state_dict(parts.state_dict())
    nn.init.ones_(parts[1].bias)
    with pytest.raises(RuntimeError, match=r"shifts \(bias\)"):
        trained().load_state_dict(parts[:STEPS].state_dict())
    nn.init.zeros_(parts[1].bias)
    trained().load_state_dict(parts[:STEPS].state_dict())
    state = parts[:STEPS].state_dict()
    del state["2.weight"]
    with pytest.raises(RuntimeError, match="weight"):
        trained().load_state_dict(state)


@pytest.mark.parametrize("numbers", [{"momentum": None}, {"momentum": 7.0}, {"eps": 0.0}, {"eps": -1.0}])
def test_eps_and_momentum_are_checked_where_they_are_given(numbers: dict[str, float]) -> None:
    with pytest.raises(ConstraintError, match="a momentum from 0 to 1"):
        BatchNormThroughTime(2, steps=1, **numbers)


def test_states_of_norms_that_differ_in_channels_are_named() -> None:
    state = {f"{t}.{name}": torch.ones(2 + t) for t in range(2) for name in ("weight", "running_mean", "running_var")}
    with pytest.raises(RuntimeError, match="different numbers of channels"):
        BatchNormThroughTime(2, steps=2).load_state_dict(state)
