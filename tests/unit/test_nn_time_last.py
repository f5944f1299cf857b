"""Networks in code whose time is the last axis: the same numbers, the same integers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError, LoweringError
from bitspike.models import stbp_lif
from bitspike.nn import TimeFirst, TimeLast


def conv(inputs: int, out: int) -> bs.TimeDistributed:
    return bs.TimeDistributed(nn.Conv2d(inputs, out, 3, padding=1, bias=False), bs.ThresholdBatchNorm(out, 0.4))


class Net(nn.Module):
    """A network as code with time last writes it: [N, C, H, W, T] from layer to layer, a sum, a join, a rate."""

    def __init__(self, *, steps: int | None = 2, adapt: type[nn.Module] = TimeLast) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encode = None if steps is None else adapt(bs.Repeat(steps))
        self.conv1, self.conv2 = adapt(conv(2, 4)), adapt(conv(4, 4))
        self.spike1, self.spike2 = adapt(stbp_lif()), adapt(stbp_lif())
        self.axis = 1 if adapt is TimeLast else 2
        self.fc = adapt(bs.TimeDistributed(nn.Flatten(), nn.Linear(8 * 36, 3)), stbp_lif())
        self.rate = adapt(bs.RateReadout())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.encode is None else self.encode(x)
        x = self.spike1(self.conv1(x))
        y = self.spike2(self.conv2(x) + x)
        return self.rate(self.fc(torch.cat((x, y), dim=self.axis)))


IMAGES = torch.randint(0, 256, (5, 2, 6, 6), generator=torch.Generator().manual_seed(1)) / 255


def ready(net: Net) -> Net:
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        net(IMAGES)  # statistics
    return net.eval()


def test_numbers_gradients_and_names_are_those_of_the_network_with_time_first() -> None:
    last, first = ready(Net()), ready(Net(adapt=nn.Sequential))
    assert list(last.state_dict()) == list(first.state_dict())
    assert torch.equal(last(IMAGES), first(IMAGES))
    for net in (last, first):
        net.train()
        net(IMAGES).square().sum().backward()
    for mine, other in zip(last.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    assert last.spike1(last.conv1(last.encode(IMAGES))).shape == (5, 4, 6, 6, 2)


def test_its_integers_are_those_of_the_network_with_time_first(tmp_path: Path) -> None:
    last, first = ready(Net()), ready(Net(adapt=nn.Sequential))
    for net in (last, first):
        bs.attach(net, quantize=bs.Uniform(bits=4))
    integers = [bs.lower(net, IMAGES[:1]) for net in (last, first)]
    codes = bs.encode(integers[0], IMAGES)
    runs = [bs.simulate(net, codes) for net in integers]
    assert sum(int(spikes.sum()) for spikes in runs[0].spikes.values()) > 0
    assert [s.tolist() for s in runs[0].outputs.values()] == [s.tolist() for s in runs[1].outputs.values()]
    assert bs.verify(integers[0], IMAGES).equal
    bs.write_c(integers[0], tmp_path / "c")
    assert bs.compare(last, integers[0], [(IMAGES, torch.zeros(5, dtype=torch.int64))]).spikes > 0.95


@pytest.mark.parametrize("steps", [1, 3])
def test_input_that_has_time_enters_by_time_first(steps: int) -> None:
    spikes = (torch.rand(steps, 5, 2, 6, 6, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    net = Net(steps=None)
    net(spikes.movedim(0, -1))
    whole = TimeFirst(net).eval()
    assert torch.equal(whole(spikes), net(spikes.movedim(0, -1)))
    integers = bs.lower(whole, spikes[:, :1])
    assert integers.steps == steps
    assert bs.verify(integers, spikes).equal


def test_an_axis_that_is_not_the_one_expected_is_refused_by_name() -> None:
    first, last = bs.TimeDistributed(nn.Linear(4, 3)), TimeLast(bs.TimeDistributed(nn.Linear(3, 3)))
    with pytest.raises(LoweringError, match=r"2: TimeLast gets a tensor whose time is the first axis(.|\n)*TimeFirst"):
        bs.lower(nn.Sequential(bs.Repeat(2), first, last, bs.RateReadout()), torch.zeros(1, 4))
    with pytest.raises(LoweringError, match=r"2: LIF gets a tensor whose time is the last axis(.|\n)*TimeLast\(LIF"):
        bs.lower(nn.Sequential(TimeLast(bs.Repeat(2)), TimeLast(first), bs.LIF(), bs.RateReadout()), torch.zeros(1, 4))
    with pytest.raises(ConstraintError, match="has no layer"):
        TimeLast()
