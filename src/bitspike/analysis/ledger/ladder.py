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
biases or potentials are a rung of their own between M4 and M5: M2 to M4 have the codes of the uncorrected weights. On
*local* rungs every layer reads the values of M0 instead of those of the layers before it, so that only its own error is
left.

Source of (*): Bu et al., ICLR 2022 (arXiv 2303.04347), eq. 8; of the split into clipping, rounding and unevenness: the
same, section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, fx, nn

from bitspike.analysis.ledger.activations import Neurons, activation
from bitspike.conversion.construct.records import LayerReport, module_name
from bitspike.conversion.construct.spike_values import by_weight
from bitspike.conversion.result import Conversion
from bitspike.graph.flow import entries
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.nn.counts import Gain
from bitspike.weights.codes import along


@dataclass(frozen=True, eq=False)
class Rung:
    """A float graph that stands for one rung.

    Args:
        graph: reads the entries of the spiking part and, on a local rung, one input more for every neuron.
        rectified: by neuron, the id of the value that it rectifies.
        substituted: the neurons whose values are handed in, in the order of the further inputs.
    """

    graph: Graph
    rectified: Mapping[str, str]
    substituted: tuple[str, ...] = ()


def rung(
    conversion: Conversion,
    spiking: fx.GraphModule | None = None,
    *,
    neurons: Neurons = "relu",
    local: bool = False,
    known: dict[str, nn.Module] | None = None,
) -> Rung:
    """Write the float graph of one rung.

    Args:
        conversion: of a converted network.
        spiking: the spiking part whose weight codes are taken; None keeps the float weights.
        neurons: which function replaces the neurons.
        local: every layer reads values that are handed in, instead of those of the layers before it.
        known: layers whose codes were read already, by id; rungs of one network share them.
    """
    return _Writer(conversion, spiking, neurons, local, {} if known is None else known).run()


@dataclass(frozen=True, eq=False)
class _Piece:
    """The result of writing one operation: its id, and the factor that its value still has to be multiplied by."""

    id: str
    gain: Tensor | None = None


class _Writer:
    """One walk over the float graph. Every neuron gets copies of its own of all that lies between it and spikes."""

    def __init__(
        self,
        conversion: Conversion,
        spiking: fx.GraphModule | None,
        neurons: Neurons,
        local: bool,
        known: dict[str, nn.Module],
    ) -> None:
        self.conversion, self.spiking, self.kind, self.known = conversion, spiking, neurons, known
        self.core = conversion.core
        self.ops = {op.id: op for op in self.core}
        self.entering = entries(self.core)
        self.layers = conversion.layers
        self.substituted = tuple(id for id, r in self.layers.items() if r.kind != "readout") if local else ()
        self.written: list[Op] = []
        self.modules: dict[str, nn.Module] = {}
        self.rectified: dict[str, str] = {}
        self.calls: dict[str, int] = {}
        self.skips = 0

    def run(self) -> Rung:
        inputs = [op for op in self.core if op.kind == "input"]
        self.written.extend(inputs)
        # Inputs for the values of neurons follow those of the network, in the order of `substituted`.
        for n, id in enumerate(self.substituted, start=len(inputs)):
            self.written.append(
                Op(id=_substitute(id), kind="input", path="", shape=self.ops[id].shape, attrs={"index": n})
            )
        for op in self.core:
            # Neurons and read-outs write all that leads to them; of the rest, only operations on spikes are copied.
            if op.kind == "output":
                for id in op.inputs:
                    self._readout(id)
                self.written.append(op)
            elif op.kind != "input" and op.id in self.layers and self.layers[op.id].kind != "readout":
                self._neuron(op)
            elif op.kind != "input" and op.id in self.conversion.wires:
                self.written.append(replace(op, inputs=tuple(map(self._read, op.inputs))))
        graph = Graph(tuple(self.written), self.modules, self.core.model)
        return Rung(graph, self.rectified, self.substituted)

    def _read(self, id: str) -> str:
        return _substitute(id) if id in self.substituted else id

    def _neuron(self, op: Op) -> None:
        report = self.layers[op.id]
        self.skips = 0
        if op.kind == "relu":
            z = self._top(op.inputs[0], report)
        elif op.kind == "add":  # a sum of spikes whose readers need spikes again, so that it has a neuron of its own
            z = self._write(op, report, sign=1, area=1).id
        else:  # an average pool with a neuron of its own, which reads spikes without weights
            self.written.append(replace(op, id=f"{op.id}@z", inputs=tuple(map(self._read, op.inputs))))
            z = f"{op.id}@z"
        self.rectified[op.id] = z
        call = activation(self.conversion, op.id, self.kind)
        self.written.append(
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
        # Spikes that leave are written already, and so is what leaves a second time.
        if id in self.conversion.wires or any(op.id == id for op in self.written):
            return
        self._top(id, self.layers[id])
        self.written[-1] = replace(self.written[-1], id=id)  # what leaves the network keeps its name

    def _top(self, id: str, report: LayerReport) -> str:
        return self._multiplied(self._branch(id, report, sign=1, area=1), report, id)

    def _branch(self, id: str, report: LayerReport, *, sign: int, area: int) -> _Piece:
        """Write the operations between a neuron and the spikes it reads over one input, down to operation ``id``.

        ``sign`` is -1 where the branch is subtracted; ``area`` counts the elements in the windows of all average pools
        between here and the neuron.
        """
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
        # After a reshape the channels lie elsewhere; a strength per channel is then left exact.
        single = piece.gain is not None and piece.gain.numel() == 1
        gain = piece.gain if single or op.kind in ("avg_pool", "slice", "pad", "upsample") else None
        return _Piece(self._emit(op, report, (piece.id,)), gain)

    def _multiplied(self, piece: _Piece, report: LayerReport, id: str) -> str:
        if piece.gain is None:
            return piece.id
        gain: float | Tensor = float(piece.gain[0]) if piece.gain.numel() == 1 else piece.gain.float()
        source = next((op.shape for op in self.written if op.id == piece.id), self.ops[id].shape)
        skip = Op(
            id=self._name(f"{id}@{report.id}@skip"), kind="affine", path="", inputs=(piece.id,), shape=source,
            attrs={"gain": gain, "shift": 0.0},
        )  # fmt: skip
        self.written.append(skip)
        return skip.id

    def _emit(self, op: Op, report: LayerReport, inputs: tuple[str, ...], module: str | None = None) -> str:
        copied = replace(op, id=self._name(f"{op.id}@{report.id}"), inputs=inputs, module=module)
        self.written.append(copied)
        return copied.id

    def _name(self, wanted: str) -> str:
        taken = {op.id for op in self.written}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}#{number}"
        return name

    # ---- codes -----------------------------------------------------------------------------------------------------

    def _weighted(self, op: Op, report: LayerReport, sign: int, area: int) -> str:
        layer = self.core.module_of(op)
        if self.spiking is not None:
            # Each further use of a layer has a module of its own in the spiking network, with a number at its name.
            word = module_name(op.id)
            self.calls[word] = self.calls.get(word, 0) + 1
            name = word if self.calls[word] == 1 else f"{word}_{self.calls[word]}"
            value = self.conversion.wires[op.inputs[0]][1]
            # Where a step brings the T-th part of an input, one code of the neuron's other weights is 2**-exponent / T:
            # the table at the top of conversion/construct/neurons.py.
            factor = 1 if op.inputs[0] in self.entering else report.split_over
            if name not in self.known:
                spiking_layer, grain = self.spiking.get_submodule(name), 2.0**-report.exponent / factor
                self.known[name] = decoded(layer, spiking_layer, report, value, share=sign / area, grain=grain)
            layer = self.known[name]
        source = self._read(op.inputs[0])
        key = self._name(f"{op.id}@{report.id}")
        self.modules[key] = layer
        return self._emit(op, report, (source,), module=key)

    def _strength(self, id: str, report: LayerReport, sign: int, area: int) -> Tensor | None:
        """Return by what the rounding of its gain multiplies a skip, [1] or [C]; None where nothing is rounded.

        A spike of a skip adds ``gain`` to the potential, that is ``gain * 2**exponent`` counts of ``unit`` (T times as
        many where the neuron reads a split input). Without the rounding it would add ``value * sign / area``.
        """
        if self.spiking is None:
            return None
        # The builder numbers the skips of a neuron in the order of its inputs; this walk has the same order.
        name = f"{module_name(report.id)}_skip{self.skips or ''}"
        self.skips += 1
        module = self.spiking.get_submodule(name)
        assert isinstance(module, Gain)
        gain = torch.as_tensor(module.gain, dtype=torch.float64).reshape(-1).cpu()
        value = self.conversion.wires[id][1].reshape(-1).cpu() * sign / area
        real = gain * (2.0**report.exponent * report.split_over) * report.unit.cpu()
        return real / value


def decoded(
    layer: nn.Module,
    spiking: nn.Module,
    report: LayerReport,
    value: Tensor,
    *,
    share: float = 1.0,
    grain: float = 1.0,
) -> nn.Module:
    """Return a copy of a float layer that holds what the codes of the spiking network stand for.

        current per input spike   V = codes * unit         weight   W = V / (value of an input spike * share)

    Args:
        layer, spiking: the layer of the float graph, and that of the spiking network.
        report: of the neuron or read-out that it feeds.
        value: real value of an input spike.
        share: the branch's sign, over the sizes of the average pools after the layer.
        grain: what one unit is in the weights of the spiking network; a read-out has real weights.

    Returns:
        the copy; the bias of a read-out is the rounded one too, of a neuron the real one.
    """
    copied = copy.deepcopy(layer)
    weight, axis = cast(Tensor, copied.weight), 1 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 0
    current = cast(Tensor, spiking.weight).detach().to(weight.device, torch.float64)
    if report.kind != "readout":
        # Weights of the spiking network are codes * grain; codes * unit are currents in real values.
        current = current / grain * along(report.unit.to(weight.device), axis, weight.dim())
    real = current / (share * by_weight(value.to(weight.device), layer))
    with torch.no_grad():
        weight.copy_(real.to(weight.dtype))
        if report.kind == "readout" and isinstance(copied.bias, Tensor):
            # Sign and 1 / area are in that bias; the sums and pools of the float graph apply them once more.
            bias = spiking.bias.detach() / share if isinstance(spiking.bias, Tensor) else torch.zeros_like(copied.bias)
            copied.bias.copy_(bias)
    return copied


def _substitute(id: str) -> str:
    return f"{id}@substitute"
