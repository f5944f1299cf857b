"""How a model's inputs enter its integers: as codes on a grid, one row of them where there are several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from bitspike.conversion.result import Conversion
from bitspike.errors import LoweringError
from bitspike.integer.border import Border
from bitspike.integer.nodes import Coding, Input, Reshape, Slice
from bitspike.lowering.builder import Builder
from bitspike.nn import BernoulliCoder, Codes, Encoder, Frames, RateCoder, Repeat
from bitspike.ops.entering import Clipped, put
from bitspike.ops.grids import Grid


def border_of(conversion: Conversion) -> dict[str, str]:
    """Return what the integers' ``source`` says of the border around a converted network's images.

    Nothing where something else is computed before the spikes, or no border is put there.
    """
    entries = [op.id for op in conversion.core if op.kind == "input"]
    op = conversion.graph[entries[0]]
    value, grid = op.attrs.get("value"), conversion.grids.get(op.id)
    of_image = op.kind == "pad" and conversion.graph[op.inputs[0]].kind == "input"
    if len(entries) != 1 or not of_image or not isinstance(value, Tensor) or grid is None:
        return {}
    before, after = tuple(op.attrs["before"]), tuple(op.attrs["after"])
    if len(before) != len(op.shape) - 1 or conversion.settings.coding not in ("direct", "split"):
        return {}
    codes = put(value.reshape(-1).expand(op.shape[0]), grid, Clipped())
    return Border(before, after, tuple(codes.tolist())).said()


class Entries:
    """The inputs of one model.

    Args:
        modules: of the model, by path.
        examples: one for each input.
        grid: of the input; None looks for it in the model and the example.

    Attributes:
        steps: T, of the encoder or of the example.
        grids: of what the inputs send, by node, once they have entered.

    Raises:
        LoweringError: there are several encoders.
    """

    def __init__(self, modules: dict[str, nn.Module], examples: tuple[Tensor, ...], grid: Grid | None) -> None:
        self.modules, self.examples, self.grid = modules, examples, grid
        encoders = [m for m in modules.values() if isinstance(m, Encoder)]
        if len(encoders) > 1 and not (len(examples) > 1 and all(type(e) is Repeat for e in encoders)):
            raise LoweringError(
                f"the model has {len(encoders)} encoders; the integer form holds one input",
                fix="of a converted network with coding='direct' all inputs, example=(a, b); or one tensor that holds "
                "them side by side, cut inside the network: a, b = x[:, :3], x[:, 3:]",
            )
        self.encoder = encoders[0] if encoders else None
        self.steps = self.encoder.steps if self.encoder else int(examples[0].shape[0])
        self.grids: dict[str, Grid] = {}

    def enter(self, entries: list[fx.Node], builder: Builder) -> dict[fx.Node, Any]:
        """Return the wires that leave the input, one for each argument of the model.

        Raises:
            LoweringError: the model takes another number of inputs, or an input has no grid.
        """
        if len(entries) != len(self.examples):
            count = f"{len(self.examples)} example{'s' * (len(self.examples) != 1)}"
            raise LoweringError(f"the model has {len(entries)} inputs, and {count} came", fix="example=(a, b)")
        if len(entries) > 1:
            return self._enter_side_by_side(entries, builder)
        (node,), (example,) = entries, self.examples
        if self._framed and (example.dim() < 3 or example.shape[1] < self.steps):
            raise LoweringError(
                f"the example is {list(example.shape)}, needed is [N, T, ...] with {self.steps} frames or more",
                fix="example=frames[:1], with the frames after the samples",
            )
        declared = next((m.grid for m in self.modules.values() if isinstance(m, Codes)), None)
        grid = self._input_grid(example, self.grid or declared)
        untimed = self.encoder is not None
        shape = tuple(example.shape[1:] if untimed and not self._framed else example.shape[2:])
        coding: Coding = "frames" if self._framed else "direct"
        divisor = 1.0
        if isinstance(self.encoder, BernoulliCoder):
            coding, divisor = "bernoulli", self.encoder.divisor
        elif isinstance(self.encoder, RateCoder):
            coding = "rate"
        scale = np.full(1, grid.scale)
        constant = isinstance(self.encoder, Repeat)
        entry = Input(
            id="input", path="input", shape=shape, scale=scale, grid=grid, constant=constant, coding=coding,
            divisor=divisor,
        )  # fmt: skip
        self.grids[entry.id] = grid
        return {node: builder.wire(entry, scale, timed=not untimed)}

    @property
    def _framed(self) -> bool:
        """Whether inputs have frames after the samples, [N, T, ...]."""
        return isinstance(self.encoder, Frames)

    def _enter_side_by_side(self, entries: list[fx.Node], builder: Builder) -> dict[fx.Node, Any]:
        """Return the wires of several inputs whose codes, each on a grid of its own, lie in one row."""
        if self.encoder is None:
            raise LoweringError(f"the model has {len(entries)} inputs without an encoder", fix="coding='direct'")
        grids = [self._input_grid(x, self._grid_of(n)) for n, x in zip(entries, self.examples, strict=True)]
        sizes = [math.prod(x.shape[1:]) for x in self.examples]
        row = Grid(1.0, min(g.low for g in grids), max(g.high for g in grids))
        entry = Input(id="input", path="input", shape=(sum(sizes),), scale=np.ones(1), grid=row, constant=True)
        wire, wires, start = builder.wire(entry, np.ones(1), timed=False), {}, 0
        for node, example, grid, size in zip(entries, self.examples, grids, sizes, strict=True):
            path, shape = str(node.target), tuple(example.shape[1:])
            part = builder.each(Slice, path, wire, start=start, stop=start + size)
            entered = part.affine(np.full(1, grid.scale), np.zeros(1))
            if len(shape) > 1:
                entered = builder.each(Reshape, path, entered, shape=shape)
            self.grids[entered.summands[0].node] = grid
            wires[node] = entered
            start += size
        return wires

    def _grid_of(self, node: fx.Node) -> Grid | None:
        """Return the grid that the model itself puts an input on."""
        readers = [self.modules[str(user.target)] for user in node.users if user.op == "call_module"]
        return next((reader.grid for reader in readers if isinstance(reader, Codes)), None)

    def _input_grid(self, example: Tensor, grid: Grid | None) -> Grid:
        x = example.detach().double().cpu()
        if isinstance(self.encoder, BernoulliCoder | RateCoder):
            return Grid(1.0, -1 if isinstance(self.encoder, BernoulliCoder) else 0, 1)
        if grid is not None:
            return grid
        low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
        whole = (self.encoder is None or self._framed) and bool((x == x.round()).all())
        if whole and (low, high) == (0, 1):
            return Grid(1.0, 0, 1)  # spikes, step by step
        if low >= 0 and high <= 1:  # false for NaN
            return Grid(1 / 255, 0, 255)
        bound = max(abs(low), abs(high))
        wanted = f"bs.Grid(scale={bound / 127:.6g}, low=-127, high=127)"
        if whole:  # counts, step by step
            wanted = f"bs.Grid(scale=1.0, low={min(0, low):.0f}, high={max(1, high):.0f})"
        raise LoweringError(
            f"the example reaches from {low:.4g} to {high:.4g}; without a declared grid only 8-bit images "
            "in [0, 1] are taken",
            fix=f"bs.lower(model, example, grid={wanted}), or the grid on which your inputs lie",
        )
