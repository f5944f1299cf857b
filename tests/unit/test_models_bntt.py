"""The networks of batch norm through time: weight for weight as published, their neuron, their coder."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bitspike import BatchNormThroughTime, BernoulliCoder
from bitspike.errors import ConstraintError
from bitspike.models import bntt_lif, bntt_vgg
from bitspike.nn import LIF, Repeat, set_steps
from bitspike.nn.every_step import after_every_step
from bitspike.ops.coding import bernoulli
from bitspike.ops.surrogate import Triangle, spike


@pytest.mark.parametrize(
    ("depth", "steps", "classes", "parameters"),
    [
        (9, 25, 10, 5_993_280),
        (9, 20, 10, 5_982_400),
        (11, 30, 100, 11_929_920),
        (5, 20, 10, 8_648_640),
        (19, 30, 10, 20_749_248),
    ],
)
def test_hybrid_check_04_the_networks_have_the_published_parameters_and_no_bias(
    depth: int, steps: int, classes: int, parameters: int
) -> None:
    with torch.device("meta"):  # counting needs no memory
        net = bntt_vgg(depth=depth, steps=steps, num_classes=classes, encoder=Repeat)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == parameters
    assert not [name for name, _ in net.named_parameters() if name.endswith("bias")]


@pytest.mark.parametrize(
    ("depth", "weights", "gains"),
    [(5, 8_621_760, 1_344), (9, 5_938_880, 2_176), (11, 11_355_840, 6_848), (19, 20_553_408, 6_528)],
)
def test_weights_and_gains_per_step_are_those_of_the_table(depth: int, weights: int, gains: int) -> None:
    with torch.device("meta"):
        net = bntt_vgg(depth=depth, steps=7, encoder=Repeat)
    norms = [m for m in net.modules() if isinstance(m, BatchNormThroughTime)]
    assert sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)) == weights
    assert sum(norm.channels for norm in norms) == gains
    assert {norm.steps for norm in norms} == {7}
    assert len([m for m in net.modules() if isinstance(m, LIF)]) == len(norms)


def test_hybrid_check_02_the_neuron_by_hand() -> None:
    currents, seen = torch.full((3, 1), 0.6), []
    spikes, state = bntt_lif(0.95).scan(currents, observe=lambda h, s: seen.append(h.item()))
    assert spikes.flatten().tolist() == [0, 1, 0]
    assert seen == pytest.approx([0.6, 1.17, 0.7615])
    assert state.item() == pytest.approx(0.7615)
    assert bntt_lif()(torch.ones(1, 1)).item() == 0, "it fires strictly above its threshold"


def test_hybrid_check_03_the_surrogate_is_a_tent_of_three_tenths_and_the_reset_has_no_gradient() -> None:
    distance = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0], requires_grad=True)
    spike(distance, Triangle(width=1.0, height=0.3), "gt").sum().backward()
    assert distance.grad.tolist() == pytest.approx([0.3, 0.15, 0.15, 0, 0, 0, 0])
    assert bntt_lif().rule.surrogate == Triangle(width=1.0, height=0.3)
    x = torch.tensor([[1.5], [0.0]], requires_grad=True)
    bntt_lif(1.0)(x)[1].sum().backward()
    # v = 1.5 - 1 reaches step 2 as if the 1 were a constant: d(spike)/d(x) is the tent at 0.5 - 1.
    assert x.grad.flatten().tolist() == pytest.approx([0.15, 0.15])


def test_hybrid_check_01_the_coder_is_certain_from_two_on_and_silent_at_zero() -> None:
    certain = bernoulli(torch.tensor([2.0, -2.5, 0.0]), 200, divisor=2.0, generator=torch.Generator().manual_seed(1))
    assert (certain == torch.tensor([1.0, -1.0, 0.0])).all()
    half = bernoulli(torch.full((1,), 0.5), 20_000, divisor=2.0, generator=torch.Generator().manual_seed(2))
    assert half.mean().item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("size", [(1,), (3, 2, 5, 5)])
def test_fewer_steps_draw_the_beginning_of_the_same_spikes_and_the_source_goes_on(size: tuple[int, ...]) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(3))
    source = torch.Generator().manual_seed(4)
    whole = bernoulli(x, 6, divisor=2.0, generator=source)
    for steps in range(1, 7):
        first = bernoulli(x, steps, divisor=2.0, generator=torch.Generator().manual_seed(4))
        assert torch.equal(first, whole[:steps])
    parts = torch.Generator().manual_seed(4)
    halves = [bernoulli(x, 3, divisor=2.0, generator=parts) for _ in range(2)]
    assert torch.equal(torch.cat(halves), whole)


def test_a_coder_with_a_source_of_its_own_leaves_the_common_one_alone_and_is_copied_with_it() -> None:
    coder, x = BernoulliCoder(4, divisor=2.0, generator=torch.Generator().manual_seed(5)), torch.randn(2, 3)
    before = torch.get_rng_state()
    copied = copy.deepcopy(coder)
    assert torch.equal(coder(x), copied(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_after_every_step_is_the_beginning_of_the_whole_run_with_the_same_draws() -> None:
    torch.manual_seed(0)
    net = bntt_vgg(depth=5, steps=4, width=1 / 16, image_size=16).eval()
    x = torch.randn(3, 3, 16, 16)
    torch.manual_seed(7)
    every = after_every_step(net, x)
    for steps, logits in enumerate(every, start=1):
        torch.manual_seed(7)
        with set_steps(net, steps):
            assert torch.equal(net(x), logits)


@pytest.mark.parametrize("depth", [5, 9, 11, 19])
def test_a_step_of_training_moves_every_weight_and_every_gain(depth: int) -> None:
    torch.manual_seed(0)
    net = bntt_vgg(depth=depth, steps=2, num_classes=3, width=1 / 32, image_size=32)
    out = net(torch.randn(4, 3, 32, 32) * 2)
    out.square().sum().backward()
    assert out.shape == (4, 3)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_vgg11_takes_larger_images_with_the_same_weights() -> None:
    small, large = (bntt_vgg(depth=11, steps=1, width=1 / 64, image_size=size) for size in (32, 64))
    assert [p.shape for p in small.parameters()] == [p.shape for p in large.parameters()]
    large.load_state_dict(small.state_dict())
    assert large.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 10)


def test_initial_weights_are_xaviers_with_a_gain_of_two() -> None:
    torch.manual_seed(0)
    net = bntt_vgg(depth=5, steps=1, width=1 / 2, image_size=8)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inside, outside = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            bound = 2.0 * (6 / (inside + outside)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound


def test_other_norms_and_depths_are_taken_or_refused() -> None:
    net = bntt_vgg(depth=5, steps=3, width=1 / 16, image_size=8, norm=nn.BatchNorm2d)
    assert len([m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]) == 4
    for depth in (7, 16):
        with pytest.raises(ConstraintError, match=r"allowed are 5, 9, 11, 19\n.*depth=9"):
            bntt_vgg(depth=depth)
    for depth in ("9", None):
        with pytest.raises(ConstraintError, match=r"\n.*depth=9"):
            bntt_vgg(depth=depth)  # type: ignore[arg-type]
