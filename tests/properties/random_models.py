"""Random small networks of everything that can be converted, and of everything that cannot."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RELUS: list[Callable[[], Callable[[Tensor], Tensor]]] = [
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    nn.ReLU6,
    lambda: F.relu,
    lambda: torch.relu,
    lambda: lambda x: x.relu(),
    lambda: lambda x: x.clamp(min=0),
]


class RandomModel(nn.Module):
    """A program of a few steps over a list of feature maps; every map in the list has been rectified.

    Args:
        seed: draws the program and the weights.
        broken: what to put in that no spiking network can hold, or None.
    """

    def __init__(self, seed: int, broken: str | None = None) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.layers = nn.ModuleDict()
        self.program: list[tuple[str, Any]] = []
        self.channels, self.size = self.draw.choice([1, 2, 3]), self.draw.choice([6, 8])
        self.shapes: list[tuple[int, int]] = []
        self._weighted(self.channels, self.size, source=None)
        kinds = [
            self._block, self._block, self._residual, self._downsampled, self._concat, self._pool, self._upsample,
            self._transposed, self._shuffle, self._cut, self._padded, self._sum,
        ]  # fmt: skip
        steps = self.draw.randint(1, 4)
        at = self.draw.randrange(steps)
        for step in range(steps):
            if broken is not None and step == at:
                self.program.append(("broken", broken))
            self.draw.choice(kinds)()
        if broken is not None:
            self._block()  # a neuron after it, so that it cannot be left to the host
        channels, size = self.shapes[-1]
        self.ending = self.draw.choice(["linear", "hidden", "convolution", "two"])
        if self.ending == "hidden":
            self.layers["hidden"] = nn.Linear(channels * size * size, 6)
            self.layers["head"] = nn.Linear(6, 4)
        elif self.ending == "convolution":
            self.layers["head"] = nn.Conv2d(channels, 3, 1)
        else:
            self.layers["head"] = nn.Linear(channels * size * size, 4)
            self.layers["second"] = nn.Conv2d(channels, 2, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
        self.eval()

    # ---- the program -----------------------------------------------------------------------------------------------

    def _name(self, kind: str, module: nn.Module) -> str:
        name = f"{kind}{len(self.layers)}"
        self.layers[name] = module
        return name

    def _relu(self) -> Any:
        made = self.draw.choice(RELUS)()
        return self._name("relu", made) if isinstance(made, nn.Module) else made

    def _convolution(self, into: int, out: int, stride: int = 1) -> str:
        kernel = self.draw.choice([1, 3])
        groups = self.draw.choice([1, 1, 1, into]) if out % into == 0 else 1
        dilation = 2 if kernel == 3 and stride == 1 and self.draw.random() < 0.2 else 1
        padding = dilation * (kernel - 1) // 2
        bias = self.draw.random() < 0.5
        layer: nn.Module = nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias)
        if self.draw.random() < 0.5:
            layer = nn.Sequential(layer, nn.BatchNorm2d(out))
        return self._name("conv", layer)

    def _weighted(self, into: int, size: int, source: int | None) -> None:
        out, stride = self.draw.choice([2, 3, 4, 6]), self.draw.choice([1, 1, 2]) if size > 2 else 1
        self.program.append(("block", (source, self._convolution(into, out, stride), self._relu())))
        self.shapes.append((out, -(-size // stride)))

    def _block(self) -> None:
        self._weighted(*self.shapes[-1], source=-1)

    def _residual(self) -> None:
        channels, size = self.shapes[-1]
        self.program.append(("residual", (self._convolution(channels, channels), self._relu())))
        self.shapes.append((channels, size))

    def _downsampled(self) -> None:
        channels, size = self.shapes[-1]
        if size < 3:
            return
        out = self.draw.choice([2, 4])
        one, two = self._convolution(channels, out, 2), self._convolution(channels, out, 2)
        self.program.append(("downsampled", (one, two, self._relu())))
        self.shapes.append((out, -(-size // 2)))

    def _concat(self) -> None:
        channels, size = self.shapes[-1]
        fits = [i for i, (_, s) in enumerate(self.shapes) if s == size]
        other = self.draw.choice(fits)
        self.program.append(("concat", other))
        self.shapes.append((channels + self.shapes[other][0], size))

    def _pool(self) -> None:
        channels, size = self.shapes[-1]
        if size < 2:
            return
        kind = self.draw.choice(["max", "avg", "padded_max", "functional_max", "adaptive"])
        size = -(-size // 2) if kind == "padded_max" else 1 if kind == "adaptive" else size // 2
        modules = {"max": nn.MaxPool2d(2), "avg": nn.AvgPool2d(2), "padded_max": nn.MaxPool2d(3, 2, 1)}
        modules["adaptive"] = nn.AdaptiveAvgPool2d(1)
        name: Any = self._name("pool", modules[kind]) if kind in modules else lambda x: F.max_pool2d(x, 2)
        self.program.append(("apply", name))
        self.shapes.append((channels, size))

    def _upsample(self) -> None:
        channels, size = self.shapes[-1]
        if size > 8:
            return
        way: Any = lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest")  # noqa: E731
        modes = ("nearest", "bilinear")
        modules = [self._name("up", nn.Upsample(scale_factor=2, mode=mode)) for mode in modes]
        self.program.append(("apply", self.draw.choice([way, *modules])))
        self.shapes.append((channels, 2 * size))

    def _transposed(self) -> None:
        channels, size = self.shapes[-1]
        if size > 8:
            return
        out = self.draw.choice([2, 4])
        kernel, padding = self.draw.choice([(2, 0), (4, 1)])
        groups = self.draw.choice([1, 2]) if channels % 2 == 0 else 1
        layer = nn.ConvTranspose2d(channels, out, kernel, 2, padding, groups=groups, bias=self.draw.random() < 0.5)
        self.program.append(("block", (-1, self._name("transposed", layer), self._relu())))
        self.shapes.append((out, 2 * size))

    def _shuffle(self) -> None:
        channels, size = self.shapes[-1]
        if channels % 2:
            return
        self.program.append(("shuffle", (channels, size)))
        self.shapes.append((channels, size))

    def _cut(self) -> None:
        channels, size = self.shapes[-1]
        if channels < 2:
            return
        half = channels // 2
        self.program.append(("apply", self.draw.choice([lambda x: x[:, :half], lambda x: x.chunk(2, 1)[0]])))
        self.shapes.append((-(-channels // 2) if channels % 2 == 0 else half, size))
        if channels % 2:  # chunk rounds up, slicing down
            self.program[-1] = ("apply", lambda x: x[:, :half])

    def _padded(self) -> None:
        channels, size = self.shapes[-1]
        self.program.append(("apply", lambda x: F.pad(x, (1, 0, 0, 1))))
        self.shapes.append((channels, size + 1))

    def _sum(self) -> None:
        fits = [i for i, shape in enumerate(self.shapes) if shape == self.shapes[-1]]
        self.program.append(("sum", self.draw.choice(fits)))
        self.shapes.append(self.shapes[-1])

    # ---- running it ------------------------------------------------------------------------------------------------

    def _call(self, what: Any, x: Tensor) -> Tensor:
        return self.layers[what](x) if isinstance(what, str) else what(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Any:
        maps: list[Tensor] = []
        for kind, what in self.program:
            last = maps[-1] if maps else x
            if kind == "block":
                maps.append(self._call(what[2], self._call(what[1], last)))
            elif kind == "residual":
                maps.append(self._call(what[1], self._call(what[0], last) + last))
            elif kind == "downsampled":
                maps.append(self._call(what[2], self._call(what[0], last) + self._call(what[1], last)))
            elif kind == "concat":
                maps.append(torch.cat([last, maps[what]], dim=1))
            elif kind == "apply":
                maps.append(self._call(what, last))
            elif kind == "shuffle":
                channels, size = what
                parts = last.view(last.size(0), 2, channels // 2, size, size)
                maps.append(parts.transpose(1, 2).reshape(last.size(0), channels, size, size))
            elif kind == "sum":
                maps.append(last + maps[what])
            else:
                maps[-1] = BROKEN[what](last)
        end = maps[-1]
        if self.ending == "convolution":
            return self.layers["head"](end)
        if self.ending == "hidden":
            return self.layers["head"](F.relu(self.layers["hidden"](end.flatten(1))))
        first = self.layers["head"](end.view(end.size(0), -1))
        return (first, self.layers["second"](end)) if self.ending == "two" else first


BROKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": lambda x: F.leaky_relu(x - 0.5, 0.1),
    "softmax": lambda x: x.softmax(1),
    "exp": torch.exp,
    "sqrt": lambda x: (x + 1).sqrt(),
    "product": lambda x: x * x,
    "batch_mean": lambda x: x - x.mean(0, keepdim=True),
    "instance_norm": F.instance_norm,
    "cumsum": lambda x: x.cumsum(1),
    "sort": lambda x: x.sort(1).values,
    "abs": lambda x: (x - 0.3).abs(),
    "elu": lambda x: F.elu(x - 0.5),
    "matmul": lambda x: x @ x.transpose(2, 3),
}
"""By name, what a rate of spikes cannot carry."""
