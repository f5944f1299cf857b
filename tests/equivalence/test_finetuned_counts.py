"""A network that is fine-tuned computes what its spiking network counts: activation by activation, level by level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import bitspike as bs
from bitspike.conversion.result import conversion_of
from bitspike.ops.grids import Grid

GRID = Grid(1 / 15, 0, 15)
X = GRID.decode(torch.randint(0, 16, (32, 2, 8, 8), generator=torch.Generator().manual_seed(0))).double()


class Net(nn.Module):
    """A shortcut with weights after a pool, one without, two branches side by side, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv1, self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.conv1(x) + self.down(F.avg_pool2d(x, 2)))
        x = F.relu(self.conv2(x) + x)
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)
        return self.head(F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1).flatten(1))


class Values(fx.Interpreter):
    """Runs a network and keeps what every node gave."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.seen[n.name] = super().run_node(n)
        return self.seen[n.name]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_every_level_of_the_fine_tuned_network_is_a_count_of_the_spiking_one(bits: int, per_channel: bool) -> None:
    torch.manual_seed(bits)
    model = Net().double()
    model(X)
    tuned = bs.prepare(model, X[:1], calibrate=X, bits=bits, steps=6, per_channel=per_channel)
    optimizer = torch.optim.Adam(tuned.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        tuned(X).square().mean().backward()
        optimizer.step()
    snn = bs.finish(tuned, X[:1], input_grid=GRID, schedule="layerwise", rounded=False)
    floats, spikes = Values(tuned.network), Values(snn)
    with torch.no_grad():
        expected, found = floats.run(X), spikes.run(X)
    wires, checked = conversion_of(snn).wires, 0
    for id, value in tuned.lambdas().items():
        name = id.replace("#", "_")
        levels = floats.seen[name] * 6 / value
        counts = spikes.seen[wires[id][0]].sum(0)
        torch.testing.assert_close(counts, levels.round(), rtol=0, atol=0)
        checked += int((counts > 0).sum())
    assert checked > 1000
    # The bias of the read-out is rounded.
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3 * float(expected.abs().max()))
