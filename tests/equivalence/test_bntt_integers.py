"""Networks with a norm for every step: integers equal the graph, and all engines equal the integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ExportError, LoweringError
from bitspike.formats.onnx.write import write_onnx
from bitspike.integer.engine import Engine, TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.simulate import simulate
from bitspike.nn import BernoulliCoder, Burst, Repeat, SumReadout, TimeDistributed, set_steps
from bitspike.nn.arrange import Upsample
from equivalence.c_programs import CProgram, needs_compiler

GRID = bs.Grid(1 / 16, -16, 16)
"""Images of 33 levels that floats hold exactly."""


def images(samples: int = 5, *, seed: int = 0) -> Tensor:
    return torch.randint(-16, 17, (samples, 2, 6, 6), generator=torch.Generator().manual_seed(seed)) / 16


def network(
    steps: int = 4, *, grid: float | None = 2**-6, coder: Callable[[int], nn.Module] = Repeat, decay: float = 0.75
) -> nn.Module:
    """A small network of the paper's layers, its gains and statistics different at every step, some of them 0."""

    def norm(channels: int) -> nn.Module:
        return bs.BatchNormThroughTime(channels, steps=steps, grid=grid)

    def neuron() -> nn.Module:
        return bs.LIF(decay, 0.5, fire="gt", detach_reset=True, resolution=None if grid is None else 2**-18)

    net = nn.Sequential(
        coder(steps),
        TimeDistributed(nn.Conv2d(2, 4, 3, padding=1, bias=False), norm(4)),
        neuron(),
        TimeDistributed(nn.AvgPool2d(2), nn.Conv2d(4, 6, 3, padding=1, bias=False), norm(6)),
        neuron(),
        TimeDistributed(nn.Flatten(), nn.Linear(54, 8, bias=False), norm(8)),
        neuron(),
        TimeDistributed(nn.Linear(8, 5, bias=False)),
        bs.RateReadout(),
    )
    bs.attach(net, quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))
    for _ in range(3):
        net(images(16))
    for m in net.modules():
        if isinstance(m, bs.BatchNormThroughTime):
            nn.init.normal_(m.weight, std=2.0)
            with torch.no_grad():
                m.weight[:, 0] = 0.0
                m.weight[0, 1] = 1e-30
    return net.eval()


def lowered(net: nn.Module) -> IntegerNetwork:
    return bs.lower(net, images()[:1], grid=GRID)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("coder", [Repeat, BernoulliCoder])
def test_on_a_grid_integers_do_what_the_network_does_and_nothing_is_rounded(coder: type[nn.Module], steps: int) -> None:
    net, x = network(steps, coder=coder), images(7)
    integers = lowered(net)
    assert not [note for note in integers.notes if "rounded" in note or "became" in note]
    agreement = bs.compare(net, integers, [(x, torch.zeros(len(x), dtype=torch.int64))])
    assert (agreement.spikes, agreement.predictions) == (1.0, 1.0)
    assert bs.verify(integers, x).equal
    assert any(simulate(integers, bs.encode(integers, x)).spikes[n.id].any() for n in integers.neurons)


def test_real_gains_are_rounded_within_the_tolerance_and_the_note_says_so() -> None:
    net, x = network(6, grid=None, decay=0.95), images(20)
    integers = lowered(net)
    assert any("rounded within" in note for note in integers.notes)
    assert {node.gains[0].shape for node in integers.neurons} == {(6, 4), (6, 6), (6, 8)}
    assert {node.bias.shape for node in integers.neurons} == {(6, 4), (6, 6), (6, 8)}
    assert bs.compare(net, integers, [(x, torch.zeros(len(x), dtype=torch.int64))]).spikes > 0.99
    assert bs.verify(integers, x).equal


def test_one_step_that_is_nearly_switched_off_makes_no_threshold_large() -> None:
    net = network(4, grid=None)
    for m in net.modules():
        if isinstance(m, bs.BatchNormThroughTime):
            nn.init.ones_(m.weight)
    before = [int(node.threshold.max()) for node in lowered(net).neurons]
    for m in net.modules():
        if isinstance(m, bs.BatchNormThroughTime):
            with torch.no_grad():
                m.weight[2] *= 1e-7
    after = [int(node.threshold.max()) for node in lowered(net).neurons]
    assert all(a <= 2 * b for a, b in zip(after, before, strict=True))
    assert bs.verify(lowered(net), images()).equal


def test_fewer_steps_take_the_first_gains_and_more_are_refused() -> None:
    net = network(4)
    with set_steps(net, 2):
        short, x = lowered(net), images()
        assert short.steps == 2
        assert bs.compare(net, short, [(x, torch.zeros(len(x), dtype=torch.int64))]).spikes == 1.0
    whole, codes = lowered(net), bs.encode(short, x)
    first = simulate(whole, codes, steps=2)
    for node in short.neurons:
        assert np.array_equal(simulate(short, codes).spikes[node.id], first.spikes[node.id])
    with (
        set_steps(net, 5),
        pytest.raises(
            LoweringError, match=r"1\.1: .* gains for 4 steps, and the network runs 5\n.*set_steps\(model, 4\)"
        ),
    ):
        lowered(net)


@pytest.mark.parametrize("method", [None, "torch"])
def test_every_engine_gives_the_spikes_and_potentials_of_the_definition(method: str | None) -> None:
    integers = lowered(network(5))
    engine = Engine(integers) if method is None else TorchEngine(integers)
    codes = bs.encode(integers, images(9))
    found, wanted = engine.run(codes), simulate(integers, codes)
    for node in integers.neurons:
        assert np.array_equal(found.spikes[node.id], wanted.spikes[node.id])
        assert np.array_equal(found.potentials[node.id], wanted.potentials[node.id])
    for id, output in wanted.outputs.items():
        assert np.array_equal(found.outputs[id], output)
    if method is None:
        assert engine.reason == "", "the native engine holds it"


@needs_compiler
@pytest.mark.parametrize("grid", [2**-6, None])
def test_c_gives_the_spikes_of_the_definition_whole_and_step_by_step(grid: float | None, tmp_path: Path) -> None:
    integers = lowered(network(5, grid=grid))
    program, codes = CProgram(integers, tmp_path, name="network"), bs.encode(integers, images())
    found, wanted = program.run(codes), simulate(integers, codes)
    for node in integers.neurons:
        assert np.array_equal(found.spikes[node.id], wanted.spikes[node.id])
    for id, output in wanted.outputs.items():
        assert np.array_equal(found.outputs[id], output)
        assert np.array_equal(program.stepwise(codes[:, 0], 3)[id], simulate(integers, codes, steps=3).outputs[id][0])


def test_onnx_holds_gains_by_step_and_nir_refuses_them_by_name(tmp_path: Path) -> None:
    from properties.onnx_runs import open_file, run_steps

    integers = lowered(network(4))
    codes = bs.encode(integers, images())
    found, wanted = run_steps(open_file(write_onnx(integers, tmp_path / "net.onnx")), codes), simulate(integers, codes)
    for name, spikes in wanted.spikes.items():
        assert np.array_equal(found.spikes[name], spikes)
    with pytest.raises(ExportError, match=r"2.*change|over time|step"):
        bs.write_nir(integers, tmp_path / "net.nir")


def test_a_saved_package_keeps_the_gains_of_every_step(tmp_path: Path) -> None:
    integers = lowered(network(4))
    bs.save(integers, tmp_path / "package")
    again = bs.load(tmp_path / "package")
    for ours, theirs in zip(again.neurons, integers.neurons, strict=True):
        assert np.array_equal(ours.gains[0], theirs.gains[0])
        assert np.array_equal(ours.bias, theirs.bias)


def test_a_norm_outside_of_time_distributed_is_the_same_network() -> None:
    inside = network(4)
    conv, norm = inside[1]
    outside = nn.Sequential(inside[0], TimeDistributed(conv), norm, *list(inside)[2:]).eval()
    ours, theirs, x = lowered(outside), lowered(inside), images()
    assert torch.equal(outside(x), inside(x))
    assert np.array_equal(ours.neurons[0].gains[0], theirs.neurons[0].gains[0])
    assert bs.compare(outside, ours, [(x, torch.zeros(len(x), dtype=torch.int64))]).spikes == 1.0


def test_branches_with_and_without_gains_by_step_are_added() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Repeat(3)
            self.stepwise = TimeDistributed(
                nn.Conv2d(2, 4, 3, bias=False), bs.BatchNormThroughTime(4, steps=3, grid=2**-4)
            )
            self.steady = TimeDistributed(nn.Conv2d(2, 4, 3, bias=False), bs.ShiftBatchNorm(4))
            self.neuron = bs.IF(0.5)
            self.flatten, self.readout = TimeDistributed(nn.Flatten()), SumReadout()

        def forward(self, x: Tensor) -> Tensor:
            x = self.encoder(x)
            return self.readout(self.flatten(self.neuron(self.stepwise(x) + self.steady(x))))

    net, x = bs.attach(Branches(), quantize=bs.Uniform(bits=3, scale=bs.Dyadic())), images()
    for _ in range(3):
        net(images(16))
    nn.init.normal_(net.stepwise[1].weight)
    integers = lowered(net.eval())
    assert [gain.shape for gain in integers.neurons[0].gains] == [(3, 4), (1, 4)]
    assert not [note for note in integers.notes if "rounded" in note]
    assert bs.compare(net, integers, [(x, torch.zeros(len(x), dtype=torch.int64))]).spikes == 1.0


def test_a_read_out_after_the_norm_weighs_every_step() -> None:
    norm = bs.BatchNormThroughTime(5, steps=3, grid=2**-4)
    nn.init.normal_(norm.weight)
    net = nn.Sequential(
        Repeat(3), TimeDistributed(nn.Flatten(), nn.Linear(72, 5, bias=False), norm), SumReadout()
    ).eval()
    bs.attach(net, quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))
    integers, x = lowered(net), images()
    assert bs.verify(integers, x).equal
    answers = bs.decode(integers.outputs[0], simulate(integers, bs.encode(integers, x)).outputs[integers.outputs[0].id])
    assert torch.equal(torch.from_numpy(answers).float(), net(x))


@pytest.mark.parametrize(
    ("after", "named"),
    [
        (TimeDistributed(nn.AvgPool2d(2)), "2.0"),
        (TimeDistributed(nn.MaxPool2d(2)), "2.0"),
        (TimeDistributed(nn.Flatten()), "2.0"),
        (Upsample((2, 2)), "2"),
        (Burst(), "2"),
        (TimeDistributed(nn.Conv2d(4, 2, 1)), "2.0"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_read_a_value_that_changes_its_worth_is_refused_with_a_way_out(
    after: nn.Module, named: str
) -> None:
    norm = bs.BatchNormThroughTime(4, steps=3)
    nn.init.normal_(norm.weight)
    net = nn.Sequential(Repeat(3), TimeDistributed(nn.Conv2d(2, 4, 3, bias=False), norm), after, bs.IF(), SumReadout())
    with pytest.raises(LoweringError, match=rf"{named}(.|\n)*fix: .*(neuron|norm)"):
        lowered(net.eval())


def test_a_burst_before_the_norm_is_refused() -> None:
    norm = bs.BatchNormThroughTime(4, steps=3)
    net = nn.Sequential(
        Repeat(3),
        TimeDistributed(nn.Conv2d(2, 4, 3, bias=False)),
        Burst(),
        TimeDistributed(norm),
        bs.IF(),
        SumReadout(),
    )
    with pytest.raises(LoweringError, match=r"3\.0: .*after bs\.nn\.Burst"):
        lowered(net.eval())


def test_values_beyond_the_divisor_of_a_coder_spike_with_certainty_and_are_not_called_clipped() -> None:
    net = network(3, coder=lambda steps: BernoulliCoder(steps, divisor=1.25))
    x = torch.full((2, 2, 6, 6), 1.5)  # warnings are errors
    integers = lowered(net)
    assert (bs.encode(integers, x) == 1).all()
    assert bs.compare(net, integers, [(x, torch.zeros(2, dtype=torch.int64))]).inputs_clipped == 0
    with pytest.raises(bs.ConstraintError, match="further out"):
        bs.encode(integers, x * 100)
