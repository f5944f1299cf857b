"""The rungs of the ladder: each is the one before and one cause of error more."""

from __future__ import annotations

import pytest
import torch
from ledger_networks import Chain, Residual, SlicedInput, TwoHeads, images, on_grid
from torch import Tensor, nn

import bitspike as bs
from bitspike.analysis.ledger.activations import Counts
from bitspike.analysis.ledger.ladder import decoded, rung
from bitspike.analysis.ledger.spikes import Limits, carrying, limited, limits_of, run_once
from bitspike.conversion.result import Conversion, conversion_of, spiking_part
from bitspike.graph.rebuild import values
from bitspike.integer.nodes import Neuron as IntegerNeuron

NETWORKS = [Chain, Residual, TwoHeads, SlicedInput]


def converted(model: nn.Module, x: Tensor, **choices: object) -> tuple[nn.Module, Conversion]:
    made = bs.convert(model, x[:2], calibrate=x, **{"correct": None, **choices})
    return made, conversion_of(made)


@pytest.mark.parametrize("kind", NETWORKS)
def test_without_codes_the_rung_is_the_float_graph(kind: type[nn.Module]) -> None:
    x = images()
    _, conversion = converted(kind(), x, steps=4)
    wanted = values(conversion.core, (x,))
    found = values(rung(conversion).graph, (x,))
    for id in [*conversion.layers, *conversion.core.ops[-1].inputs]:
        torch.testing.assert_close(found[id], wanted[id], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("choices", [{}, {"per_channel": False}, {"coding": "split"}])
def test_weights_on_the_grid_are_found_again(kind: type[nn.Module], choices: dict[str, object]) -> None:
    x = images(bits=4, dtype=torch.float64)
    network, conversion = converted(on_grid(kind().double(), 4), x, steps=4, input_bits=4, **choices)
    made = rung(conversion, spiking_part(network))
    for op in made.graph:
        if op.module is not None:
            name = op.id.split("@")[0]
            layer, own = made.graph.modules[op.module], conversion.core.module_of(conversion.core[name])
            # One code is a unit of the neuron over the value of a spike; a weight is rounded by half of that.
            report = next(report for report in conversion.layers.values() if name in report.weights)
            code = report.unit.max() / report.inputs[name].min()
            assert float((layer.weight - own.weight).detach().abs().max()) <= float(code) * 0.51


def test_a_handed_in_value_is_what_the_readers_see() -> None:
    x = images()
    _, conversion = converted(Chain(), x, steps=4)
    alone = rung(conversion, local=True)
    truth = values(conversion.core, (x,))
    handed = [torch.zeros_like(truth[id]) for id in alone.substituted]
    found = values(alone.graph, (x, *handed))
    (readout,) = conversion.core.ops[-1].inputs
    bias = conversion.core.module_of(conversion.core[readout]).bias
    torch.testing.assert_close(found[readout], bias.expand_as(found[readout]))
    torch.testing.assert_close(found[alone.substituted[0]], truth[alone.substituted[0]])


def test_counts_are_those_of_a_neuron_under_constant_current() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(-300, 900, (2000,), generator=generator).double()
    for fire in ("ge", "gt"):
        for initial in (0.0, 0.5):
            neuron = bs.IF(256.0, fire=fire, initial=256.0 * initial)
            spikes = neuron(z.expand(7, 1, -1))
            formula = Counts(top=torch.tensor([256.0]), steps=7, initial=initial, fire=fire)
            assert torch.equal(formula(z), spikes.mean(0)[0] * 256)


def test_convert_check_07_layerwise_steps_equal_counts() -> None:
    x = images(24, bits=4, dtype=torch.float64)
    for kind in (Chain, Residual):
        _, conversion = converted(
            on_grid(kind().double()), x, steps=8, threshold=bs.MaxThreshold(), schedule="layerwise", input_bits=4
        )
        network = conversion.build(rounded=False)
        real, record = spiking_part(network), conversion_of(network)
        counts = values(rung(record, real, neurons="counts").graph, (x,))
        steps = run_once(real, record, (x,))
        for id, report in conversion.layers.items():
            if report.kind == "neuron":
                unit = conversion.settings.steps / report.wanted.item()
                assert torch.equal((steps.values[id] * unit).round(), (counts[id] * unit).round()), id


def test_convert_check_07_one_layer_is_off_by_half_a_level_at_most() -> None:
    x = images(24, bits=4, dtype=torch.float64)
    network, conversion = converted(
        on_grid(Chain().double()), x, steps=8, threshold=bs.MaxThreshold(), schedule="layerwise", input_bits=4
    )
    counts = values(rung(conversion, spiking_part(network), neurons="counts").graph, (x,))
    truth = values(conversion.core, (x,))
    id, report = next(iter(conversion.layers.items()))
    off = (counts[id] - truth[id]).detach().abs().max()
    assert 0.4 * report.wanted.item() / 8 < float(off) * 1 <= report.wanted.item() / 16 * (1 + 1e-9)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("choices", [{}, {"coding": "split"}, {"neuron": bs.SignedIF}, {"average_pool": "neuron"}])
def test_a_run_that_is_listened_to_is_the_run(kind: type[nn.Module], choices: dict[str, object]) -> None:
    x = images()
    network, conversion = converted(kind(), x, steps=6, **choices)
    run = run_once(spiking_part(network), conversion, (x,), steps_at=(3, 6))
    wanted = spiking_part(network)(x)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for found, last, value in zip(run.outputs, run.partial[6], wanted, strict=True):
        torch.testing.assert_close(found, value)
        torch.testing.assert_close(last, value)
    torch.testing.assert_close(run.inputs["x" if "x" in run.inputs else next(iter(run.inputs))], x)
    assert set(run.values) == set(conversion.layers)


def test_local_runs_carry_the_given_values() -> None:
    generator = torch.Generator().manual_seed(0)
    train = (torch.rand(9, 50, generator=generator) < 0.3).float()
    value = torch.rand(50, generator=generator)
    torch.testing.assert_close(carrying(train, value).mean(0), value)


def test_limits_are_those_of_the_integer_simulator() -> None:
    from dataclasses import replace

    x = images()
    network, conversion = converted(Residual(), x, steps=6)
    net = bs.lower(network, x[:1])
    nodes = tuple(replace(n, floor=-5, width=9) if isinstance(n, IntegerNeuron) else n for n in net.nodes)
    tight = replace(net, nodes=nodes)
    limits = limits_of(tight, spiking_part(network), conversion)
    assert len(limits) == len(net.neurons)
    run = run_once(spiking_part(network), conversion, (x,), limits=limits)
    trace = bs.simulate(tight, bs.encode(tight, x))
    (output,) = tight.outputs
    found = torch.from_numpy(bs.decode(output, trace.outputs[output.id])).float()
    torch.testing.assert_close(run.outputs[0], found, rtol=1e-4, atol=1e-5)
    assert limits_of(net, spiking_part(network), conversion) == {}


def test_a_limited_signed_neuron_takes_spikes_back() -> None:
    limits = Limits(floor=-100, width=None, counts=torch.ones(1))
    neuron = bs.SignedIF(1.0, initial=0.0)
    current = torch.tensor([[1.5], [-2.0], [0.0]])
    assert torch.equal(limited(neuron, current, limits), neuron(current))


def test_the_bias_of_a_read_out_is_the_rounded_one() -> None:
    x = images()
    network, conversion = converted(Chain(), x, steps=4)
    id, report = list(conversion.layers.items())[-1]
    spiking = spiking_part(network)
    layer, made = conversion.core.module_of(conversion.core[id]), spiking.get_submodule(report.weights[0])
    value = conversion.wires[conversion.core[id].inputs[0]][1]
    copied = decoded(layer, made, report, value)
    assert torch.equal(copied.bias, made.bias)
    assert not torch.equal(copied.weight, layer.weight)
