"""Spike counts against levels: counted by hand, exact over any batches, and the claim that signed neurons are right."""

from __future__ import annotations

import copy

import pytest
import torch
from quantized_networks import Residual, busy, images, without_ties
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.quantized.mismatch import Mismatch, mismatch
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.errors import ConstraintError, DataError
from bitspike.models.spiking.resnet import resnet
from bitspike.nn import QuantReLU

NEURONS = [bs.IF, bs.SignedIF]


def by_hooks(network: nn.Module, x: Tensor, neuron: type[bs.Neuron]) -> dict[str, tuple[int, int, int]]:
    """Return (counts that differ, spikes too many, too few) by the outputs of all neurons, kept by hooks."""
    twin, levels, counts = spiking_twin(network, neuron=neuron), dict[str, Tensor](), dict[str, Tensor]()
    for path, act in network.named_modules():
        if isinstance(act, QuantReLU):
            clip, t = act.clip.detach(), act.levels
            act.register_forward_hook(lambda m, i, out, p=path, c=clip, t=t: levels.update({p: out / c * t}))
            spikes = twin.get_submodule(path)
            spikes.register_forward_hook(lambda m, i, out, p=path, c=clip, t=t: counts.update({p: out / c}))
    with torch.no_grad():
        network(x), twin(x)
    result = {}
    for path, level in levels.items():
        difference = counts[path].unflatten(0, (-1, len(x))).sum(0).round() - level.round()
        result[path] = (
            int((difference != 0).sum()),
            int(difference.clamp(min=0).sum()),
            int(-difference.clamp(max=0).sum()),
        )
    return result


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("sizes", [[24], [1, 16, 7], [3] * 8])
def test_every_count_is_compared_whatever_the_batches(neuron: type[bs.Neuron], sizes: list[int]) -> None:
    network, x = busy(Residual().double()), images(24).double()
    found = mismatch(network, [(part, None) for part in x.split(sizes)], neuron=neuron)
    assert {path: (m.differ, m.more, m.fewer) for path, m in found.items()} == by_hooks(network, x, neuron)
    assert list(found) == ["act1", "act2", "act3"]
    assert [m.neurons for m in found.values()] == [24 * 6 * 64, 24 * 6 * 64, 24 * 8 * 64]
    assert found["act1"].differ == 0
    assert all(0 < found[path].share < 0.5 for path in ("act2", "act3"))
    assert {m.steps for m in found.values()} == {3}


def test_a_mismatch_as_plain_values() -> None:
    assert Mismatch(neurons=4, differ=1, more=0, fewer=2, steps=3).to_dict() == {
        "neurons": 4,
        "differ": 1,
        "more": 0,
        "fewer": 2,
        "steps": 3,
        "share": 0.25,
        "mean_difference": 0.5,
    }


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("neuron", NEURONS)
def test_qann_check_01_steady_currents_have_no_mismatch(bits: int, neuron: type[bs.Neuron]) -> None:
    network = nn.Sequential(nn.Linear(4, 64), QuantReLU(bits, 2.0), nn.Linear(64, 2)).double().eval()
    x = without_ties(torch.randn(100, 4, dtype=torch.float64) * 3, network[0], network[1])
    found = mismatch(network, x, neuron=neuron)["1"]
    assert (found.differ, found.more, found.fewer) == (0, 0, 0)
    assert found.neurons == 64 * len(x)


def test_order_of_data_flow_modes_and_hooks_stay() -> None:
    network = busy(resnet(depth=8, steps=None, neuron=lambda: QuantReLU(2, 1.0), width=1 / 8), shape=(3, 32, 32))
    network.train()
    modes = {name: m.training for name, m in network.named_modules()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = mismatch(network, torch.rand(3, 3, 32, 32))
    blocks = [f"block{b}.neuron{n}" for b in (1, 2, 3) for n in (1, 2)]
    assert list(found) == ["stem_neuron", *blocks]
    with pytest.raises(RuntimeError):
        mismatch(network, torch.rand(3, 2, 32, 32))
    assert modes == {name: m.training for name, m in network.named_modules()}
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_no_sample_and_no_batches_are_refused() -> None:
    network, x = busy(Residual()), images(2)
    with pytest.raises(DataError, match="there is no sample"):
        mismatch(network, [])
    with pytest.raises(DataError, match="pair of tensors"):
        mismatch(network, (x, torch.zeros(2)))
    with pytest.raises(DataError, match="must begin with a tensor"):
        mismatch(network, [{"images": x}])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_qann_check_12_signed_neurons_are_right_more_often_for_spikes_in_random_order(
    bits: int,
) -> None:
    """Random levels, sent as spikes in random order, into random weights of both signs.

    Stated for the method: 96, 91 and 92 % of the counts agree with signed neurons at T = 3, 7, 15, and 91, 82 and 76 %
    without; the mean error of a count is smaller by two to three times. The set-up is not stated; with the one here
    they are 94, 90 and 90 % to 89, 78 and 76 %, and the errors are 1.9, 2.1 and 2.3 times smaller.
    """
    steps, inputs, outputs, samples = 2**bits - 1, 64, 64, 256
    levels = torch.randint(0, steps + 1, (samples, inputs))
    order = torch.rand(steps, samples, inputs).argsort(0)
    spikes = (order < levels).double()  # each input sends as many spikes as its level, at random steps
    weight = 2 * torch.randn(inputs, outputs, dtype=torch.float64) / inputs**0.5
    currents = spikes @ weight
    act = QuantReLU(bits, 1.0).double()
    wanted = (act(currents.mean(0)).detach() * steps).round()
    agree, error = {}, {}
    for neuron in NEURONS:
        difference = neuron(1.0, initial=0.5)(currents).sum(0) - wanted
        agree[neuron] = float((difference == 0).double().mean())
        error[neuron] = float(difference.abs().mean())
    assert agree[bs.SignedIF] > 0.87
    assert agree[bs.SignedIF] > agree[bs.IF] + 0.03
    assert error[bs.SignedIF] < 0.6 * error[bs.IF]


def converted(bits: int, **choices: object) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return a quantized residual network, what it is converted to, and images."""
    network = resnet(depth=8, steps=None, neuron=nn.ReLU, width=1 / 4, image_size=8)
    network = bs.quantize(network, torch.rand(1, 3, 8, 8), bits=bits, clip=1.0)
    x = torch.rand(24, 3, 8, 8)
    busy(network, shape=(3, 8, 8))
    return network, bs.convert(network, x[:1], calibrate=x, neuron=bs.SignedIF, correct=None, **choices), x


def test_the_counts_of_a_converted_network_are_compared_too() -> None:
    network, snn, x = converted(2, steps=3)
    found = mismatch(network, x.split(10), spiking=snn)
    twin = mismatch(network, x)
    assert list(found) == list(twin)
    assert [m.neurons for m in found.values()] == [m.neurons for m in twin.values()]
    # Thresholds and weights are rounded to whole numbers, so that some counts near a border differ.
    for path, layer in found.items():
        assert layer.share < twin[path].share + 0.1, path
    assert not any(m._forward_hooks for m in snn.modules())


def test_a_twin_that_was_trained_since_is_compared_with_the_levels_from_before() -> None:
    network, _, x = converted(2, steps=3)
    trained = copy.deepcopy(network)
    same = mismatch(network, x, spiking=bs.spiking_twin(trained))
    assert same == mismatch(network, x)
    with torch.no_grad():
        next(p for p in trained.parameters() if p.dim() == 4).neg_()
    assert mismatch(network, x, spiking=bs.spiking_twin(trained)) != same
    with pytest.raises(ConstraintError, match="the twin has 3 bits and"):
        mismatch(network, x, spiking=bs.spiking_twin(converted(3, steps=7)[0]))


def test_another_spiking_network_is_refused() -> None:
    network, snn, x = converted(2, steps=3)
    with pytest.raises(ConstraintError, match="it runs 3 steps and the quantized network has 7 levels") as caught:
        mismatch(converted(3, steps=7)[0], x, spiking=snn)
    assert "leave spiking out" in str(caught.value)
    with pytest.raises(ConstraintError):
        mismatch(network, x, spiking=network)


@pytest.mark.parametrize("plain", [1, 3])
def test_neurons_of_relus_that_are_not_quantized_are_left_out(plain: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), QuantReLU(2, 1.0), nn.Linear(6, 6), QuantReLU(2, 1.0), nn.Linear(6, 3)]
    layers[plain] = nn.ReLU()
    network, x = nn.Sequential(*layers).eval(), torch.rand(16, 4)
    snn = bs.convert(network, x[:1], calibrate=x)
    assert list(mismatch(network, x, spiking=snn)) == list(mismatch(network, x)) == [str(4 - plain)]
    other = bs.convert(nn.Sequential(*layers[:3]).eval(), x[:1], calibrate=x, steps=3)
    if plain == 1:
        with pytest.raises(ConstraintError, match="quantized relus that are no neurons in it: 3"):
            mismatch(network, x, spiking=other)


def test_what_is_no_number_is_refused() -> None:
    network, x = nn.Sequential(nn.Linear(2, 3), QuantReLU(2, 1.0), nn.Linear(3, 2)), torch.rand(4, 2)
    with pytest.raises(DataError, match="mismatch: a batch holds NaN or infinity"):
        mismatch(network, torch.where(x > 0.5, float("nan"), x))
    with torch.no_grad():
        network[0].weight[0, 0] = float("nan")
    with pytest.raises(ConstraintError, match="4 of 12 counts or levels are NaN"):
        mismatch(network, x)
