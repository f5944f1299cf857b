"""The ladder of models between a float network and its spiking one: every rung adds one cause of error.

    M0  the float network, norms folded
    M1  + its input on the grid, or in the spikes, in which it enters
    M2  + weights, and the strengths of skips, rounded to codes
    M3  + activations clipped at lambda
    M4  + activations rounded to what T steps can say:   N = clip(floor((T z + v0) / lambda), 0, T)      (*)
    M5  + spikes step by step, thresholds and biases real
    M6  + thresholds, biases and initial potentials rounded to integers: the spiking network
    M7  + potentials limited in width

M1 to M4 are float graphs, written here; M5 to M7 run in :mod:`bitspike.analysis.ledger.spikes`. Corrections of weights,
biases or potentials stand between M4 and M5, as a rung of their own: M2 to M4 have the codes of the weights as they
were found. *Local* rungs read M0's values in place of what the
layers before them would say, so that only the error of the layer itself is left.

Source of (*): Bu et al., ICLR 2022 (arXiv 2303.04347), eq. 8; of the split into clipping, rounding and unevenness: the
same, section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.build.records import LayerReport, module_name
from bitspike.conversion.build.spike_values import by_weight
from bitspike.conversion.result import Conversion
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.nn.counts import Gain
from bitspike.ops.grids import Fire
from bitspike.weights.codes import along

Activation = Callable[[Tensor], Tensor]
Neurons = Literal["relu", "clip", "counts", "corrected"]
"""What stands for a neuron in a float graph: M2, M3, M4, or M4 with the corrections."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Rectify, and clip at lambda."""

    top: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return torch.minimum(z.clamp(min=0), self.top.to(z))


@dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """Formula (*): the value that T steps of constant current z decode to, ``lambda N / T``.

    Args:
        top: lambda, broadcastable against one sample.
        steps: T.
        initial: v0 as a share of lambda.
        fire: ``gt`` fires above the threshold only, so that N = ceil(...) - 1.
        bias: what a correction adds to z.
        charge: what a correction adds to v0, in real units.

    Example:
        >>> Counts(top=torch.tensor([1.0]), steps=4)(torch.tensor([-1.0, 0.1, 0.4, 0.9, 3.0])).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    top: Tensor
    steps: int
    initial: float = 0.5
    fire: Fire = "ge"
    bias: Tensor = field(default_factory=lambda: torch.zeros(1))
    charge: Tensor = field(default_factory=lambda: torch.zeros(1))

    def __call__(self, z: Tensor) -> Tensor:
        top = self.top.to(z)
        share = (self.steps * (z + self.bias.to(z)) + self.charge.to(z)) / top + self.initial
        # Pools of counts meet the threshold exactly, and often; what floats lose must not decide then.
        slack = 4 * self.steps * torch.finfo(z.dtype).eps
        n = (share + slack).floor() if self.fire == "ge" else (share - slack).ceil() - 1
        return n.clamp(0, self.steps) * top / self.steps


def by_place(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Shape one number, or one per channel, so that it broadcasts against samples of ``shape``.

    Example:
        >>> by_place(torch.ones(8), (8, 4, 4)).shape
        torch.Size([8, 1, 1])
    """
    return value.reshape(1) if value.numel() == 1 else value.reshape(-1, *[1] * (len(shape) - 1))


def activation(conversion: Conversion, id: str, kind: Neurons) -> Activation:
    """Return what a rung computes in the place of one neuron, from the value that the neuron rectifies."""
    report, settings, shape = conversion.layers[id], conversion.settings, conversion.core[id].shape
    if kind == "relu":
        limit = conversion.core[id].attrs.get("clip")
        return lambda z: z.clamp(0, limit)
    # With real thresholds lambda is met to 2**-30 only; pools of its spikes have to count in the very same number.
    top = by_place(report.wanted if settings.rounded else report.value, shape)
    if kind == "clip":
        return Clip(top)
    initial = settings.initial
    if report.kind == "pool":  # its threshold is the size of the window, a whole number
        area = float(report.threshold.reshape(-1)[0])
        initial = math.floor(area * initial) / area
    made = Counts(top=top, steps=settings.steps, initial=initial, fire=settings.fire)
    if kind == "corrected":
        none = torch.zeros(1)
        bias, charge = (shifts.get(id, none) for shifts in (conversion.shifts.bias, conversion.shifts.initial))
        made = replace(made, bias=by_place(bias, shape), charge=by_place(charge, shape))
    return made


def corrected(conversion: Conversion) -> bool:
    """Tell whether weights, biases or initial potentials were corrected."""
    return bool(conversion.shifts.weights or conversion.shifts.bias or conversion.shifts.initial)


@dataclass(frozen=True, eq=False)
class Rung:
    """A float graph that stands for one rung.

    Args:
        graph: reads the entries of the spiking part and, where ``given``, one input more for every neuron.
        rectified: by neuron, the id of the value that it rectifies.
        given: the neurons whose values are handed in, in the order of the inputs.
    """

    graph: Graph
    rectified: Mapping[str, str]
    given: tuple[str, ...] = ()


def rung(
    conversion: Conversion,
    spiking: fx.GraphModule | None = None,
    *,
    neurons: Neurons = "relu",
    given: bool = False,
    known: dict[str, nn.Module] | None = None,
) -> Rung:
    """Write the float graph of one rung.

    Args:
        conversion: of a converted network.
        spiking: the spiking part whose weight codes are taken; None keeps the float weights.
        neurons: what stands for a neuron.
        given: every layer reads values that are handed in, instead of those of the layers before it.
        known: layers whose codes were read already, by id; rungs of one network share them.
    """
    return _Writer(conversion, spiking, neurons, given, {} if known is None else known).run()


@dataclass(frozen=True, eq=False)
class _Piece:
    """What was written for one operation: its id, and by what the value is still to be multiplied."""

    id: str
    gain: Tensor | None = None


class _Writer:
    """One walk over the float graph. Every neuron gets copies of its own of all that lies between it and spikes."""

    def __init__(
        self,
        conversion: Conversion,
        spiking: fx.GraphModule | None,
        neurons: Neurons,
        given: bool,
        known: dict[str, nn.Module],
    ) -> None:
        self.conversion, self.spiking, self.kind, self.known = conversion, spiking, neurons, known
        self.core = conversion.core
        self.ops = {op.id: op for op in self.core}
        self.layers = conversion.layers
        self.given = tuple(id for id, r in self.layers.items() if r.kind != "readout") if given else ()
        self.made: list[Op] = []
        self.modules: dict[str, nn.Module] = {}
        self.rectified: dict[str, str] = {}
        self.calls: dict[str, int] = {}
        self.skips = 0

    def run(self) -> Rung:
        inputs = [op for op in self.core if op.kind == "input"]
        self.made.extend(inputs)
        for n, id in enumerate(self.given, start=len(inputs)):
            self.made.append(Op(id=_given(id), kind="input", path="", shape=self.ops[id].shape, attrs={"index": n}))
        for op in self.core:
            if op.kind == "output":
                for id in op.inputs:
                    self._readout(id)
                self.made.append(op)
            elif op.kind != "input" and op.id in self.layers and self.layers[op.id].kind != "readout":
                self._neuron(op)
            elif op.kind != "input" and op.id in self.conversion.wires:
                self.made.append(replace(op, inputs=tuple(map(self._read, op.inputs))))
        graph = Graph(tuple(self.made), self.modules, self.core.model)
        return Rung(graph, self.rectified, self.given)

    def _read(self, id: str) -> str:
        return _given(id) if id in self.given else id

    def _neuron(self, op: Op) -> None:
        report = self.layers[op.id]
        self.skips = 0
        if op.kind == "relu":
            z = self._top(op.inputs[0], report)
        elif op.kind == "add":
            z = self._write(op, report, sign=1, area=1).id
        else:
            self.made.append(replace(op, id=f"{op.id}@z", inputs=tuple(map(self._read, op.inputs))))
            z = f"{op.id}@z"
        self.rectified[op.id] = z
        call = activation(self.conversion, op.id, self.kind)
        self.made.append(
            Op(
                id=op.id,
                kind="host",
                path=op.path,
                inputs=(z,),
                shape=op.shape,
                attrs={"call": call, "what": self.kind},
            )
        )

    def _readout(self, id: str) -> None:
        if id in self.conversion.wires or any(op.id == id for op in self.made):
            return
        self._top(id, self.layers[id])
        self.made[-1] = replace(self.made[-1], id=id)  # what leaves the network keeps its name

    def _top(self, id: str, report: LayerReport) -> str:
        return self._multiplied(self._branch(id, report, sign=1, area=1), report, id)

    def _branch(self, id: str, report: LayerReport, *, sign: int, area: int) -> _Piece:
        """Write what one branch computes; a skip's strength is multiplied where the branch ends."""
        op = self.ops[id]
        if id in self.conversion.wires:
            return _Piece(self._read(id), self._strength(id, report, sign, area))
        if op.kind in WEIGHTED:
            return _Piece(self._weighted(op, report, sign, area))
        return self._write(op, report, sign=sign, area=area)

    def _write(self, op: Op, report: LayerReport, *, sign: int, area: int) -> _Piece:
        if op.kind == "add":
            signs = op.attrs.get("signs", (1, 1))
            pieces = [
                self._multiplied(self._branch(i, report, sign=sign * s, area=area), report, i)
                for i, s in zip(op.inputs, signs, strict=True)
            ]
            return _Piece(self._emit(op, report, tuple(pieces)))
        if op.kind == "avg_pool":
            area *= math.prod(op.attrs["kernel"])
        piece = self._branch(op.inputs[0], report, sign=sign, area=area)
        # Behind a reshape the channels lie elsewhere; a strength per channel is then left exact.
        gain = piece.gain if op.kind in ("avg_pool", "slice", "pad", "upsample") or _single(piece.gain) else None
        return _Piece(self._emit(op, report, (piece.id,)), gain)

    def _multiplied(self, piece: _Piece, report: LayerReport, id: str) -> str:
        if piece.gain is None:
            return piece.id
        gain: float | Tensor = float(piece.gain[0]) if piece.gain.numel() == 1 else piece.gain.float()
        source = next((op.shape for op in self.made if op.id == piece.id), self.ops[id].shape)
        made = Op(
            id=self._name(f"{id}@{report.id}@skip"), kind="affine", path="", inputs=(piece.id,), shape=source,
            attrs={"gain": gain, "shift": 0.0},
        )  # fmt: skip
        self.made.append(made)
        return made.id

    def _emit(self, op: Op, report: LayerReport, inputs: tuple[str, ...], module: str | None = None) -> str:
        made = replace(op, id=self._name(f"{op.id}@{report.id}"), inputs=inputs, module=module)
        self.made.append(made)
        return made.id

    def _name(self, wanted: str) -> str:
        taken = {op.id for op in self.made}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}#{number}"
        return name

    # ---- codes -----------------------------------------------------------------------------------------------------

    def _weighted(self, op: Op, report: LayerReport, sign: int, area: int) -> str:
        layer = self.core.module_of(op)
        if self.spiking is not None:
            word = module_name(op.id)
            self.calls[word] = self.calls.get(word, 0) + 1
            name = word if self.calls[word] == 1 else f"{word}_{self.calls[word]}"
            value = self.conversion.wires[op.inputs[0]][1]
            parts = 1 if self.ops[op.inputs[0]].kind == "input" else self._parts(report)
            if name not in self.known:
                made, grain = self.spiking.get_submodule(name), 2.0**-report.exponent / parts
                self.known[name] = decoded(layer, made, report, value, share=sign / area, grain=grain)
            layer = self.known[name]
        source = self._read(op.inputs[0])
        key = self._name(f"{op.id}@{report.id}")
        self.modules[key] = layer
        return self._emit(op, report, (source,), module=key)

    def _strength(self, id: str, report: LayerReport, sign: int, area: int) -> Tensor | None:
        """Return by what the rounding of its gain multiplies a skip, [1] or [C]; None where nothing is rounded."""
        if self.spiking is None:
            return None
        name = f"{module_name(report.id)}_skip{self.skips or ''}"
        self.skips += 1
        module = self.spiking.get_submodule(name)
        assert isinstance(module, Gain)
        gain = torch.as_tensor(module.gain, dtype=torch.float64).reshape(-1).cpu()
        value = self.conversion.wires[id][1].reshape(-1).cpu() * sign / area
        real = gain * (2.0**report.exponent * self._parts(report)) * report.unit.cpu()
        return real / value

    def _parts(self, report: LayerReport) -> int:
        """Return over how many steps a neuron's current is parted: T where it reads a split input, else 1."""
        settings = self.conversion.settings
        words = {module_name(op.id): op for op in self.core}
        reads = [self.ops[words[w].inputs[0]].kind == "input" for w in report.weights]
        return settings.steps if settings.coding == "split" and any(reads) else 1


def decoded(
    layer: nn.Module, made: nn.Module, report: LayerReport, value: Tensor, *, share: float = 1.0, grain: float = 1.0
) -> nn.Module:
    """Return a copy of a float layer that holds what the codes of the spiking network stand for.

        current per input spike   V = codes * unit         weight   W = V / (value of an input spike * share)

    Args:
        layer: of the float graph.
        made: the spiking network's.
        report: of the neuron or read-out that it feeds.
        value: real value of an input spike.
        share: the branch's sign, over the sizes of the average pools behind the layer.
        grain: what one unit is in the weights of the spiking network; a read-out has real weights.

    Returns:
        the copy; the bias of a read-out is the rounded one too, of a neuron the real one.
    """
    copied = copy.deepcopy(layer)
    weight, axis = cast(Tensor, copied.weight), 1 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 0
    current = cast(Tensor, made.weight).detach().to(weight.device, torch.float64)
    if report.kind != "readout":
        current = current / grain * along(report.unit.to(weight.device), axis, weight.dim())
    real = current / (share * by_weight(value.to(weight.device), layer))
    with torch.no_grad():
        weight.copy_(real.to(weight.dtype))
        if report.kind == "readout" and isinstance(copied.bias, Tensor):
            bias = made.bias.detach() / share if isinstance(made.bias, Tensor) else torch.zeros_like(copied.bias)
            copied.bias.copy_(bias)
    return copied


def _single(gain: Tensor | None) -> bool:
    return gain is None or gain.numel() == 1


def _given(id: str) -> str:
    return f"{id}@given"


def neuron_node(nodes: Mapping[str, fx.Node], network: fx.GraphModule, name: str, kind: type[nn.Module]) -> fx.Node:
    """Return the node of the neuron whose spikes arrive at node ``name``, behind pools of counts."""
    node = nodes[name]
    while not (node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), kind)):
        node = cast(Any, node.args[0])
    return node
