"""Neurons whose potential saturates, as a register does: by hand, in training, in integers, in recipes, on chips."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, ConversionError
from bitspike.hardware.chips.chip import Chip
from bitspike.ops.grids import Grid
from bitspike.recipe.load import load
from bitspike.weights import Dyadic, Uniform, attach

STEP = 2.0**-6
KINDS: dict[str, Callable[..., nn.Module]] = {
    "IF": bs.IF,
    "IF, hard": lambda threshold, **more: bs.IF(threshold, reset="hard", fire="gt", **more),
    "LIF": lambda threshold, **more: bs.LIF(0.5, threshold, **more),
    "LIF, leak after": lambda threshold, **more: bs.LIF(0.75, threshold, leak="after", **more),
    "SignedIF": lambda threshold, **more: bs.SignedIF(threshold, retract=STEP, **more),
}


def test_a_trace_by_hand() -> None:
    """In steps of 1/4 with 4 bits a potential lies from -2 to 1.75."""
    neuron = bs.IF(1.0, resolution=0.25, potential_bits=4)
    potentials: list[float] = []
    spikes, _ = neuron.scan(
        torch.tensor([[3.0], [-9.0], [3.0], [0.25]]), observe=lambda h, _: potentials.append(float(h))
    )
    # 3 is kept as 1.75, leaves 0.75; -8.25 is kept as -2; 1 fires and leaves 0; 0.25
    assert potentials == [1.75, -2.0, 1.0, 0.25]
    assert spikes.flatten().tolist() == [1, 0, 1, 0]


def test_the_gradient_stops_where_the_potential_saturates() -> None:
    x = torch.tensor([[0.5], [3.0]], requires_grad=True)
    bs.IF(1.0, resolution=0.25, potential_bits=4)(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad[0] != 0
    assert x.grad[1] == 0


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("bits", [8, 9])
def test_the_integers_do_what_training_does(kind: Callable[..., nn.Module], bits: int) -> None:
    """Charges reach ten times the threshold, so that every second potential saturates at one of the two ends."""
    generator = torch.Generator().manual_seed(bits)
    images = torch.randint(0, 17, (64, 1, 6, 6), generator=generator) / 16
    model = nn.Sequential(
        bs.Repeat(steps=5),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False)),
        kind(1.0, resolution=STEP, potential_bits=bits),
        bs.TimeDistributed(nn.Conv2d(6, 6, 3, bias=False)),
        kind(torch.linspace(0.5, 1, 6).mul(16).round() / 16, resolution=STEP, potential_bits=bits),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(24, 3)),
        bs.SumReadout(),
    )
    for name, size in (("1.0", 12.0), ("3.0", 8.0)):
        nn.init.normal_(model.get_submodule(name).weight, std=size / 4, generator=generator)  # type: ignore[arg-type]
    attach(model, quantize=Uniform(bits=4, scale=Dyadic())).eval()
    net = bs.lower(model, images[:1], grid=Grid(1 / 16, 0, 16))
    assert [neuron.width for neuron in net.neurons] == [bits, bits]
    trace = bs.simulate(net, bs.encode(net, images))
    edge = 1 << (bits - 1)
    for neuron in net.neurons:
        potentials = trace.potentials[neuron.id]
        assert (int(potentials.min()), int(potentials.max())) == (-edge, edge - 1)
    agreement = bs.compare(model, net, [(images, torch.zeros(64, dtype=torch.long))])
    assert agreement.spikes == 1
    assert not [note for note in net.notes if "readout" not in note and "6" not in note.split(":")[0]]
    assert bs.verify(net, images).equal
    if net.neurons[0].leak_order == "before":  # else the sum before the leak is not limited
        assert all(w.membrane_bits == bits for w in bs.widths(net)[:2])


def converted(**choices: object) -> tuple[nn.Module, bs.IntegerNetwork, Tensor]:
    torch.manual_seed(0)
    images = torch.rand(64, 1, 8, 8)
    layers = (nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten())
    ann = nn.Sequential(*layers, nn.Linear(8, 3)).eval()
    options: dict[str, object] = {"steps": 8, "bits": 4, "first_bits": 4, **choices}
    snn = bs.convert(ann, images[:1], calibrate=images, **options)  # type: ignore[arg-type]
    return snn, bs.lower(snn, images[:1]), images


@pytest.mark.parametrize("neuron", [bs.IF, bs.SignedIF])
@pytest.mark.parametrize("pool", ["sum", "neuron"])
def test_a_conversion_saturates_where_it_is_told_to(neuron: type[nn.Module], pool: str) -> None:
    wide = converted(neuron=neuron, average_pool=pool)[1]
    chip = Chip(name="register", potential_bits=13)
    (broken,) = {v.rule for v in bs.check(wide, chip).errors}
    assert broken == "potentials have at most 13 bits"
    assert all(v.fixes[0].startswith("potential_bits=13 of the neuron") for v in bs.check(wide, chip).errors)
    snn, net, images = converted(neuron=neuron, average_pool=pool, potential_bits=13)
    assert {n.width for n in net.neurons} == {13}
    assert bs.check(net, chip).passed
    assert bs.verify(net, images).equal
    assert bs.compare(snn, net, [(images, torch.zeros(64, dtype=torch.long))]).spikes == 1
    assert not net.notes


def test_fraction_bits_leave_room_for_twice_the_threshold() -> None:
    for bits in (13, 14, 16):
        net, coarse = (converted(potential_bits=bits, tolerance=1e-4, **c)[1] for c in ({}, {"max_fraction_bits": 0}))
        for fine, plain in zip(net.neurons, coarse.neurons, strict=True):
            most, least = int(fine.threshold.max()), int(plain.threshold.max())
            assert 2 * most <= 1 << (bits - 1) or most == least
    assert most > least


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bs.IF(potential_bits=8), r"steps of a resolution, and there is none\n  fix: resolution=0.03125"),
        (lambda: bs.LIF(resolution=0.1, potential_bits=1), "potential_bits=1: a potential saturates at 2 to 24 bits"),
        (lambda: bs.IF(resolution=0.1, potential_bits=25), "saturates at 2 to 24 bits"),
        (
            lambda: bs.IF(resolution=0.25, potential_bits=3),
            r"reaches 0.75 at most, so the neuron never fires\n  fix: potential_bits=4",
        ),
        (
            lambda: bs.IF(resolution=0.25, potential_bits=4, initial=-2.5),
            r"initial=-2.5, .* potentials lie from -2 to 1.75",
        ),
        (lambda: bs.IF(resolution=0.25, potential_bits=4, reset="hard", v_reset=2.0), "v_reset=2.0: with 4 bits"),
        (lambda: bs.SignedIF(resolution=0.25, potential_bits=8.5), "potential_bits=8.5"),
    ],
)
def test_what_no_register_does_is_refused(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        make()


def test_a_resolution_in_which_all_that_arrives_counts_as_nothing_is_told() -> None:
    def lowered(resolution: float) -> bs.IntegerNetwork:
        neuron = bs.IF(0.5, resolution=resolution)
        layers = bs.TimeDistributed(nn.Linear(4, 8)), neuron, bs.TimeDistributed(nn.Linear(8, 2)), bs.RateReadout()
        network = attach(nn.Sequential(bs.Repeat(steps=2), *layers), quantize=Uniform(4, scale=Dyadic()))
        return bs.lower(network, torch.rand(8, 4)[:1])

    said = next(note for note in lowered(2.0**-8).notes if "NOTHING of what it reads is left" in note)
    assert said.startswith("2: ")
    finer = float(said.partition("; resolution=")[2].split()[0])
    assert not any("NOTHING" in note for note in lowered(finer).notes)


def test_a_conversion_that_could_not_fire_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        ConversionError, match=r"which a potential of 6 bits does not reach\n  fix: potential_bits=(\d+)"
    ):
        converted(potential_bits=6)
    with pytest.raises(ConstraintError, match=r"potential_bits=30\): 2 to 24 bits are possible"):
        converted(potential_bits=30)


def test_recipes_say_it() -> None:
    recipe = load("quickstart", ["neuron.resolution=0.0009765625", "neuron.potential_bits=12"])
    assert recipe.neuron.potential_bits == 12  # type: ignore[union-attr]
    assert load("digits-convert", ["convert.potential_bits=14"]).convert.potential_bits == 14  # type: ignore[union-attr]
    report = bs.check("digits-convert", Chip(name="register", potential_bits=14), set=["convert.potential_bits=14"])
    assert report.passed
