"""Layers split into partial sums: the same function, every neuron within the chip's rule, every spike proven."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, Rule, load
from bitspike.hardware.chips.plan_repairs import Repair, plan
from bitspike.integer.network import IntegerNetwork
from bitspike.nn.timed_layer import timed_layer
from bitspike.surgery.apply import apply
from bitspike.surgery.channels import latent
from bitspike.surgery.partial_sums import split
from bitspike.weights import Uniform, detach

V1 = "fanin1024-v1"
STRICT = Chip(
    name="strict",
    rules=(Rule(name="fan-in", cost="bits * taps * inputs / groups", limit=200, per="neuron", code="E102",
                applies_to=("convolution", "transposed_convolution", "linear", "skip")),),
    linear_checked=True,
)  # fmt: skip


def ordinary(channels: int = 40) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(channels, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 10, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 5),
    )  # fmt: skip
    model(torch.rand(32, 3, 8, 8) * 2)  # norms that do something
    return model.eval()


def images(n: int = 32) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def converted(model: nn.Module, bits: int | dict[str, int] = 4) -> IntegerNetwork:
    x = images()
    made = bs.convert(model, x[:1], calibrate=x, steps=4, bits=bits, first_bits=None, last_bits=None)
    return bs.lower(made, x[:1])


LAYERS = {
    "conv1d": (nn.Conv1d(7, 4, 3, stride=2, padding=1), (7, 9)),
    "conv2d": (nn.Conv2d(8, 6, (3, 2), dilation=2, padding=(2, 1)), (8, 7, 6)),
    "conv3d": (nn.Conv3d(5, 3, 2, bias=False), (5, 4, 4, 3)),
    "reflected": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), (6, 5, 5)),
    "transposed": (nn.ConvTranspose2d(7, 4, 4, stride=2, padding=1), (7, 5, 4)),
    "linear": (nn.Linear(11, 6), (11,)),
}


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_partial_sums_with_two_signs_add_up_to_the_layer(name: str, parts: int) -> None:
    layer, shape = LAYERS[name]
    model = nn.Sequential(layer, nn.ReLU())
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(parts))
    wanted = model(x)
    first, last = split(model, "0", parts=parts)
    torch.testing.assert_close(model(x), wanted, atol=1e-5, rtol=1e-5)
    assert model.get_submodule(first).groups == parts
    assert latent(model.get_submodule(last)).shape[1] == 2 * parts


@pytest.mark.parametrize("channels", [40, 41])
def test_a_split_network_computes_the_same_fits_the_chip_and_verifies(channels: int) -> None:
    """40 channels after an average pool of 2 x 2, which counts into their window: 36 taps at 4 bits are 5760 cells."""
    model = ordinary(channels)
    net = converted(model)
    assert not check(net, V1).passed
    (repair,) = plan(net, V1, ways=("split",))
    assert (repair.kind, repair.path, repair.bits, repair.parts) == ("split", "4", 1, 2)
    fitted = detach(apply(model, [repair]), keep="latent")
    torch.testing.assert_close(fitted(images()), model(images()))
    lowered = converted(fitted, {"*": 4, "4.parts": 1, "4.sum": 1})
    report = check(lowered, V1).raise_if_failed()
    costs = {cost.path: cost.cost for cost in report.costs}
    assert costs["4.parts"] == repair.cost <= 1024
    assert costs["4.sum"] == 2 * repair.parts
    reason = bs.Engine(lowered).reason
    assert not reason or "library" in reason
    assert bs.verify(lowered, images(4), engine=True).equal


def test_a_split_network_converts_to_what_the_network_converts_to() -> None:
    model = ordinary()
    fitted = detach(apply(model, [Repair(path="4", kind="split", bits=8, parts=4)]), keep="latent")
    x = images()
    with torch.no_grad():
        spiking = [bs.convert(m, x[:1], calibrate=x, steps=64) for m in (model, fitted)]
        errors = [float((s(x) - model(x)).square().mean().sqrt()) for s in spiking]
    assert errors[1] < 0.02 * float(model(x).detach().std())
    assert errors[1] < 3 * errors[0]


def test_finetuning_starts_from_a_split_network() -> None:
    model, x = ordinary(), images()
    fitted = detach(apply(model, [Repair(path="4", kind="split", bits=4, parts=2)]), keep="latent")
    ready = bs.prepare(fitted, x[:1], calibrate=x, bits=8, steps=64)
    assert float((ready(x) - model(x)).detach().square().mean().sqrt()) < 0.05 * float(model(x).detach().std())
    ready.train()(x).sum().backward()
    moved = [p.grad for n, p in ready.named_parameters() if "parts" in n or "sum" in n]
    assert moved
    assert all(g is not None and bool(g.abs().sum() > 0) for g in moved)
    net = bs.lower(bs.finish(ready.eval(), x[:1], data=x, input_grid=None), x[:1])
    assert bs.verify(net, x[:2]).equal


def test_a_linear_layer_is_split_where_the_chip_checks_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 90), nn.ReLU(), nn.Linear(90, 12), nn.ReLU(), nn.Linear(12, 5)).eval()
    x = torch.rand(16, 20)

    def lowered(m: nn.Module) -> IntegerNetwork:
        return bs.lower(bs.convert(m, x[:1], calibrate=x, steps=4, bits=4, first_bits=None), x[:1])

    (repair,) = plan(lowered(model), STRICT)
    assert (repair.kind, repair.bits) == ("bits", 2)
    (repair,) = plan(lowered(model), STRICT, ways=("split",))
    assert (repair.parts, repair.inputs, repair.neurons) == (2, 45, 48)
    fitted = detach(apply(model, [repair]), keep="latent")
    torch.testing.assert_close(fitted(x), model(x))
    net = lowered(fitted)
    check(net, STRICT).raise_if_failed()
    assert bs.verify(net, x[:4]).equal


def test_a_branch_of_a_fused_addition_is_split() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            return torch.relu(self.second(x) + x).mean((2, 3))

    torch.manual_seed(0)
    model, x = Block().eval(), images(8)
    (repair,) = plan(converted(model), V1, ways=("split",))
    assert repair.path == "second"
    fitted = detach(apply(model, [repair]), keep="latent")
    torch.testing.assert_close(fitted(x), model(x))
    net = converted(fitted, {"*": 4, "second.*": repair.bits})
    check(net, V1).raise_if_failed()
    assert bs.verify(net, x[:2]).equal


@pytest.mark.parametrize("channels", [40, 41])
def test_a_spiking_network_is_split_fits_and_verifies(channels: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.Repeat(4),
        bs.TimeDistributed(nn.Conv2d(3, channels, 3, padding=1)), bs.IF(surrogate=bs.Triangle(width=2.0)),
        bs.TimeDistributed(nn.AvgPool2d(2), nn.Conv2d(channels, 24, 3, bias=False), nn.BatchNorm2d(24)), bs.IF(0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(24 * 4, 30)), bs.IF(0.5), timed_layer(nn.Linear(30, 5)),
        bs.RateReadout(),
    )  # fmt: skip
    model = bs.attach(model, quantize=Uniform(bits=4)).eval()
    x = images(4)
    strict = Chip(name="mine", rules=load(V1).rules, wire_bits=1, linear_checked=False)
    repairs = [
        *plan(bs.lower(model, x[:1]), strict, ways=("split",)),
        Repair(path="5.1", kind="split", bits=4, parts=4, source_shape=(96,)),
    ]
    assert [r.path for r in repairs] == ["3.1", "5.1"]
    fitted = apply(model, repairs)
    assert next(n for n, _ in fitted[3].named_children()) == "front"
    assert fitted[3].neurons.rule.surrogate == bs.Triangle(width=2.0)
    assert set(bs.codes(fitted)) == {"1.0", "3.parts.0", "3.layers.1", "5.parts.0", "5.layers.1", "7"}
    assert fitted(x).shape == model(x).shape
    net = bs.lower(fitted, x[:1])
    check(net, strict).raise_if_failed()
    assert bs.verify(net, x).equal


def test_the_sum_of_a_split_layer_over_time_follows_it() -> None:
    """Driven by constant spikes, the current after the neurons is on average that of the layer."""
    torch.manual_seed(0)
    model = nn.Sequential(timed_layer(nn.Conv2d(12, 5, 3)))
    x = (torch.rand(1, 1, 12, 6, 6) < 0.1).float().expand(200, 1, 12, 6, 6)
    wanted = model(x).mean(0)
    split(model, "0", parts=3, source_shape=(12, 6, 6))
    torch.testing.assert_close(model(x).mean(0), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("path", "parts", "match"),
    [
        ("0", 2, "one group"),
        ("1", 1, "parts=1 of 4"),
        ("1", 5, "parts=5 of 4"),
        ("2", 2, "source_shape is empty"),
        ("3.0.0", 2, "cannot be cut there"),
        ("4", 2, "bias is quantized"),
    ],
)
def test_what_cannot_be_split(path: str, parts: int, match: str) -> None:
    deep = bs.TimeDistributed(nn.Sequential(nn.Conv2d(4, 4, 1)))
    biased = bs.attach(nn.Conv2d(4, 4, 1), bias=Uniform(bits=8))
    model = nn.Sequential(
        nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1), timed_layer(nn.Conv2d(4, 4, 1)), deep, biased
    )
    shape = (4, 3, 3) if path == "3.0.0" else ()
    with pytest.raises(bs.ConstraintError, match=match):
        split(model, path, parts=parts, source_shape=shape)
