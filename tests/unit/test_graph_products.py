"""Linear layers that are written as products with a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConversionError

X = torch.rand(32, 16, generator=torch.Generator().manual_seed(0))
Step = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """A hidden layer that is a product, and a plain layer after it."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.b = nn.Parameter(torch.randn(16, 8) * 0.3), nn.Parameter(torch.randn(8) * 0.1)
        self.out, self.step = nn.Linear(8, 3), step

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.step(self, x)))  # type: ignore[no-any-return]


PRODUCTS: dict[str, Step] = {
    "x @ W + b": lambda m, x: x @ m.w + m.b,
    "matmul": lambda m, x: torch.matmul(x, m.w),
    "method": lambda m, x: x.matmul(m.w) + m.b,
    "mm": lambda m, x: torch.mm(x, m.w) + m.b,
    "transposed": lambda m, x: x @ m.w.t().contiguous().t(),
    "scaled": lambda m, x: (x @ (m.w * 0.5)) * 2 + m.b,
    "F.linear": lambda m, x: F.linear(x, m.w.t(), m.b),
    "addmm": lambda m, x: torch.addmm(m.b, x, m.w),
    "addmm scaled": lambda m, x: torch.addmm(m.b, x, m.w, beta=2.0, alpha=0.5),
    "einsum": lambda m, x: torch.einsum("bi,io->bo", x, m.w) + m.b,
    "einsum turned": lambda m, x: torch.einsum("oi, bi -> bo", m.w.t(), x),
    "einsum, a list": lambda m, x: torch.einsum("bi,io->bo", [x, m.w]),
}


@pytest.mark.parametrize("frontend", ["fx", "export"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_with_a_constant_is_a_linear_layer(name: str, frontend: Any) -> None:
    net = Net(PRODUCTS[name]).eval()
    snn = bs.convert(net, X[:1], calibrate=X, steps=256, bits=12, first_bits=12, last_bits=12, frontend=frontend)
    with torch.no_grad():
        assert (snn(X) - net(X)).norm() < 0.02 * net(X).norm()
    integers = bs.lower(snn, X[:1])
    assert [type(node).__name__ for node in integers.nodes] == ["Input", "Linear", "Neuron", "Linear", "Readout"]
    assert bs.verify(integers, X).equal


def test_an_einsum_over_the_channels_of_an_image_is_a_convolution_of_width_one() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.out = nn.Parameter(torch.randn(5, 3)), nn.Linear(5 * 16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(torch.einsum("bchw,oc->bohw", x, self.w)).flatten(1))  # type: ignore[no-any-return]

    net, x = Mixed().eval(), torch.rand(16, 3, 4, 4)
    snn = bs.convert(net, x[:1], calibrate=x, steps=256, bits=12, first_bits=12, last_bits=12)
    with torch.no_grad():
        assert (snn(x) - net(x)).norm() < 0.02 * net(x).norm()
    assert bs.verify(bs.lower(snn, x[:1]), x).equal


def test_a_product_trains_when_its_parameter_does() -> None:
    for frozen in (False, True):
        net = Net(PRODUCTS["x @ W + b"]).eval()
        net.w.requires_grad_(not frozen)
        tuned = bs.prepare(net, X[:1], calibrate=X)
        names = {name for name, p in tuned.named_parameters() if p.requires_grad and "matmul" in name}
        assert any("weight" in name for name in names) != frozen


REFUSED: dict[str, tuple[Step, str]] = {
    "two signals": (lambda m, x: (x @ m.w) @ (x @ m.w).t() @ (x @ m.w), "matmul"),
    "the constant in front": (lambda m, x: (m.w.t() @ x.unsqueeze(2)).squeeze(2), "matmul"),
    "vectors of vectors": (lambda m, x: (x.reshape(-1, 1, 16) @ m.w).squeeze(1), "matmul"),
    "sample by sample": (lambda m, x: torch.bmm(x.unsqueeze(1), x.unsqueeze(2)).flatten(1) * m.b, "bmm"),
    "another einsum": (lambda m, x: torch.einsum("bi,bi,io->bo", x, x, m.w), "einsum"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_product_is_refused_with_its_name_and_line(name: str) -> None:
    step, word = REFUSED[name]
    with pytest.raises(ConversionError) as caught:
        bs.convert(Net(step).eval(), X[:1], calibrate=X)
    said = str(caught.value)
    assert word in said
    assert "test_graph_products.py:" in said
    assert "no relu" not in said
