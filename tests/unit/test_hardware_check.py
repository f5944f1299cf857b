from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hardware_networks import ONE, Builder, one_layer

import bitspike as bs
from bitspike.errors import CheckFailed, ConstraintError
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, Rule, load
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Concat, CountMaxPool, Linear, Readout, Weight
from bitspike.ops.grids import Dyadic

V1 = "fanin1024-v1"
TABLE = {(3, 1): 113, (3, 2): 56, (3, 3): 37, (3, 4): 28, (5, 1): 40, (5, 2): 20, (5, 3): 13, (5, 4): 10}


@pytest.mark.parametrize(("kernel", "bits"), TABLE)
def test_convert_check_01_the_eight_rows_of_the_hardware_table(kernel: int, bits: int) -> None:
    channels = TABLE[kernel, bits]
    assert check(one_layer(channels, kernel, bits), V1).passed
    report = check(one_layer(channels + 1, kernel, bits), V1)
    assert [v.code for v in report.errors] == ["E102"]
    assert report.errors[0].measured == bits * kernel**2 * (channels + 1)
    assert report.errors[0].limit == 1024


@pytest.mark.parametrize(("kernel", "bits"), TABLE)
def test_convert_check_01_two_groups_double_the_limit(kernel: int, bits: int) -> None:
    channels = TABLE[kernel, bits]
    assert check(one_layer(2 * channels, kernel, bits, groups=2), V1).passed
    assert not check(one_layer(2 * channels + 2, kernel, bits, groups=2), V1).passed


def test_convert_check_01_a_transposed_convolution_is_costed_with_the_taps_that_meet() -> None:
    def net(channels: int) -> IntegerNetwork:
        builder = Builder((channels, 4, 4))
        builder.transposed("up", 4, 4, bits=4, stride=2, padding=1)
        builder.neuron("neuron")
        return builder.build()

    report = check(net(64), V1)
    assert report.passed
    assert [cost.cost for cost in report.costs] == [4 * 4 * 64]
    assert check(net(65), V1).errors[0].measured == 4 * 4 * 65


def test_a_violation_says_what_where_and_every_way_out() -> None:
    report = check(one_layer(64, 3, 4, out=64), V1)
    (violation,) = report.violations
    assert violation.path == "features_3"
    assert violation.found == "Convolution 3x3, 64 inputs, 4-bit: 2304, 1280 too many"
    assert ", or ".join(violation.fixes) == (
        "1 bit (576; 2 bit would still need 1152), or groups = 4 (576), or at most 28 input channels, "
        "or keep this module real"
    )
    assert str(report) == (
        "chip 'fanin1024-v1': 1 of 1 layer does not fit\n"
        "  fan-in memory: bits * taps * inputs / groups <= 1024\n"
        "    E102 features_3  Convolution 3x3, 64 inputs, 4-bit: 2304, 1280 too many\n"
        "                     fix: 1 bit (576; 2 bit would still need 1152), or groups = 4 (576), or at most 28 "
        "input channels, or keep this module real"
    )


def test_all_violations_are_collected_and_raised_once() -> None:
    builder = Builder((200, 8, 8))
    builder.conv("first", 128, bits=4)
    builder.neuron("n1")
    builder.conv("second", 16, bits=5)
    builder.neuron("n2", threshold=300)
    chip = replace(load(V1), theta_bits=8)
    report = check(builder.build(), chip)
    assert [(v.code, v.path) for v in report.errors] == [
        ("E102", "first"),
        ("E108", "second"),
        ("E102", "second"),
        ("E108", "n2"),
    ]
    assert (report.failed, report.layers) == (2, 2)
    with pytest.raises(CheckFailed) as error:
        report.raise_if_failed()
    text = str(error.value)
    assert "2 of 2 layers do not fit" in text
    assert "thresholds reach 300: 9 bits, 1 too many" in text
    assert "5-bit weights" in text


def test_a_report_becomes_json() -> None:
    report = check(one_layer(64, 3, 4), V1)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["passed"] is False
    assert values["violations"][0]["code"] == "E102"
    assert values["violations"][0]["severity"] == "error"
    assert values["costs"][0]["cost"] == 2304
    good = check(one_layer(8, 3, 4), V1)
    assert good.raise_if_failed() is good
    assert good.to_dict()["violations"] == []


def test_no_limits_at_all() -> None:
    assert check(one_layer(512, 5, 8), "generic-int").violations == ()


# ---- the cost of every kind of branch -----------------------------------------------------------------------------


def costs(builder: Builder, chip: str | Chip = V1) -> list[float]:
    return [cost.cost for cost in check(builder.build(), chip).costs]


def test_a_fused_addition_costs_the_sum_of_its_branches_and_a_skip_the_bits_of_its_gain() -> None:
    builder = Builder((8, 6, 6))
    builder.conv("a", 8, bits=4, padding=1)
    skip = builder.neuron("na")
    builder.conv("b", 8, bits=4, padding=1)
    builder.neuron("nb", "b", skip, gains=(1, 12))
    assert costs(builder) == [288, 288 + 4]
    builder.conv("c", 8, bits=2, kernel=1, source="na")
    builder.neuron("nc", "b", "c")
    assert costs(builder)[-1] == 288 + 2 * 8


def test_a_sum_of_two_spikes_costs_two_weights() -> None:
    builder = Builder((8, 6, 6))
    builder.conv("a", 8, bits=4, padding=1)
    first = builder.neuron("na")
    builder.conv("b", 8, bits=4, padding=1)
    second = builder.neuron("nb")
    builder.neuron("spike_add", first, second, gains=(127, 100))
    assert costs(builder)[-1] == 2 * 7


def test_a_pool_with_a_neuron_costs_its_window() -> None:
    builder = Builder((8, 6, 6))
    builder.pool("pool", 3)
    builder.neuron("pooled", threshold=9)
    assert costs(builder) == [9]


def test_a_pool_without_a_neuron_widens_the_window_of_the_layer_behind_it_where_wires_carry_spikes() -> None:
    builder = Builder((4, 12, 12))
    builder.pool("pool", 2)
    builder.conv("conv", 8, kernel=3, bits=1)
    builder.neuron("neuron")
    assert costs(builder) == [4 * 36]
    assert "merged: 36 taps" in check(builder.build(), V1).costs[0].found
    any_wire = replace(load(V1), wire_bits=None)
    assert costs(builder, any_wire) == [4 * 9]
    overlapping = Builder((4, 12, 12))
    overlapping.pool("pool", 3, 2)
    overlapping.conv("conv", 8, kernel=3, bits=1)
    overlapping.neuron("neuron")
    assert costs(overlapping) == [4 * 49]


def test_a_pool_of_sums_widens_the_window_too() -> None:
    builder = Builder((4, 12, 12))
    builder.conv("conv", 8, kernel=3, bits=1)
    builder.pool("pool", 2)
    builder.neuron("neuron")
    assert costs(builder) == [4 * 16]


def test_a_pool_in_front_of_a_linear_layer() -> None:
    builder = Builder((4, 8, 8))
    builder.pool("pool", 8)
    builder.linear("linear", 16, bits=1)
    builder.neuron("neuron")
    assert costs(builder) == [4 * 64]


def test_a_bias_on_an_axon_costs_cells() -> None:
    builder = Builder((8, 5, 5))
    builder.conv("a", 8, bits=4)
    builder.neuron("n", bias=-15)
    assert costs(builder, replace(load(V1), bias="axon")) == [4 * 72 + 4 * 3]
    assert costs(builder) == [4 * 72]


def test_a_concatenation_of_sums_costs_its_dearest_part() -> None:
    builder = Builder((8, 5, 5))
    builder.conv("a", 8, bits=1, source="input")
    builder.conv("b", 8, bits=4, source="input")
    builder.add(Concat(id="cat", path="cat", sources=("a", "b"), shape=(16, 3, 3)))
    builder.neuron("n")
    assert costs(builder) == [288]


def test_an_addition_of_sums_is_followed() -> None:
    builder = Builder((8, 5, 5))
    builder.conv("a", 8, bits=1, source="input")
    builder.conv("b", 8, bits=4, source="input")
    builder.add(Add(id="sum", path="sum", sources=("a", "b"), shape=(8, 3, 3), gains=(ONE, ONE)))
    builder.neuron("n")
    assert costs(builder) == [72 + 288]


# ---- linear layers and the host ------------------------------------------------------------------------------------


def linear_net() -> Builder:
    builder = Builder((300,))
    builder.linear("hidden", 32, bits=4)
    builder.neuron("n")
    return builder


def test_a_linear_layer_is_a_warning_or_an_error() -> None:
    report = check(linear_net().build(), V1)
    assert report.passed
    assert [v.code for v in report.warnings] == ["W210"]
    assert "at most 256 input features" in report.warnings[0].fixes
    strict = check(linear_net().build(), replace(load(V1), linear_checked=True))
    assert [v.code for v in strict.errors] == ["E102"]


def test_the_last_linear_layer_belongs_to_the_host() -> None:
    builder = linear_net()
    builder.linear("last", 10, bits=8)
    report = check(builder.build(), V1)
    assert [(v.code, v.path) for v in report.notes] == [("N301", "last")]
    assert report.passed


# ---- structure ----------------------------------------------------------------------------------------------------


def test_two_layers_without_a_neuron_between_them() -> None:
    builder = Builder((8, 7, 7))
    builder.conv("a", 8, bits=1)
    builder.conv("b", 8, bits=1)
    builder.neuron("n")
    assert [(v.code, v.path) for v in check(builder.build(), V1).errors] == [("E103", "b")]


def test_a_rule_per_layer_counts_a_layer_that_no_neuron_reads_directly() -> None:
    builder = Builder((8, 7, 7))
    builder.conv("a", 4, bits=6, kernel=3)
    builder.conv("b", 8, bits=1)
    builder.neuron("n")
    rule = Rule(name="weight memory", cost="bits * taps * inputs", limit=100, per="layer", code="E111")
    found = [v for v in check(builder.build(), Chip(name="mine", rules=(rule,))).errors if v.code == "E111"]
    assert [(v.path, v.measured) for v in found] == [("a", 6 * 9 * 8)]


def test_an_operation_that_the_chip_lacks_comes_with_choices() -> None:
    builder = Builder((8, 6, 6))
    builder.neuron("n", threshold=1)
    builder.add(
        CountMaxPool(
            id="pool", path="pool", sources=("n",), shape=(8, 3, 3), kernel=(2, 2), stride=(2, 2), padding=(0, 0)
        )
    )
    builder.conv("conv", 8, bits=1)
    builder.neuron("m")
    (violation,) = check(builder.build(), V1).errors
    assert (violation.code, violation.found) == ("E106", "count max pool")
    assert len(violation.fixes) == 3


def test_spikes_that_are_added_before_a_layer() -> None:
    builder = Builder((8, 5, 5))
    first = builder.neuron("a", threshold=1)
    second = builder.neuron("b", threshold=2)
    builder.add(Add(id="sum", path="sum", sources=(first, second), shape=(8, 5, 5), gains=(ONE, ONE)))
    builder.conv("conv", 8, bits=1)
    builder.neuron("n")
    assert [(v.code, v.path) for v in check(builder.build(), V1).errors] == [("E103", "conv")]


def test_a_branch_that_uses_few_levels() -> None:
    builder = Builder((8, 5, 5), seed=1)
    builder.conv("a", 8, bits=4, padding=1)
    builder.conv("b", 8, bits=4, padding=1, source="input")
    node = builder.nodes[-1]
    weak = Weight(codes=np.sign(node.weight.codes), step=np.ones(1), bits=4, low=-7, high=7)  # type: ignore[attr-defined]
    builder.nodes[-1] = replace(node, weight=weak)  # type: ignore[call-arg]
    builder.neuron("n", "a", "b")
    assert [(v.code, v.path, v.measured, v.limit) for v in check(builder.build(), V1).warnings] == [("W203", "b", 1, 7)]


# ---- the neuron ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "neuron", "code", "words"),
    [
        ({"fire": ("ge",)}, {"fire": "gt"}, "E110", "potential > threshold"),
        ({"reset": ("hard",)}, {}, "E110", "soft reset"),
        ({"leak": False}, {"leak": Dyadic(1, 1)}, "E110", r"leaks by 1/2\*\*1"),
        ({"floor": False}, {"floor": -4}, "E110", "clamped below at -4"),
        ({"theta_per_channel": False}, {"threshold": np.array([[4, 5, 6, 7]])}, "E110", "threshold per channel"),
        ({"theta_over_time": False}, {"threshold": np.array([[4], [5], [6], [7]])}, "E110", "change over time"),
        ({"bias": "none"}, {"bias": ONE}, "E110", "has a bias"),
        ({"bias_over_time": False}, {"bias": np.array([[4], [0], [0], [0]])}, "E110", "bias that changes over time"),
        ({"v0": ("zero",)}, {"initial": np.array([2])}, "E110", "starts at 2"),
        ({"v0": ("zero", "half")}, {"initial": np.array([1])}, "E110", "starts at 1"),
        ({"multipliers": False}, {"gains": (3 * ONE,)}, "E110", "multiplies a branch by 3"),
        ({"signed_spikes": False}, {"signed": True}, "E103", "signed spikes"),
        ({"theta_bits": 2}, {}, "E108", "thresholds reach 4: 3 bits, 1 too many"),
        ({"bias_bits": 3}, {"bias": -5 * ONE}, "E108", "biases lie from -5 to -5: 4 bits, 1 too many"),
        ({"potential_bits": 8}, {}, "E108", "potentials may lie from 0 to 132: 9 bits, 1 too many"),
        ({"k_max": 1}, {"fraction_bits": 2}, "E108", "fraction bits: 2, 1 too many"),
        ({"right_shift": 0}, {"right_shift": 2}, "E108", "right shift: 2, 2 too many"),
    ],
)
def test_what_a_neuron_cannot_do(limits: dict[str, object], neuron: dict[str, object], code: str, words: str) -> None:
    builder = Builder((4, 3, 3), steps=4)
    builder.conv("conv", 4, bits=4)
    builder.neuron("n")
    builder.nodes[-1] = replace(builder.nodes[-1], **neuron)  # type: ignore[arg-type]
    net = builder.build()
    assert check(net, Chip(name="free")).passed
    (violation,) = check(net, Chip(name="narrow", **limits)).errors  # type: ignore[arg-type]
    assert violation.code == code
    with pytest.raises(CheckFailed, match=words):
        check(net, Chip(name="narrow", **limits)).raise_if_failed()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "neuron"),
    [
        ({"v0": ("half",)}, {"initial": np.array([2])}),
        ({"multipliers": False}, {"gains": (8 * ONE,)}),
        ({"potential_bits": 8}, {"width": 8}),
        ({"theta_per_channel": False}, {"threshold": np.full((1, 4), 4)}),
    ],
)
def test_what_a_neuron_can_do(limits: dict[str, object], neuron: dict[str, object]) -> None:
    builder = Builder((4, 3, 3), steps=4)
    builder.conv("conv", 4, bits=4)
    builder.neuron("n")
    builder.nodes[-1] = replace(builder.nodes[-1], **neuron)  # type: ignore[arg-type]
    assert check(builder.build(), Chip(name="narrow", **limits)).passed  # type: ignore[arg-type]


def test_the_widths_that_neurons_need_are_reported() -> None:
    builder = Builder((4, 3, 3), steps=4)
    builder.conv("conv", 4, bits=4)
    builder.neuron("n", bias=-3)
    (found,) = check(builder.build(), "generic-int").widths
    assert (found.path, found.theta_bits, found.bias_bits) == ("n", 3, 3)
    assert found.potential == (-12, 120)
    assert found.potential_bits == 8


def test_a_bias_beyond_the_threshold_is_noted() -> None:
    builder = Builder((4, 3, 3), steps=4)
    builder.conv("conv", 4, bits=4)
    builder.neuron("n", threshold=4)
    builder.nodes[-1] = replace(builder.nodes[-1], bias=np.array([[5, -6, 4, 0]]))  # type: ignore[call-arg]
    (note,) = check(builder.build(), "generic-int").notes
    assert (note.code, note.path, note.found) == ("N305", "n", "50% of the channels")


def test_wide_input_codes() -> None:
    builder = Builder((4, 3, 3), high=255)
    builder.conv("conv", 4, bits=4)
    builder.neuron("n")
    (violation,) = check(builder.build(), Chip(name="narrow", input_bits=4)).errors
    assert (violation.code, violation.measured) == ("E108", 8)


# ---- rules of one's own --------------------------------------------------------------------------------------------


def test_rules_per_layer_and_per_network() -> None:
    chip = Chip(
        name="mine",
        rules=(
            Rule(name="neurons per core", cost="neurons", limit=30, per="layer", code="E120"),
            Rule(name="strides", cost="stride", allowed=(2,), per="layer", code="E121"),
            Rule(name="cells", cost="weight_bits / 8", limit=10, per="network", code="E122"),
        ),
    )
    report = check(one_layer(2, 3, 4, out=4, size=5), chip)
    assert [v.code for v in report.errors] == ["E120", "E121", "E122"]
    assert report.errors[2].path == "the network"
    only = check(one_layer(2, 3, 4, out=4), replace(chip, rules=chip.rules[2:]))
    assert str(only).startswith("chip 'mine': the network does not fit")


@pytest.mark.parametrize(
    ("cost", "limit", "ways"),
    [
        ("weight_bits / 8", 40, ("weights of at most 2 bits (36)", "fewer channels")),
        ("weight_bits / 8", 10, ("fewer channels",)),
        ("layers + steps", 1, ("fewer layers or time steps",)),
    ],
)
def test_a_rule_for_the_whole_network_has_ways_out_too(cost: str, limit: int, ways: tuple[str, ...]) -> None:
    """Of 144 weights of 4 bits; a chip has no widths but 1, 2 and 4."""
    rule = Rule(name="flash", cost=cost, limit=limit, per="network", code="E122")
    chip = Chip(name="mine", rules=(rule,), weight_bits=(1, 2, 4))
    (violation,) = check(one_layer(4, 3, 4, out=4), chip).errors
    assert violation.fixes == ways


def test_a_fix_always_satisfies_the_rule_it_is_for() -> None:
    """The rule is a strange one of a file: fixes come from evaluating it, not from knowing it."""
    rule = Rule(name="banks", cost="ceil(bits / 2) * taps * inputs / groups + 8", limit=100)
    chip = Chip(name="mine", rules=(rule,), weight_bits=(1, 2, 4, 8))
    (violation,) = check(one_layer(12, 3, 8, out=12), chip).errors
    assert violation.measured == 440
    assert violation.fixes == ("groups = 6 (80)", "at most 2 input channels", "keep this module real")


def test_an_unknown_chip(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="shipped are"):
        check(one_layer(1, 3, 1), tmp_path / "none.toml")


def test_the_limits_of_speck_layers() -> None:
    assert check(one_layer(64, 3, 8, size=10), "dynapcnn-speck").passed
    report = check(one_layer(4, 17, 8, size=90), "dynapcnn-speck")
    assert [v.rule.split(":")[0] for v in report.errors] == ["kernel size", "side of the output map"]


def test_a_network_with_two_neurons_on_one_layer_is_named_once() -> None:
    builder = Builder((64, 3, 3))
    conv = builder.conv("conv", 4, bits=4)
    builder.neuron("a", conv)
    builder.neuron("b", conv)
    assert len(check(builder.build(), V1).errors) == 1


def test_the_readout_may_read_spikes_and_layers() -> None:
    builder = Builder((8,))
    builder.linear("linear", 4)
    builder.neuron("n")
    net = builder.build()
    both = Readout(id="both", path="both", sources=("linear", "n"), shape=(4,), gains=(ONE, ONE), bias=0 * ONE)
    wide = IntegerNetwork(net.steps, (*net.nodes, both))
    assert check(wide, V1).passed
    assert isinstance(wide["linear"], Linear)


STRICT = Chip(name="strict", theta_bits=3, bias_bits=3, potential_bits=4, k_max=0, right_shift=0, multipliers=False)


def test_what_training_decides_is_not_judged_before_it_and_listed() -> None:
    net = one_layer(8, 3, 2)
    wide = replace(net, nodes=tuple(
        replace(node, threshold=node.threshold * 4096, bias=node.bias + 999, fraction_bits=3) if node in net.neurons
        else node for node in net.nodes
    ))  # fmt: skip
    trained, initial = check(wide, STRICT), check(wide, STRICT, trained=False)
    broken = {v.rule for v in trained.errors}
    assert {"thresholds have at most 3 bits", "biases have at most 3 bits", "potentials have at most 4 bits"} <= broken
    assert initial.passed
    assert not trained.undecided
    assert broken <= set(initial.undecided)
    assert not initial.widths
    said = str(initial).splitlines()
    assert said[0] == "chip 'strict': 1 layer fits, as far as it is decided before training"
    assert said[1] == "  not decided before training, so check the run again"
    assert "    potentials have at most 4 bits" in said
    assert initial.to_dict()["undecided"] == list(initial.undecided)


def test_what_shapes_decide_is_judged_before_training() -> None:
    report = check(one_layer(64, 3, 4, out=64), replace(load(V1), potential_bits=2), trained=False)
    assert [v.code for v in report.errors] == ["E102"]
    assert "not decided before training" in str(report)
    assert "potentials have at most 2 bits" in report.undecided


def test_a_chip_without_such_rules_is_decided_before_training() -> None:
    report = check(one_layer(8, 3, 2), Chip(name="roomy"), trained=False)
    assert (report.undecided, str(report)) == ((), "chip 'roomy': 1 layer fits")


def test_a_recipe_is_checked_as_not_trained(tmp_path: Path) -> None:
    path = tmp_path / "narrow.toml"
    path.write_text('format = 1\nname = "narrow"\npotential_bits = 2\n')
    report = bs.check("quickstart", chip=path)
    assert report.passed
    assert report.undecided == ("potentials have at most 2 bits",)
