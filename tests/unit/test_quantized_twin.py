"""The spiking network of a quantized one: it counts what the quantized network rounds, with the same parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from quantized_networks import Residual, busy, images, plain, without_ties
from torch import Tensor, fx, nn

import bitspike as bs
from bitspike.conversion.quantized.over_time import SpikingTwin, spiking_twin
from bitspike.errors import ConstraintError, ConversionError
from bitspike.models.spiking.resnet import resnet
from bitspike.nn import QuantReLU
from bitspike.nn.trace import trace
from bitspike.train import SGD

NEURONS = [bs.IF, bs.SignedIF]


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_qann_check_04_one_hidden_layer_of_steady_currents_agrees(neuron: type[bs.Neuron], bits: int) -> None:
    torch.manual_seed(bits)
    network = nn.Sequential(nn.Linear(6, 50), nn.BatchNorm1d(50), QuantReLU(bits, 1.5), nn.Linear(50, 4)).double()
    x = torch.randn(300, 6, dtype=torch.float64)
    network(x)
    network.eval()
    twin = spiking_twin(network, neuron=neuron)
    x = without_ties(x, network[:2], network[2])
    with torch.no_grad():
        torch.testing.assert_close(twin(x), network(x), rtol=0, atol=1e-12)
    assert twin.steps == 2**bits - 1


@pytest.mark.parametrize("neuron", NEURONS)
def test_a_deep_network_is_what_its_neurons_do_one_after_the_other(neuron: type[bs.Neuron]) -> None:
    network, x = busy(Residual().double()), images(8).double()
    a, b, c = network.act1, network.act2, network.act3

    def spikes(currents: Tensor, act: QuantReLU) -> Tensor:
        theta = float(act.clip)
        # How far below zero a signed neuron takes a spike back is counted in thresholds.
        more = {"retract": 1e-3 * theta} if neuron is bs.SignedIF else {}
        return theta * neuron(theta, initial=theta / 2, **more)(currents)

    with torch.no_grad():
        first = spikes(network.norm1(network.conv1(x)).expand(3, -1, -1, -1, -1), a)
        second = spikes(torch.stack([network.norm2(network.conv2(s)) for s in first]), b)
        sums = [network.norm3(network.conv3(s)) + network.side(skip) for s, skip in zip(second, first, strict=True)]
        third = spikes(torch.stack(sums), c)
        steps = torch.stack([network.read(s.mean((2, 3))) for s in third])
        twin = spiking_twin(network, neuron=neuron)
        torch.testing.assert_close(twin(x), steps.mean(0), rtol=0, atol=1e-12)
        running = torch.stack([steps[: t + 1].mean(0) for t in range(3)])
        torch.testing.assert_close(twin.by_step(x), running, rtol=0, atol=1e-12)


def test_names_and_parameters_are_those_of_the_quantized_network() -> None:
    network, other = busy(Spare()), busy(Spare(), seed=1)
    twin = spiking_twin(network)
    assert list(twin.state_dict()) == list(network.state_dict())
    assert all(a is b for a, b in zip(twin.parameters(), network.parameters(), strict=True))
    x = images(4)
    with torch.no_grad():
        assert not torch.equal(network(x), other(x))
        twin.load_state_dict(other.state_dict())
        assert torch.equal(network(x), other(x))
        assert torch.equal(twin(x), spiking_twin(other)(x))
    network.load_state_dict(spiking_twin(busy(Spare(), seed=2)).state_dict())


def test_the_state_of_a_network_of_other_bits_is_refused() -> None:
    def quantized(bits: int) -> nn.Module:
        torch.manual_seed(bits)
        layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
        return bs.quantize(nn.Sequential(*layers, nn.Linear(64, 3)), images(1), bits=bits).eval()

    network, x = quantized(2), images(3)
    twin = spiking_twin(network)
    with pytest.raises(RuntimeError, match="other grids"):
        twin.load_state_dict(spiking_twin(quantized(3)).state_dict())
    assert list(twin.state_dict()) == list(network.state_dict())
    other = spiking_twin(quantized(2))
    with torch.no_grad():
        network.get_parameter("0.bias").add_(1)
        assert not torch.equal(other(x), twin(x))
    other.load_state_dict(twin.state_dict())
    with torch.no_grad():
        assert torch.equal(other(x), twin(x))


class Spare(Residual):
    """A network with a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


def test_norms_keep_their_statistics_and_the_network_its_modes() -> None:
    network, x = busy(Residual()).train(), images(8)
    before = copy.deepcopy(network.state_dict())
    twin = spiking_twin(network).train()
    out = twin(x)
    out.square().mean().backward()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.norm2.training
    assert network.norm2.weight.grad is not None
    with torch.no_grad():
        assert torch.equal(out, twin.eval()(x))


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_parameter_learns_from_the_spikes(neuron: type[bs.Neuron]) -> None:
    network, x, y = busy(Residual()), images(32), torch.arange(32) % 3
    bs.attach(network, quantize=bs.Uniform(4), skip=["conv1", "read"])
    twin = spiking_twin(network, neuron=neuron)
    F.cross_entropy(twin(x), y).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name

    def loss() -> float:
        with torch.no_grad():
            return F.cross_entropy(twin(x), y).item()

    before, statistics = loss(), network.norm1.running_mean.clone()
    bs.fit(twin, [(x, y)], epochs=15, optimizer=SGD(lr=0.05), precision="fp32", device="cpu")
    assert loss() < 0.9 * before
    assert torch.equal(network.norm1.running_mean, statistics)


def test_what_is_steady_runs_once_and_a_softmax_on_the_mean() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), QuantReLU(2, 1.0), nn.Flatten(), nn.Linear(144, 3), nn.Softmax(1))
    network, x, rows = busy(network), images(5), dict[int, int]()
    for i in (0, 3, 4):
        network[i].register_forward_hook(lambda m, args, out, i=i: rows.update({i: len(out)}))
    twin = spiking_twin(network)
    with torch.no_grad():
        torch.testing.assert_close(twin(x), network(x))
        rows.clear()
        twin(x)
        assert rows == {0: 5, 3: 15, 4: 5}
        steps = twin.by_step(x)
    torch.testing.assert_close(steps.sum(2), torch.ones(3, 5))
    torch.testing.assert_close(steps[-1], network(x).detach())


class Pools(nn.Module):
    """Max pools of spikes as module and function, a join, a skip of the input, and results in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.after = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 1), nn.Conv2d(8, 3, 1)
        self.acts = nn.ModuleList(QuantReLU(2, 1.0) for _ in range(3))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.pool(self.acts[0](self.left(x)))
        b = F.max_pool2d(self.acts[1](self.right(x)), 2)
        joined = torch.cat([a, b, F.avg_pool2d(x, 2)], 1)
        c = self.acts[2](self.after(joined))
        return {"map": c, "rates": c.view(c.size(0), -1) / c.shape[1], "input": x}


def test_pools_joins_and_skips_of_the_input() -> None:
    network, x = busy(Pools()), images(6)
    with torch.no_grad():
        got, wanted = spiking_twin(network)(x), network(x)
    assert torch.equal(got["input"], x)
    assert got["rates"].shape == wanted["rates"].shape
    # A signed neuron may still be wrong where charge came too late; most counts agree.
    same = (got["map"] - wanted["map"]).abs() < 1e-5
    assert same.double().mean() > 0.9


@pytest.mark.parametrize("make", [lambda n: fx.GraphModule(n, trace(n)), copy.deepcopy, nn.DataParallel])
def test_graph_modules_copies_and_wrapped_networks_are_understood(make: Callable[[nn.Module], nn.Module]) -> None:
    network = busy(resnet(depth=8, steps=None, neuron=lambda: QuantReLU(2, 1.0), width=1 / 8), shape=(3, 32, 32))
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        twin, other = spiking_twin(network), spiking_twin(make(network))
        assert torch.equal(twin(x), other(x))
        assert torch.equal(copy.deepcopy(twin)(x), twin(x))


def test_qann_check_10_a_residual_network_of_two_bits_gives_classes() -> None:
    network = busy(resnet(depth=20, steps=None, neuron=lambda: QuantReLU(2, 1.0), width=1 / 8), shape=(3, 32, 32))
    with torch.no_grad():
        assert spiking_twin(network)(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("neuron", NEURONS)
def test_qann_check_10_the_charge_of_a_sum_is_the_quantized_one_for_evenly_spread_spikes(
    neuron: type[bs.Neuron],
) -> None:
    # Inputs at the levels 0 and T spike at no step or at every step, so their spikes are spread evenly.
    block = nn.Sequential(nn.Linear(6, 6), QuantReLU(2, 1.0)).double()
    network = Skip(block).double()
    with torch.no_grad():
        x = torch.randint(0, 2, (200, 6)).double() * 9
        network.inner.weight.mul_(2)
        x = without_ties(x, nn.Sequential(network.first, network.act), network.act2, charge=network.charge)
        torch.testing.assert_close(spiking_twin(network, neuron=neuron)(x), network(x), rtol=0, atol=1e-12)


class Skip(nn.Module):
    """An identity shortcut around a layer."""

    def __init__(self, block: nn.Sequential) -> None:
        super().__init__()
        self.first, self.act = nn.Identity(), block[1]
        self.inner, self.act2 = block[0], QuantReLU(2, 1.3)

    def charge(self, a: Tensor) -> Tensor:
        result: Tensor = self.inner(a) + a
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act2(self.charge(self.act(self.first(x))))
        return result


@pytest.mark.parametrize(
    ("network", "error", "what", "way"),
    [
        (nn.Linear(2, 2), ConstraintError, "no bs.QuantReLU", "bs.quantize"),
        (plain(nn.ReLU()), ConversionError, "ReLU in '3'", "bs.quantize"),
        (plain(nn.Sigmoid()), ConversionError, "Sigmoid in '3'", "bs.quantize"),
        (plain(nn.MaxPool1d(2)), ConversionError, "MaxPool1d in '3'", "right after its bs.QuantReLU"),
        (plain(nn.BatchNorm1d(4, track_running_stats=False)), ConversionError, "BatchNorm1d", "track_running_stats"),
        (plain(nn.Identity(), bits=3), ConstraintError, "'4' has 3 bits and '1' has 2", "QuantReLU(bits=2)"),
    ],
)
def test_what_has_no_meaning_step_by_step_is_refused(
    network: nn.Module, error: type[Exception], what: str, way: str
) -> None:
    with pytest.raises(error) as caught:
        spiking_twin(network)
    assert what in str(caught.value)
    assert way in str(caught.value).partition("fix: ")[2]


def test_an_activation_that_is_called_twice_and_other_neurons_are_refused() -> None:
    act = QuantReLU(2)
    with pytest.raises(ConstraintError, match=r"'1' is called 2 times"):
        spiking_twin(nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act))
    network = nn.Sequential(nn.Linear(2, 2), act)
    for neuron in (bs.LIF, bs.IF(), None):
        with pytest.raises(ConstraintError, match=r"allowed are bs\.IF and bs\.SignedIF"):
            spiking_twin(network, neuron=neuron)  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="a twin already"):
        spiking_twin(spiking_twin(network))
    with pytest.raises(ConversionError, match="takes 1 inputs"):
        spiking_twin(network)(torch.zeros(1, 2), torch.zeros(1, 2))


def test_samples_that_are_mixed_are_refused() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.second, self.act2 = nn.Linear(4, 4), QuantReLU(2), nn.Linear(8, 2), QuantReLU(2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act2(self.second(self.act(self.first(x)).view(-1, 8)))
            return result

    with pytest.raises(ConversionError, match="mixes or moves the samples"):
        spiking_twin(Mixed())(torch.rand(4, 4))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_layouts_and_types(layout: torch.memory_format, dtype: torch.dtype) -> None:
    network = busy(Residual()).to(dtype).to(memory_format=layout)
    x = images(3).to(dtype).to(memory_format=layout)
    with torch.no_grad():
        out = spiking_twin(network)(x)
    assert out.dtype == dtype
    assert out.shape == (3, 3)
    if dtype != torch.bfloat16:
        with torch.no_grad():
            torch.testing.assert_close(out, spiking_twin(busy(Residual()).to(dtype))(images(3).to(dtype)))


def test_the_twin_is_a_module_of_its_own() -> None:
    network = busy(Residual())
    assert isinstance(spiking_twin(network), SpikingTwin)
    assert isinstance(network.act1, QuantReLU)
