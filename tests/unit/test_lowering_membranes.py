"""Potentials of few bits in integers: exact on dyadic grids, proven where they do not saturate, in all formats."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import CheckFailed, ConstraintError, ExportError, LoweringError
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip
from bitspike.integer.bounds.widths import survey
from bitspike.integer.engine import Engine
from bitspike.integer.examples import few_bits
from bitspike.integer.nodes import FewBitNeuron

GRID = bs.Grid(2**-8, 0, 255)


def images(count: int = 9) -> Tensor:
    return torch.randint(0, 256, (count, 1, 6, 6)) / 256


def network(neuron: bs.Neuron, *, steps: int = 4, norm: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.Repeat(steps=steps),
        bs.TimeDistributed(nn.Conv2d(1, 4, 3, bias=False), norm or bs.ShiftBatchNorm(4)),
        neuron,
        bs.TimeDistributed(nn.Flatten(), nn.Linear(64, 3, bias=False)),
        bs.RateReadout(),
    )
    bs.attach(model, quantize=bs.Uniform(bits=2, scale=bs.Dyadic()))
    with torch.no_grad():
        model(images())
    return model.eval()


NEURONS = {
    "if": lambda bits: bs.IF(membrane=bs.Membrane(bits)),
    "lif": lambda bits: bs.LIF(0.5, membrane=bs.Membrane(bits)),
    "hard": lambda bits: bs.LIF(0.75, reset="hard", v_reset=-0.25, fire="gt", membrane=bs.Membrane(bits)),
    "after": lambda bits: bs.LIF(0.5, leak="after", initial=0.5, membrane=bs.Membrane(bits)),
    "channels": lambda bits: bs.IF(torch.tensor([0.5, 1.0, 2.0, 1.0]), membrane=bs.Membrane(bits)),
    "signed": lambda bits: bs.SignedIF(retract=0.25, membrane=bs.Membrane(bits)),
    "plif": lambda bits: bs.PLIF(2.0, membrane=bs.Membrane(bits)),
    "step": lambda bits: bs.LIF(0.5, membrane=bs.Membrane(bits, step=2.0**-4)),
    "fixed": lambda bits: bs.LIF(0.5, resolution=2.0**-14, membrane=bs.Membrane(bits)),
}


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("kind", NEURONS)
def test_on_dyadic_grids_nothing_is_rounded_and_nothing_is_multiplied(kind: str, bits: int, steps: int) -> None:
    model = network(NEURONS[kind](bits), steps=steps)
    net = bs.lower(model, images()[:1], grid=GRID)
    (node,) = net.neurons
    assert isinstance(node, FewBitNeuron)
    assert node.kept_bits == bits
    assert not net.notes
    gain = np.abs(node.gains[0])
    assert not (gain & (gain - 1)).any()  # powers of two: a shift for what arrives
    assert bs.verify(net, images(5)).equal
    agreement = bs.compare(model, net, [(images(7), torch.zeros(7).long())])
    assert agreement.spikes == 1


def test_what_lies_in_memory_is_bounded_by_its_bits() -> None:
    net = bs.lower(network(NEURONS["lif"](2)), images()[:1], grid=GRID)
    (node,) = net.neurons
    low, high = survey(net)[node.id].state
    assert -2 <= low <= high <= 1


def test_a_membrane_that_shares_no_scale_says_so_and_is_proven_all_the_same() -> None:
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    net = bs.lower(network(NEURONS["lif"](2), norm=norm), images()[:1], grid=GRID)
    assert any("what arrives is multiplied, by" in note for note in net.notes)
    assert bs.verify(net, images()).equal


def test_codes_that_are_much_coarser_than_what_arrives_keep_the_tolerance() -> None:
    layer = bs.TimeDistributed(nn.Linear(2, 2, bias=False))
    nn.init.constant_(layer[0].weight, 0.6)  # without a scheme: one count is worth 0.6 / (2**15 - 1) / 255
    model = nn.Sequential(bs.Repeat(3), layer, bs.IF(membrane=bs.Membrane(2)), bs.SumReadout()).eval()
    net = bs.lower(model, torch.ones(1, 2))
    assert isinstance(net.neurons[0], FewBitNeuron)
    rounded = [float(note.split("within ")[1].split()[0]) for note in net.notes if "rounded within" in note]
    assert max(rounded, default=0.0) <= 2**-12
    assert bs.verify(net, torch.rand(5, 2)).equal


def test_without_saturation_the_bits_are_proven_or_refused_with_those_that_suffice() -> None:
    neuron = bs.LIF(0.5, membrane=bs.Membrane(2, step=0.5, saturate=False))
    with pytest.raises(LoweringError, match=r"2: its potential may need .*kept in 2 without saturation") as e:
        bs.lower(network(neuron), images()[:1], grid=GRID)
    bits = int(str(e.value).split("may need ")[1].split()[0])
    for enough, fits in ((bits, True), (bits - 1, False)):
        neuron = bs.LIF(0.5, membrane=bs.Membrane(enough, step=0.5, saturate=False))
        if not fits:
            with pytest.raises(LoweringError, match=f"may need {bits} bits"):
                bs.lower(network(neuron), images()[:1], grid=GRID)
            continue
        model = network(neuron)
        net = bs.lower(model, images()[:1], grid=GRID)
        assert bs.verify(net, images()).equal
        assert bs.compare(model, net, [(images(7), torch.zeros(7).long())]).spikes == 1


@pytest.mark.parametrize("threshold", [1.0, torch.tensor([0.5, 1.0, 2.0, 1.0])], ids=["one", "by channel"])
def test_the_membrane_that_a_refusal_offers_is_lowered(threshold: float | Tensor) -> None:
    neuron = bs.LIF(0.5, threshold, membrane=bs.Membrane(2, saturate=False))
    with pytest.raises(LoweringError, match="its potential may need") as e:
        bs.lower(network(neuron), images()[:1], grid=GRID)
    offered = eval(e.value.fix.removesuffix(", or saturate=True"), {"bs": bs, "torch": torch})  # noqa: S307
    net = bs.lower(network(bs.LIF(0.5, threshold, membrane=offered)), images()[:1], grid=GRID)
    assert bs.verify(net, images()).equal


def test_every_neuron_that_needs_more_bits_gets_its_own() -> None:
    def chain(*bits: int) -> nn.Sequential:
        sizes = zip((1.0, 0.5), bits, strict=True)
        few = [bs.IF(t, membrane=bs.Membrane(b, step=t / 2, saturate=False)) for t, b in sizes]
        layers = [bs.TimeDistributed(nn.Linear(2, 2, bias=False)) for _ in few]
        model = nn.Sequential(bs.Repeat(3), layers[0], few[0], layers[1], few[1], bs.SumReadout()).eval()
        for layer in layers:
            nn.init.constant_(layer[0].weight, -1.0)
        bs.attach(model, quantize=bs.Uniform(4, scale=bs.Dyadic()))
        return model

    x, spikes = torch.ones(1, 2), bs.Grid(1.0, 0, 1)
    with pytest.raises(LoweringError) as e:
        bs.lower(chain(2, 2), x, grid=spikes)
    assert e.value.fix == (
        "bs.Membrane(bits=5, step=0.5, saturate=False) at 2; bs.Membrane(bits=6, step=0.25, saturate=False) at 4, "
        "or saturate=True"
    )
    bs.lower(chain(5, 6), x, grid=spikes)
    with pytest.raises(LoweringError, match=r"saturate=True, or a coarser step: codes have at most 16 bits"):
        bs.lower(network(bs.LIF(0.5, membrane=bs.Membrane(2, step=2.0**-20, saturate=False))), images()[:1], grid=GRID)


def test_a_first_potential_that_no_code_stands_for_is_refused_without_saturation() -> None:
    def small(bits: int, *, saturate: bool) -> nn.Sequential:
        neuron = bs.IF(initial=0.9, membrane=bs.Membrane(bits, step=0.5, saturate=saturate))
        layers = nn.Sequential(bs.Repeat(2), bs.TimeDistributed(nn.Linear(2, 2, bias=False)), neuron, bs.SumReadout())
        nn.init.constant_(layers[1][0].weight, 0.25)
        return layers.eval()

    x = torch.tensor([[0.0, 0.5], [1.0, 0.0]])
    with pytest.raises(LoweringError, match=r"2: its potential begins with codes from 2 to 2, .* in 2 bits") as e:
        bs.lower(small(2, saturate=False), x)
    assert e.value.fix == "bs.Membrane(bits=3, step=0.5, saturate=False), or saturate=True"
    for bits, saturate in ((3, False), (2, True)):
        model = small(bits, saturate=saturate)
        assert bs.compare(model, bs.lower(model, x), [(x, torch.zeros(2).long())]).spikes == 1


def test_a_resolution_that_does_not_go_with_the_step_is_refused() -> None:
    neuron = bs.LIF(0.5, resolution=0.3, membrane=bs.Membrane(2))
    with pytest.raises(LoweringError, match=r"kept in steps of 0\.5 and leaks in steps of 0\.3") as e:
        bs.lower(network(neuron), images()[:1], grid=GRID)
    assert e.value.fix == "resolution=None, or the step divided by a power of two, no coarser than what arrives"
    bs.lower(network(bs.LIF(0.5, membrane=bs.Membrane(2))), images()[:1], grid=GRID)
    coarse = bs.lower(network(bs.LIF(0.5, resolution=0.03125, membrane=bs.Membrane(2))), images()[:1], grid=GRID)
    said = next(note for note in coarse.notes if "NOTHING of what it reads is left" in note)
    finer = float(said.partition("; resolution=")[2].split()[0])
    net = bs.lower(network(bs.LIF(0.5, resolution=finer, membrane=bs.Membrane(2))), images()[:1], grid=GRID)
    assert not any("NOTHING" in note for note in net.notes)


def test_the_engine_runs_through_torch_and_says_why() -> None:
    net = bs.lower(network(NEURONS["lif"](2)), images()[:1], grid=GRID)
    engine, codes = Engine(net), bs.encode(net, images())
    assert np.array_equal(engine.predict(codes)[net.outputs[0].id], bs.simulate(net, codes).outputs[net.outputs[0].id])
    assert not engine.native


def test_the_package_comes_back_with_its_membrane(tmp_path: Path) -> None:
    net = bs.lower(network(NEURONS["lif"](3)), images()[:1], grid=GRID)
    (node,) = bs.load(bs.save(net, tmp_path / "net")).neurons
    assert isinstance(node, FewBitNeuron)
    assert (node.kept_bits, node.kept_shift) == (3, net.neurons[0].kept_shift)  # type: ignore[attr-defined]
    assert bs.verify(tmp_path / "net").equal


def test_every_format_holds_it_or_says_what_to_do(tmp_path: Path) -> None:
    net = bs.lower(network(NEURONS["lif"](2)), images()[:1], grid=GRID)
    bs.write_c(net, tmp_path / "c")
    text = (tmp_path / "c" / "network.h").read_text()
    assert re.search(r"uint8_t v_\w+\[16\];.*4 in a byte", text)  # 64 potentials of 2 bits
    bs.write_onnx(net, tmp_path / "net.onnx")
    with pytest.raises(ExportError, match="keeps its potential in 2 bits; needed is a Neuron"):
        bs.write_onnx(net, tmp_path / "count.onnx", mode="count")
    with pytest.raises(ConstraintError, match="keeps its potential in 2 bits"):
        bs.count(net, bs.encode(net, images()))
    back = bs.read_nir(bs.write_nir(net, tmp_path / "net.nir"))
    codes = bs.encode(net, images())
    assert isinstance(back.neurons[0], FewBitNeuron)
    found, wanted = bs.simulate(back, codes), bs.simulate(net, codes)
    assert np.array_equal(*(next(iter(trace.outputs.values())) for trace in (found, wanted)))
    for reader in ("norse", "snntorch", "spikingjelly", "sinabs"):
        with pytest.raises(ExportError, match="keeps its potential in 2 bits, and"):
            bs.write_nir(net, tmp_path / "other.nir", reader=reader)  # type: ignore[arg-type]


def test_two_bits_by_hand() -> None:
    codes = np.full((1, 1, 1, 4, 4), 3)
    trace = bs.simulate(few_bits(bits=2, shift=1), codes)
    assert trace.potentials["neuron"][:, 0, 0, 0, 0].tolist() == [3, 5, 5, 5]
    assert not trace.spikes["neuron"].any()
    assert bs.simulate(few_bits(bits=3, shift=1), codes).potentials["neuron"][:, 0, 0, 0, 0].tolist() == [3, 7, 9, 5]


@pytest.mark.parametrize("bits", [16, 17, 40, 62])
def test_the_engine_runs_nodes_of_more_bits_than_a_membrane_has(bits: int) -> None:
    net, codes = few_bits(bits=bits, shift=3), np.full((1, 2, 1, 4, 4), 3)
    run, defined = Engine(net).run(codes), bs.simulate(net, codes)
    assert np.array_equal(run.potentials["neuron"], defined.potentials["neuron"])
    assert np.array_equal(run.spikes["neuron"], defined.spikes["neuron"])


def test_widths_chips_and_energy_know_what_is_kept() -> None:
    net = bs.lower(network(NEURONS["lif"](2)), images()[:1], grid=GRID)
    plain = bs.lower(network(bs.LIF(0.5)), images()[:1], grid=GRID)
    assert [w.kept_bits for w in bs.widths(net)] == [2, None]
    assert [w.kept_bits for w in bs.widths(plain)] == [None, None]
    few, wide = (bs.energy(n, bs.simulate(n, bs.encode(n, images()))).neurons[0] for n in (net, plain))
    assert few.memory_pj * wide.potential_bits == pytest.approx(wide.memory_pj * 2)
    with pytest.raises(CheckFailed, match="rounds its potential to few bits"):
        check(net, Chip(name="whole", few_bit_potentials=False)).raise_if_failed()
    assert check(net, Chip(name="free")).passed
    assert check(plain, Chip(name="whole", few_bit_potentials=False)).passed
