"""Networks that run time themselves are told the form that can be followed, and that form does the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConversionError, LoweringError

X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Loop(nn.Module):
    """State in a variable of the loop, or in an attribute."""

    def __init__(self, kept: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.lif, self.out = nn.Conv2d(1, 4, 3), bs.LIF(0.5, threshold=0.25), nn.Linear(144, 3)
        self.kept, self.state = kept, None

    def forward(self, x: Tensor) -> Tensor:
        total, state = torch.zeros(()), None
        self.state = None
        for _ in range(4):
            before: Any = self.state if self.kept else state
            spikes, state = self.lif.scan(self.conv(x)[None], before)  # type: ignore[assignment]
            self.state = state
            total = total + self.out(spikes[0].flatten(1))
        return total / 4


@pytest.mark.parametrize("neuron", [bs.LIF(0.5), bs.PLIF(), bs.SignedIF(), bs.SpikeTimeLIF()], ids=str)
@pytest.mark.parametrize("kept", [False, True])
def test_a_loop_with_scan_is_told_the_right_form_by_lower_and_convert(kept: bool, neuron: bs.Neuron) -> None:
    net = Loop(kept).eval()
    net.lif = neuron  # type: ignore[assignment]
    with pytest.raises(LoweringError, match=r"neuron\.scan \(.*test_graph_loops\.py:\d+: spikes") as lowered:
        bs.lower(net, X[:1])
    with pytest.raises(ConversionError, match=r"neuron\.scan") as converted:
        bs.convert(net, X[:1], calibrate=X)
    for caught in (lowered, converted):
        assert "bs.Repeat(steps=T)" in str(caught.value)
        assert "[T, N, ...]" in str(caught.value)


def test_the_form_that_is_told_computes_the_same_and_lowers() -> None:
    net = Loop().eval()
    told = nn.Sequential(
        bs.Repeat(steps=4), bs.TimeDistributed(net.conv), net.lif, bs.TimeDistributed(nn.Flatten(), net.out),
        bs.RateReadout(),
    )  # fmt: skip
    torch.testing.assert_close(told(X), net(X))
    assert net(X).std() > 0
    assert bs.verify(bs.lower(told, X[:1]), X).equal


def test_a_neuron_without_time_in_front_of_it_is_told_what_makes_time() -> None:
    class Timeless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lif = nn.Conv2d(1, 4, 3), bs.LIF(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.conv(x)).flatten(1)  # type: ignore[no-any-return]

    with pytest.raises(LoweringError, match=r"bs\.Repeat\(steps=T\)"):
        bs.lower(Timeless().eval(), X[:1])


def test_a_spiking_network_needs_no_conversion() -> None:
    net = nn.Sequential(bs.Repeat(2), bs.TimeDistributed(nn.Flatten(), nn.Linear(64, 4)), bs.LIF(0.5), bs.RateReadout())
    with pytest.raises(ConversionError, match=r"spiking neurons already: LIF(.|\n)*bs\.lower\(model, example\)"):
        bs.convert(net, X[:1], calibrate=X)


def foreign(library: str) -> type[nn.Module]:
    """Return a neuron as other libraries have them: one step a call, the state handed on."""

    def forward(self: nn.Module, x: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
        del self
        potential = potential * 0.5 + x
        return (potential > 1).float(), potential

    return type("Leaky", (nn.Module,), {"forward": forward, "__module__": f"{library}._neurons.leaky"})


@pytest.mark.parametrize(("library", "name"), [("snntorch", "snnTorch"), ("spikingjelly", "SpikingJelly")])
def test_a_neuron_of_another_library_is_named(library: str, name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(64, 4), foreign(library)()

        def forward(self, x: Tensor) -> Tensor:
            total = potential = torch.zeros(len(x), 4)
            for _ in range(3):
                spikes, potential = self.lif(self.fc(x.flatten(1)), potential)
                total = total + spikes
            return total

    with pytest.raises(LoweringError, match=f"lif is a Leaky of {name}"):
        bs.lower(Net(), X[:1])
    with pytest.raises(ConversionError, match=f"lif is a Leaky of {name}"):
        bs.convert(Net(), X[:1], calibrate=X)
