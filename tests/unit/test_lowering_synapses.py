"""Synapses in integers: exact where the leaks are dyadic, within the tolerance where not, and refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ExportError, LoweringError
from bitspike.hardware.energy.operations import MemoryModel
from bitspike.integer.bounds.widths import survey
from bitspike.integer.engine import Engine, TorchEngine
from bitspike.integer.nodes import Synapse
from bitspike.nn import Gain, SteadyDropout, SumPool

GRID = bs.Grid(1 / 16, 0, 16)


def network(decay: float = 0.75, synapse_decay: float = 0.5, steps: int = 5) -> nn.Module:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Linear(4 * 9, 5, bias=False)
    with torch.no_grad():
        conv.weight.mul_(6)
        linear.weight.mul_(6)

    def fires() -> list[nn.Module]:
        return [bs.SpikeTimeLIF(decay, synapse_decay=synapse_decay), bs.Synapse(synapse_decay)]

    net = nn.Sequential(
        bs.Repeat(steps), bs.Synapse(synapse_decay), bs.TimeDistributed(conv), *fires(),
        SumPool((2, 2)), Gain(1.1), SteadyDropout(0.2), bs.TimeDistributed(nn.Flatten(), linear), *fires(),
        bs.SumReadout(),
    )  # fmt: skip
    bs.attach(net, quantize=bs.Ternary(scale=bs.Dyadic(bs.weights.scales.MeanAbs())))
    return net.eval()


def images(count: int = 20) -> Tensor:
    return torch.randint(0, 17, (count, 1, 6, 6), generator=torch.Generator().manual_seed(0)) / 16


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_dyadic_leaks_lose_nothing(steps: int) -> None:
    net, x = network(steps=steps), images()
    lowered = bs.lower(net, x[:1], grid=GRID)
    assert not lowered.notes
    assert bs.verify(lowered, x).equal
    trace = bs.simulate(lowered, bs.encode(lowered, x))
    spikes = {id: torch.from_numpy(s).float() for id, s in trace.spikes.items()}
    seen: list[Tensor] = []
    handles = [m.register_forward_hook(lambda m, i, o: seen.append(o)) for m in net if isinstance(m, bs.SpikeTimeLIF)]
    with torch.no_grad():
        logits = net(x)
    for handle in handles:
        handle.remove()
    assert all(torch.equal(a, b) for a, b in zip(spikes.values(), seen, strict=True))
    assert steps == 1 or all(s.any() for s in seen)
    (readout,) = lowered.outputs
    torch.testing.assert_close(torch.from_numpy(trace.outputs[readout.id] * readout.scale).float(), logits)
    for engine in (TorchEngine(lowered), Engine(lowered)):
        other = engine.run(bs.encode(lowered, x))
        assert np.array_equal(other.outputs[readout.id], trace.outputs[readout.id])


def test_currents_stay_within_their_bounds_and_in_as_few_bits_as_they_need() -> None:
    net, x = network(), images()
    lowered = bs.lower(net, x[:1], grid=GRID)
    synapses = [node for node in lowered.nodes if isinstance(node, Synapse)]
    assert [node.left_shift for node in synapses] == [4, 4, 4]  # a leak of 1/2 for four steps
    assert all(node.leak.shift == 1 for node in synapses)
    widest = survey(lowered)[synapses[1].id].wire.span
    assert widest == (0, 16 + 8 + 4 + 2 + 1)


def test_leaks_of_thirds_and_fifths_are_noted_and_agree_almost_everywhere() -> None:
    net, x = network(0.8, 2 / 3), images(100)
    lowered = bs.lower(net, x[:1], grid=GRID)
    assert any("decay 0.666667 became 171/2**8" in note for note in lowered.notes)
    assert any("of the current of one spike" in note for note in lowered.notes)
    assert bs.verify(lowered, x).equal
    agreement = bs.compare(net, lowered, [(x, torch.zeros(100, dtype=torch.long))])
    assert agreement.spikes > 0.99
    finer = bs.lower(net, x[:1], grid=GRID, precision=bs.Precision(leak_bits=20))
    assert bs.compare(net, finer, [(x, torch.zeros(100, dtype=torch.long))]).spikes >= agreement.spikes


def test_dropout_is_nothing_in_integers_and_a_synapse_after_a_bias_is_refused() -> None:
    net = network()
    without = nn.Sequential(*(m for m in net if not isinstance(m, SteadyDropout))).eval()
    inside = nn.Sequential(*without[:5], bs.TimeDistributed(SteadyDropout(0.5)), *without[5:]).eval()
    assert len(net) == len(inside) == len(without) + 1
    kinds = [[type(node) for node in bs.lower(m, images()[:1], grid=GRID).nodes] for m in (without, net, inside)]
    assert kinds[0] == kinds[1] == kinds[2]
    layers = bs.TimeDistributed(nn.Linear(4, 3)), bs.Synapse(), bs.SumReadout()
    with pytest.raises(LoweringError, match=r"an offset(.|\n)*drop the bias"):
        bs.lower(nn.Sequential(bs.Repeat(2), *layers), torch.rand(1, 4), grid=GRID)


def test_formats_without_synapses_name_them(tmp_path: Path) -> None:
    lowered = bs.lower(network(), images()[:1], grid=GRID)
    with pytest.raises(ExportError, match=r"Synapse(.|\n)*bs.write_c"):
        bs.write_nir(lowered, tmp_path / "net.nir")
    with pytest.raises(ExportError, match=r'leaks by 0.5(.|\n)*mode="step"'):
        bs.write_onnx(lowered, tmp_path / "onnx", mode="count")


def test_energy_bills_currents_as_codes_and_the_leak_of_every_synapse() -> None:
    lowered = bs.lower(network(), images()[:1], grid=GRID)
    report = bs.energy(lowered, bs.simulate(lowered, bs.encode(lowered, images())))
    kinds = [line.kind for line in report.layers]
    assert kinds == ["synapse", "mac", "synapse", "pool", "mac", "synapse"]
    assert [line.operations for line in report.layers if line.kind == "synapse"] == [5 * 36, 5 * 4 * 36, 5 * 5]
    assert all(line.energy_pj > 0 for line in report.layers)
    with_memory = bs.energy(lowered, bs.simulate(lowered, bs.encode(lowered, images())), memory=MemoryModel())
    assert all(line.memory_pj > 0 for line in with_memory.layers if line.kind != "pool")
