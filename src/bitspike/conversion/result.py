"""The record of a conversion: the graph it started from, what was calibrated, what each layer became."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from bitspike.arguments import checked
from bitspike.conversion.construct.network import build
from bitspike.conversion.construct.records import LayerReport, Shifts
from bitspike.conversion.converted import Converted, with_record
from bitspike.conversion.fold.kept import Kept
from bitspike.conversion.region.cut import core_of, covers, is_moved_input, replaced
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError, some
from bitspike.graph.ir import Graph, Op
from bitspike.graph.rebuild import evaluate, rebuild, values
from bitspike.ops.entering import Clipped, put
from bitspike.ops.grids import Grid
from bitspike.ops.precision import single
from bitspike.ops.wrappers import unwrapped
from bitspike.tables import Shown, Table, times

Values = Tensor | npt.NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Conversion(Shown):
    """Everything that a spiking network was made from, and what each of its layers became.

    Args:
        graph: the folded float graph, whole.
        region: ids of the operations that became spikes.
        lambdas: by relu, the real value of a rate of 1 that was asked for, [1] or [C].
        grids: by entry of the region, the integer grid of its codes.
        settings: the choices.
        calibration: how lambdas were found, plain values.
        layers: what became of each relu and read-out.
        wires: by operation, the name of its node in the spiking network and the real value of one spike.
        shifts: corrections of weights, biases and initial potentials, by operation.
        notes: warnings with their codes.
        correction: what was corrected, on how many samples, and why, plain values.
        kept: by weighted operation, the codes of its weights where they were codes already.
    """

    graph: Graph
    region: frozenset[str]
    lambdas: Mapping[str, Tensor]
    grids: Mapping[str, Grid]
    settings: Settings
    calibration: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, LayerReport] = field(default_factory=dict)
    wires: Mapping[str, tuple[str, Tensor]] = field(default_factory=dict)
    shifts: Shifts = field(default_factory=Shifts)
    notes: tuple[str, ...] = ()
    correction: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Kept] = field(default_factory=dict)

    def table(self) -> Table:
        """Return a row for every neuron and read-out: the layers that it reads, what a spike is worth, its threshold.

        Thresholds are in counts of the potential; of layers with one per channel the smallest and the largest are
        shown. Below stand the choices, what was corrected, and notes.
        """
        s, calibration, done = self.settings, self.calibration, self.correction
        read = f", of {calibration['samples']} samples" if "samples" in calibration else ""
        said = {
            "network": f"{self.graph.model}, T = {s.steps}, {s.neuron.__name__}, {s.schedule}",
            "weights": self._weights_said,
            "threshold": f"{calibration.get('statistic', 'given')}{read}",
            "corrected": corrected(done) + (f" ({done['why']})" if "why" in done else ""),
            "others": done.get("others", ""),
            "notes": "; ".join(self.notes),
        }
        shapes = {op.id: op.shape for op in self.graph}
        rows = []
        for id, layer in self.layers.items():
            shape = shapes.get(id, ())
            rows.append(
                (
                    layer.name,
                    layer.kind,
                    times(shape),
                    "" if layer.kind == "readout" or not shape else f"{math.prod(shape):,}",
                    some(layer.weights),
                    "" if layer.kind == "readout" else _ends(layer.value, ".3g"),
                    "" if layer.kind == "readout" else _ends(layer.threshold, ".0f"),
                )
            )
        columns = ("layer", "becomes", "shape", "neurons", "reads", "a spike is worth", "threshold")
        return Table("Conversion", columns, rows, [f"{name}: {text}" for name, text in said.items() if text])

    @property
    def _weights_said(self) -> str:
        """The bits of the weights, and how many layers came with codes of their own."""
        own = f"{len(self.kept)} layer{'s' * (len(self.kept) != 1)} with the codes of their training; else "
        return (own if self.kept else "") + self.settings.bits_said

    @property
    def core(self) -> Graph:
        """The float graph of the region alone."""
        return core_of(self.graph, self.region)

    @property
    def reads_input(self) -> bool:
        """Whether what enters the spiking part are values of the network's own input, and nothing computed of them."""
        return all(is_moved_input(self.graph, op.id) for op in self.core if op.kind == "input")

    @property
    def host(self) -> tuple[str, ...]:
        """What stays real, a line for every operation in the order of data flow; empty where everything became spikes.

        Example:
            >>> import bitspike as bs
            >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(1))
            >>> bs.convert(ann, torch.rand(1, 4), calibrate=torch.rand(32, 4)).conversion.host
            ('after the spikes: 3 (Softmax)',)
        """
        after = self.graph.reach(self.region)
        return tuple(
            f"{'after' if op.id in after else 'before'} the spikes: {_words(op, self.grids.get(op.id))}"
            for op in self.graph
            if op.id not in self.region and op.kind not in ("input", "output")
        )

    def entries(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what enters the spiking part when the whole network gets ``inputs``."""
        names = [op.id for op in self.core if op.kind == "input"]
        entries = values(self.graph, inputs, wanted=names)
        return tuple(entries[name] for name in names)

    def packed(self, *inputs: Tensor) -> Tensor:
        """Return the one tensor that the integers of the spiking part read when the whole network gets ``inputs``.

        That is what enters the spiking part; where several tensors do, their codes in one row, [N, all values of a
        sample], each on its own grid. What leaves a grid is refused, or clipped and said, as in ``bs.encode``.
        """
        return self.pack(self.entries(*inputs))

    def pack(self, entries: tuple[Tensor, ...], clipped: Clipped | None = None) -> Tensor:
        """Return that tensor, made of what enters; count in ``clipped`` what leaves its grid, or warn of it."""
        if len(entries) == 1:
            return entries[0]
        count = Clipped() if clipped is None else clipped
        grids = [self.grids[op.id] for op in self.core if op.kind == "input"]
        codes = [put(entry, grid, count).flatten(1).float() for grid, entry in zip(grids, entries, strict=True)]
        if clipped is None:
            count.warn()
        return torch.cat(codes, 1)

    def results(self, leaving: Values | Sequence[Values], *inputs: Tensor) -> Any:
        """Return what the whole network returns when its spiking part, wherever it runs, gave these values.

        With ``packed`` before it, it is the host's side of a chip: every operation outside the spiking part, once.

        Args:
            leaving: real values [N, ...], one array or tensor for each output of the spiking part, in their order; of
                integers ``bs.decode`` makes them.
            inputs: what the whole network gets, for what goes past the spiking part.

        Raises:
            ConstraintError: another number of values, or of another shape.

        Example:
            >>> import bitspike as bs
            >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(1))
            >>> images = torch.rand(32, 4)
            >>> snn = bs.convert(ann, images[:1], calibrate=images, steps=8)
            >>> net, record = bs.lower(snn, images[:1]), snn.conversion
            >>> outputs = bs.simulate(net, bs.encode(net, record.packed(images))).outputs
            >>> leaving = [bs.decode(output, outputs[output.id]) for output in net.outputs]
            >>> torch.allclose(record.results(leaving, images), snn(images))
            True
        """
        exits = self.core.ops[-1].inputs
        results = [leaving] if isinstance(leaving, Tensor | np.ndarray) else list(leaving)
        shapes = [list(value.shape[1:]) for value in results]
        wanted = [list(self.graph[id].shape) for id in exits]
        if shapes != wanted:
            said, needed = (", ".join(map(str, s)) or "nothing" for s in (shapes, wanted))
            raise ConstraintError(
                f"results(leaving=...): per sample {said}; what leaves the spiking part is {needed}",
                fix="outputs = bs.simulate(net, codes).outputs; [bs.decode(o, outputs[o.id]) for o in net.outputs]",
            )
        like = single(next((x for x in inputs if x.is_floating_point()), torch.empty(0)))
        known = {id: torch.as_tensor(v).to(like) for id, v in zip(exits, results, strict=True)}
        with torch.no_grad():
            *_, (_, result) = evaluate(self.graph, inputs, known)
        return result

    def build(self, **changes: Any) -> nn.Module:
        """Build the spiking network again, with some settings changed.

        Args:
            changes: of :class:`~bitspike.conversion.settings.Settings`, such as ``steps=8`` or ``rounded=False``.

        Returns:
            the network; its ``conversion`` is a new one.

        Raises:
            ConstraintError: a choice outside what is allowed, or a coding for which the input was not calibrated.
        """
        settings = replace(self.settings, **changes)
        _refuse_other_coding(self.settings.coding, settings.coding, self.grids)
        return replace(self, settings=settings).assemble()

    def assemble(self) -> nn.Module:
        """Return the network that users call: the spiking part, and around it the operations that stay real."""
        built = build(self.core, self.lambdas, self.grids, self.settings, self.shifts, self.kept)
        notes = tuple(dict.fromkeys([*self.notes, *(n for layer in built.layers.values() for n in layer.notes)]))
        record = replace(self, layers=built.layers, wires=built.wires, notes=notes)
        whole = covers(self.graph, self.region)
        outer = built.network if whole else rebuild(replaced(self.graph, self.region, built.network))
        network = Converted(outer, outer.graph, class_name=type(outer).__name__)
        return with_record(network, record, network if whole else built.network).eval()


def _ends(values: Tensor, style: str) -> str:
    """Write a value, or the smallest and the largest of several."""
    low, high = (format(float(end), style) for end in values.double().aminmax())
    return low if low == high else f"{low} to {high}"


def _words(op: Op, grid: Grid | None) -> str:
    """Say what one operation computes."""
    value = op.attrs.get("value")
    if op.kind != "pad" or not isinstance(value, Tensor):
        return f"{op.id} ({op.attrs.get('what', op.kind)})"
    before, after = (", ".join(map(str, op.attrs[side])) for side in ("before", "after"))
    sides = before if before == after else f"{before} before and {after} after"
    channels = ", ".join(f"{v:.6g}" for v in value.tolist())
    codes = "" if grid is None else f", codes {', '.join(str(round(v / grid.scale)) for v in value.tolist())}"
    return f"{op.id} (a border of {sides} around the input: {channels}{codes})"


def corrected(correction: Mapping[str, Any]) -> str:
    """Return in words what was corrected.

    Example:
        >>> corrected({"kinds": ["bias"], "samples": 64}), corrected({"kinds": []})
        ('bias on 64 samples', 'nothing')
    """
    on = f" on {correction['samples']} samples" if correction.get("samples") else ""
    return " and ".join(correction["kinds"]) + on if correction.get("kinds") else "nothing"


def _refuse_other_coding(before: str, now: str, grids: Mapping[str, Grid]) -> None:
    """Refuse a coding whose grids would not be those that calibration found."""
    whole = "events" in (before, now) and before != now
    beyond = now in ("rate", "bernoulli") and any(g.low < 0 or g.high * g.scale > 1 + 1e-6 for g in grids.values())
    if whole or (beyond and before != now):
        said = ", ".join(f"{id}: {g.low * g.scale:.3g} to {g.high * g.scale:.3g}" for id, g in grids.items())
        raise ConstraintError(
            f"build(coding={now!r}): the input was calibrated for coding={before!r} ({said})",
            fix=f"bs.convert(model, example, calibrate=..., coding={now!r})",
        )


@checked
def conversion_of(network: nn.Module) -> Conversion:
    """Return the record of a network that ``convert`` made.

    Raises:
        ConstraintError: it was not made by ``convert``.
    """
    network = unwrapped(network)
    record = network.__dict__.get("conversion")
    if not isinstance(record, Conversion):
        raise ConstraintError(
            f"{type(network).__name__} was not made by bs.convert", fix="bs.convert(model, example, calibrate=loader)"
        )
    return record


@checked
def spiking_part(network: nn.Module) -> fx.GraphModule:
    """Return the spiking part of a converted network: itself, or the module between its real parts."""
    conversion_of(network)
    return cast(fx.GraphModule, unwrapped(network).__dict__["spiking"])
