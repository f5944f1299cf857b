"""Bilinear upsampling spelt out in repetitions and averages: the same values, borders included, and whole spikes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.fold.fold import fold
from bitspike.errors import ConversionError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.rebuild import values
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, Rule


def grow_by(*factors: int, align_corners: bool = False) -> nn.Module:
    return nn.Upsample(scale_factor=tuple(map(float, factors)), mode="bilinear", align_corners=align_corners)


def images() -> dict[str, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    plain = {"constant": torch.full((4, 5), 3.0), "ramp": rows + 10 * columns}
    plain["random"] = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    return {name: torch.stack([x, 2 * x])[None] for name, x in plain.items()}


@pytest.mark.parametrize("factors", [(2, 2), (3, 3), (1, 2), (4, 1), (2, 3), (5, 8)])
def test_the_sums_are_the_interpolation(factors: tuple[int, int]) -> None:
    grow = grow_by(*factors)
    model = nn.Sequential(nn.ReLU(), grow, nn.Conv2d(2, 1, 1))
    graph = fold(capture(model, torch.zeros(1, 2, 4, 5)))
    last = [op for op in graph if op.path == "1"][-1]
    assert {op.kind for op in graph if op.path == "1"} == {
        "upsample", "transpose", "slice", "concat", "avg_pool",
    }  # fmt: skip
    for name, x in images().items():
        found = values(graph, x, [last.id])[last.id]
        torch.testing.assert_close(found, grow(x), msg=name)


def test_what_stays_bilinear() -> None:
    signed = nn.Sequential(nn.Conv2d(2, 2, 1), grow_by(2, 2))
    aligned = nn.Sequential(nn.ReLU(), grow_by(2, 2, align_corners=True), nn.Conv2d(2, 1, 1))
    for model in (signed, aligned):
        graph = fold(capture(model, torch.zeros(1, 2, 4, 4)))
        assert [op.attrs["mode"] for op in graph if op.kind == "upsample"] == ["bilinear"]


class UNet(nn.Module):
    """Down, up again linearly, and joined with what was there before."""

    def __init__(self, grow: nn.Module, *, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.wide, self.grow = nn.Conv2d(1, 3, 3, padding=1), grow
        self.out, self.behind = nn.Conv2d(7, 2, 3, padding=1), behind or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        small = self.grow(torch.relu(self.down(x)))
        y = torch.relu(self.out(torch.cat([small, torch.relu(self.wide(x))], 1)))
        return self.behind(y).mean((2, 3))  # type: ignore[no-any-return]


def pictures() -> Tensor:
    return torch.rand(16, 1, 8, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("choices", [{}, {"average_pool": "neuron"}, {"neuron": bs.SignedIF}, {"concat": "fold"}])
@pytest.mark.parametrize("grow", [nn.Upsample(scale_factor=2, mode="bilinear"), nn.UpsamplingNearest2d(scale_factor=2)])
def test_a_converted_network_verifies(grow: nn.Module, choices: dict[str, object]) -> None:
    torch.manual_seed(0)
    model, x = UNet(grow).eval(), pictures()
    snn = bs.convert(model, x[:1], calibrate=x, steps=4, **choices)
    assert bs.verify(bs.lower(snn, x[:1]), x[:3]).equal


def test_growing_linearly_costs_no_accuracy_of_its_own() -> None:
    torch.manual_seed(0)
    model, x = UNet(grow_by(2, 2)).eval(), pictures()
    with torch.no_grad():
        snn = bs.convert(model, x[:1], calibrate=x, steps=256, threshold=bs.MaxThreshold())
        assert float((snn(x) - model(x)).abs().max()) < 0.1 * float(model(x).std())


def test_the_input_and_the_end_of_a_network_grow_too() -> None:
    torch.manual_seed(0)
    x = pictures()
    for model in (
        nn.Sequential(grow_by(2, 3), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 14 * 16, 3)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU(), grow_by(2, 2)),
        UNet(grow_by(2, 2), behind=grow_by(2, 2)),
    ):
        model.eval()
        snn = bs.convert(model, x[:1], calibrate=x, steps=64)
        assert snn(x).shape == model(x).shape
        assert float((snn(x) - model(x)).detach().square().mean().sqrt()) < 0.2 * float(model(x).detach().std())


def test_fine_tuning_goes_through_it() -> None:
    torch.manual_seed(0)
    model, x = UNet(grow_by(2, 2)), pictures()
    ready = bs.prepare(model, x[:1], calibrate=x, bits=4, steps=4)
    ready(x).sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for n, p in ready.named_parameters() if "down" in n)
    net = bs.lower(bs.finish(ready.eval(), x[:1], data=x), x[:1])
    assert bs.verify(net, x[:2]).equal


def test_a_chip_counts_the_window() -> None:
    """A 3 x 3 layer after growing by 2 reads, for a chip whose wires carry single spikes, 3 + 1 + 1 places an axis."""
    torch.manual_seed(0)
    x = pictures()
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 2, 3), nn.ReLU()
    ).eval()
    net = bs.lower(bs.convert(model, x[:1], calibrate=x, steps=2, bits=4), x[:1])
    rule = Rule(name="taps", cost="taps", limit=25, per="neuron", code="E102", applies_to=("convolution",))
    report = check(net, Chip(name="mine", rules=(rule,), wire_bits=1))
    assert max(cost.cost for cost in report.costs) == 25
    assert report.passed


def test_aligned_corners_are_refused_with_the_way_out() -> None:
    model = UNet(grow_by(2, 2, align_corners=True)).eval()
    x = pictures()
    with pytest.raises(
        ConversionError, match=r"E106  grow(.|\n)*aligned corners(.|\n)*align_corners=False and finetune"
    ):
        bs.convert(model, x[:1], calibrate=x, steps=4)
