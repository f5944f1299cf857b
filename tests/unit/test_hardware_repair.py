from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hardware_networks import Builder, one_layer

from bitspike.errors import ConstraintError
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, Rule, load
from bitspike.hardware.chips.plan_repairs import distortion, options, plan
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Weight

V1 = "fanin1024-v1"


def test_nothing_to_repair() -> None:
    assert plan(one_layer(8, 3, 4), V1) == []


def test_fewer_bits_come_first_where_they_are_enough() -> None:
    (repair,) = plan(one_layer(64, 3, 4, out=64), V1)
    assert (repair.path, repair.kind, repair.bits, repair.groups) == ("features_3", "bits", 1, 1)
    assert (repair.cost, repair.limit) == (576, 1024)
    assert repair.loss == pytest.approx(1 - (1 - distortion(1)) / (1 - distortion(4)))


def test_a_mild_narrowing_takes_the_widest_weights_that_fit() -> None:
    (repair,) = plan(one_layer(40, 3, 4, out=40), V1)
    assert (repair.kind, repair.bits) == ("bits", 2)


@pytest.mark.parametrize("channels", [128, 256, 512])
def test_groups_where_bits_are_not_enough(channels: int) -> None:
    (repair,) = plan(one_layer(channels, 3, 4, out=channels), V1)
    assert repair.kind == "groups"
    assert repair.bits * 9 * channels / repair.groups <= 1024
    assert channels % repair.groups == 0
    assert repair.source_shape == (channels, 3, 3)


def test_every_option_satisfies_the_rule_and_they_are_ordered_by_price() -> None:
    net = one_layer(512, 3, 4, out=512)
    found = options(net, V1)["features_3"]
    kinds = {several[0].kind for several in found}
    assert kinds == {"groups", "split", "prune", "real"}
    prices = [several[0].price for several in found]
    assert prices == sorted(prices)
    for (repair,) in found:
        if repair.kind != "real":
            assert repair.cost <= 1024
            assert 0 <= repair.loss < 1
            assert repair.price >= repair.loss
        if repair.kind == "prune":
            assert len(repair.keep) == repair.inputs == 1024 // (9 * repair.bits)
        if repair.kind == "split":
            assert repair.parts == math.ceil(512 / (1024 // (9 * repair.bits)))
            assert repair.neurons == 2 * repair.parts * 512
            assert repair.price >= 0.25 * 2 * repair.parts


def test_pruning_keeps_the_channels_with_the_largest_codes() -> None:
    net = one_layer(200, 3, 4, out=3)
    node = net["features_3"]
    assert isinstance(node, Convolution)
    codes = np.ones_like(node.weight.codes)
    codes[:, 50:60] = 7
    weight = Weight(codes=codes, step=np.ones(1), bits=4, low=-7, high=7)
    nodes = tuple(replace(n, weight=weight) if n is node else n for n in net.nodes)  # type: ignore[call-arg]
    (repair,) = plan(IntegerNetwork(net.steps, nodes), V1, ways=("prune",))
    assert repair.kind == "prune"
    assert set(range(50, 60)) <= set(repair.keep)
    assert list(repair.keep) == sorted(repair.keep)
    assert repair.cost <= 1024


def test_a_width_that_the_chip_lacks() -> None:
    (repair,) = plan(one_layer(3, 3, 8), V1)
    assert (repair.kind, repair.bits) == ("bits", 4)


def test_a_fused_addition_narrows_all_its_branches() -> None:
    builder = Builder((30, 6, 6))
    builder.neuron("spikes", threshold=1)
    builder.conv("a", 30, bits=4, padding=1)
    builder.conv("b", 30, bits=4, kernel=1, source="spikes")
    builder.neuron("sum", "a", "b")
    found = {r.path: r for r in plan(builder.build(), V1)}
    assert set(found) == {"a", "b"}
    assert {r.bits for r in found.values()} == {3}
    assert found["a"].cost == 3 * (270 + 30)


def test_a_hidden_linear_layer_is_left_alone_unless_the_chip_checks_it() -> None:
    builder = Builder((2000,))
    builder.linear("hidden", 8, bits=4)
    builder.neuron("n")
    net = builder.build()
    assert plan(net, V1) == []
    strict = replace(load(V1), linear_checked=True)
    with pytest.raises(ConstraintError, match="hidden: no repair among bits, groups makes"):
        plan(net, strict, ways=("bits", "groups"))
    (repair,) = plan(net, strict)
    assert (repair.kind, repair.bits, repair.parts) == ("split", 1, 2)
    assert [r.kind for r in plan(net, strict, ways=("bits", "real"))] == ["real"]


def test_a_linear_layer_of_a_width_that_the_chip_lacks() -> None:
    builder = Builder((2000,))
    builder.linear("hidden", 8, bits=8)
    builder.neuron("n")
    (repair,) = plan(builder.build(), V1)
    assert (repair.kind, repair.bits) == ("bits", 4)


def test_a_layer_that_no_way_can_repair_is_named() -> None:
    with pytest.raises(ConstraintError, match="features_3: no repair among bits"):
        plan(one_layer(512, 3, 4), V1, ways=("bits",))
    with pytest.raises(ConstraintError, match=r"ways=.*allowed are bits, groups, split, prune, real"):
        plan(one_layer(512, 3, 4), V1, ways=("shrink",))  # type: ignore[arg-type]


def test_rules_that_are_not_of_a_neuron_are_not_repaired() -> None:
    chip = Chip(name="mine", rules=(Rule(name="kernel", cost="kernel", limit=1, per="layer", code="E111"),))
    net = one_layer(4, 3, 4)
    assert not check(net, chip).passed
    assert plan(net, chip) == []


def test_a_repair_says_what_it_does() -> None:
    (repair,) = plan(one_layer(512, 3, 4, out=512), V1)
    assert str(repair).startswith(
        f"features_3: {repair.bits} bit, groups = {repair.groups}, its input channels shuffled ("
    )
    assert json.loads(json.dumps(repair.to_dict()))["groups"] == repair.groups
    assert {str(several[0]).split(":")[0] for several in options(one_layer(512, 3, 4), V1)["features_3"]} == {
        "features_3"
    }


def test_the_distortion_of_uniform_quantizers_is_that_of_gaussians() -> None:
    """Max's table, found again by trying steps on a fine grid of a Gaussian."""
    x = np.linspace(-8, 8, 20001)
    density = np.exp(-(x**2) / 2)
    density /= density.sum()

    def error(bits: int, step: float) -> float:
        levels = 2**bits
        code = np.clip(np.floor(x / step), -levels // 2, levels // 2 - 1)
        return float((density * (x - (code + 0.5) * step) ** 2).sum())

    for bits in range(1, 6):
        best = min(error(bits, step) for step in np.linspace(0.05, 2, 391))
        assert best == pytest.approx(distortion(bits), rel=0.01)
    assert distortion(8) < distortion(6) < distortion(5)
