"""The spike-element-wise networks: their block, their layers weight for weight, and their neuron's gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.models import sew_7b_net, sew_net, sew_resnet, sew_wide_7b_net
from bitspike.models.spiking.sew import sew_block
from bitspike.nn import IF, LIF, PLIF, Neuron, ShiftBatchNorm
from bitspike.ops.surrogate import ArcTan

NEURONS: dict[str, Callable[[], Neuron]] = {
    "if": IF,
    "hard": lambda: IF(reset="hard", detach_reset=True),
    "plif": PLIF,
    "slow plif": lambda: PLIF(tau=5.0, threshold=0.7),
    "strict": lambda: LIF(0.25, fire="gt"),
    "leaks after": lambda: LIF(0.5, leak="after"),
    "floor": lambda: LIF(0.75, leak="after", resolution=2**-4, threshold=0.3),
    "begins low": lambda: LIF(initial=-3.0),
    "resets low": lambda: LIF(0.5, reset="hard", v_reset=-1.0),
    "low in channels": lambda: IF(torch.linspace(0.1, 9.0, 6), initial=torch.linspace(-2.0, 1.0, 6)),
}


def spikes(steps: int = 4, samples: int = 3, channels: int = 6, side: int = 5, *, most: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, most + 1, (steps, samples, channels, side, side), generator=generator).float()


def block(connect: str, *, neuron: Callable[[], Neuron] = PLIF, out: int = 6, **more: object) -> nn.Module:
    torch.manual_seed(0)
    return sew_block(6, out, neuron=neuron, norm=nn.BatchNorm2d, connect=connect, **more)


# ---- the block ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_cbp_check_09_with_add_and_a_branch_of_zeros_a_block_is_the_identity(training: bool) -> None:
    net, s = block("add").train(training), spikes(most=3)
    with torch.no_grad():
        net.layer2.conv.weight.zero_()
    assert torch.equal(net(s), s)


@pytest.mark.parametrize("training", [True, False])
def test_cbp_check_09_iand_of_a_silent_branch_returns_the_shortcut(training: bool) -> None:
    net, s = block("iand").train(training), spikes()
    with torch.no_grad():
        net.layer2.norm.weight.zero_()
    assert torch.equal(net(s), s)


@pytest.mark.parametrize("out", [6, 9])
def test_cbp_check_09_what_add_sends_are_whole_numbers_and_none_is_negative(out: int) -> None:
    net, s = nn.Sequential(*(block("add", neuron=IF) for _ in range(3)), block("add", neuron=IF, out=out)), spikes()
    sent = net(s)
    assert torch.equal(sent, sent.round())
    assert sent.min() == 0
    assert sent.max() > 1, "blocks after one another add up"


@pytest.mark.parametrize("neuron", list(NEURONS))
@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_every_block_may_begin_as_the_identity(connect: str, neuron: str) -> None:
    net, s = block(connect, neuron=NEURONS[neuron], zero_init=True), spikes(steps=9)
    assert torch.equal(net(s), s)
    net.layer2.norm.weight.grad = None
    net(s.requires_grad_()).square().sum().backward()
    assert net.layer2.norm.weight.grad.abs().sum() > 0, "it learns from there"


def test_a_neuron_that_no_current_reaches_cannot_begin_with_spikes() -> None:
    with pytest.raises(ConstraintError, match=r"nothing of the input(.|\n)*zero_init=False"):
        block("and", neuron=lambda: LIF(1.0, decay_input=True), zero_init=True)


def test_and_of_the_paper_begins_with_a_bias_of_one() -> None:
    norm = block("and", neuron=NEURONS["hard"], zero_init=True).layer2.norm
    assert (norm.weight.unique().tolist(), norm.bias.unique().tolist()) == ([0.0], [1.0])


def test_a_norm_without_a_weight_cannot_begin_as_the_identity() -> None:
    for norm in (ShiftBatchNorm, None, lambda channels: nn.BatchNorm2d(channels, affine=False)):
        with pytest.raises(ConstraintError, match="no weight that starts at 0"):
            sew_block(4, 4, neuron=IF, norm=norm, connect="add", zero_init=True)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_what_enters_a_block_is_not_changed_in_place(connect: str) -> None:
    net, s = block(connect), spikes()
    before = s.clone()
    net(s)
    assert torch.equal(s, before)


def test_the_gradient_of_a_shortcut_is_one_however_deep() -> None:
    net, s = nn.Sequential(*(block("add", zero_init=True) for _ in range(8))), spikes().requires_grad_()
    for each in net:
        each.layer1.conv.weight.data.zero_()  # nothing comes back through the branches
    net(s).sum().backward()
    assert torch.equal(s.grad, torch.ones_like(s))


# ---- the networks -------------------------------------------------------------------------------------------------


def shapes(net: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, tuple(m.weight.shape)) for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_the_7b_net_is_seven_blocks_of_32_channels() -> None:
    (first, stem), *convolutions, (last, head) = shapes(sew_7b_net())
    assert (first, stem, last, head) == ("layer1.conv", (32, 2, 3, 3), "head.linear", (11, 32))
    assert [shape for _, shape in convolutions] == [(32, 32, 3, 3)] * 14
    assert len([m for m in sew_7b_net().modules() if isinstance(m, PLIF)]) == 15


def test_the_wide_7b_net_widens_after_four_blocks() -> None:
    found = shapes(sew_wide_7b_net())
    assert [shape for _, shape in found] == [
        (64, 2, 3, 3), *[(64, 64, 3, 3)] * 8, (128, 64, 3, 3), *[(128, 128, 3, 3)] * 6, (10, 128),
    ]  # fmt: skip
    assert found[9][0] == "layer2.conv"
    assert shapes(sew_wide_7b_net(kernel=1))[9] == ("layer2.conv", (128, 64, 1, 1))


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16)])
def test_sew_resnets_have_the_weights_of_the_ordinary_ones(depth: int, blocks: int) -> None:
    with torch.device("meta"):
        net = sew_resnet(depth=depth)
    names = [name for name, _ in shapes(net)]
    assert len([name for name in names if ".shortcut." in name]) == 3
    assert len([name for name in names if ".layer" in name]) == 2 * blocks + 3
    assert len([m for m in net.modules() if isinstance(m, Neuron)]) == 1 + 2 * blocks + 3


@pytest.mark.parametrize("depth", [18, 34])
def test_a_photo_goes_through_a_sew_resnet(depth: int) -> None:
    torch.manual_seed(0)
    net = sew_resnet(depth=depth, width=1 / 16, num_classes=5, steps=2, image_size=(64, 96))
    assert net(torch.rand(2, 3, 64, 96)).shape == (2, 5)
    with pytest.raises(ConstraintError, match="allowed are 18 and 34"):
        sew_resnet(depth=50)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"stages": stages} for stages in ((), ((0, 1),), ((8, 0),), (8, 1), "81", 8, ((8, 1, 2),), ((8.0, 1),))),
        *({"kernel": kernel} for kernel in (2, "3", -1, 3.0)),
        {"connect": "or"},
    ],
    ids=str,
)
def test_a_network_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConstraintError):
        sew_net(image_size=16, **({"stages": ((8, 1),)} | wrong))


def test_it_trains_on_twelve_frames_and_is_measured_on_sixteen() -> None:
    torch.manual_seed(0)
    net = sew_net(image_size=8, stages=((4, 2),), steps=16)
    frames = torch.randint(0, 3, (3, 16, 2, 8, 8)).float()
    assert net.train()(frames[:, :12]).shape == (3, 11)
    assert net.eval()(frames).shape == (3, 11)
    with pytest.raises(ConstraintError, match=r"needed is .* with 16 frames"):
        net(frames[:, :12])


def small(**more: object) -> nn.Module:
    torch.manual_seed(0)
    return sew_net(**({"image_size": 8, "stages": ((6, 1), (8, 1)), "steps": 3, "num_classes": 4} | more))


def test_strange_sizes_go_through() -> None:
    assert small(steps=1)(torch.ones(1, 1, 2, 8, 8)).shape == (1, 4)
    assert small(in_channels=1)(torch.ones(5, 3, 1, 8, 8)).shape == (5, 4)
    assert small(image_size=(8, 12))(torch.ones(2, 3, 2, 8, 12)).shape == (2, 4)
    assert small().eval()(torch.ones(0, 3, 2, 8, 8)).shape == (0, 4)


def test_half_precision_keeps_what_is_added_whole() -> None:
    net, sent = small(stages=((6, 3),)), []
    for name, module in net.named_modules():
        if name.endswith("join"):
            module.register_forward_hook(lambda m, i, out: sent.append(out.detach()))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.randint(0, 4, (4, 3, 2, 8, 8)).float()).sum().backward()
    assert len(sent) == 3
    assert all(torch.equal(out.float(), out.float().round()) for out in sent)


# ---- the neuron ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [2.0, 5.0])
def test_the_time_constant_has_its_whole_gradient(tau: float) -> None:
    """The derivative of the equations by hand, in numbers that know nothing of torch's graphs."""
    x = (torch.rand(6, 1, 5, generator=torch.Generator().manual_seed(0)) * 3).double()
    neuron = PLIF(tau)
    neuron.w = nn.Parameter(torch.tensor(-math.log(tau - 1), dtype=torch.float64))  # of single precision until here
    weights = torch.arange(1.0, 7.0).double().view(6, 1, 1)
    (neuron(x) * weights).sum().backward()
    w = -math.log(tau - 1)
    share, slope = 1 / (1 + math.exp(-w)), math.exp(-w) / (1 + math.exp(-w)) ** 2  # sigmoid and its derivative
    total = 0.0
    for column in x[:, 0].T.tolist():
        u, du = 0.0, 0.0  # the potential after the reset, and its derivative by w
        for t, current in enumerate(column):
            v, dv = u + (current - u) * share, du * (1 - share) + (current - u) * slope
            total += (t + 1) * 1 / (1 + (math.pi * (v - 1)) ** 2) * dv  # ATan with alpha = 2
            u, du = (0.0, 0.0) if v >= 1 else (v, dv)
    assert ArcTan().alpha == 2
    assert neuron.w.grad.item() == pytest.approx(total, rel=1e-9)


# ---- integers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_a_network_on_a_grid_is_the_same_in_integers(connect: str) -> None:
    net = small(connect=connect, norm=ShiftBatchNorm, neuron=lambda: LIF(0.5), stages=((6, 2), (8, 1)))
    frames = torch.randint(0, 5, (6, 3, 2, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    bs.attach(net, quantize=bs.Ternary(scale=bs.Dyadic()), bias=bs.FixedPoint(2**-8))
    net(frames)
    net.eval()
    grid = bs.Grid(1.0, 0, 7)
    lowered = bs.lower(net, frames[:1], grid=grid)
    assert lowered.notes == ()
    found = bs.compare(net, lowered, [(frames, torch.zeros(6).long())])
    assert found.spikes == 1.0
    assert bs.verify(lowered, frames).equal


def test_a_sew_resnet_lowers_with_its_padded_pool_and_its_shortcuts() -> None:
    torch.manual_seed(0)
    net = sew_resnet(width=1 / 16, num_classes=5, steps=2, norm=ShiftBatchNorm, image_size=32)
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 256
    bs.attach(net, quantize=bs.Ternary(scale=bs.Dyadic()), bias=bs.FixedPoint(2**-8))
    net(images)
    net.eval()
    lowered = bs.lower(net, images[:1], grid=bs.Grid(2**-8, 0, 255))
    assert lowered.notes == ()
    assert bs.compare(net, lowered, [(images, torch.zeros(4).long())]).spikes == 1.0
    assert bs.verify(lowered, images).equal
