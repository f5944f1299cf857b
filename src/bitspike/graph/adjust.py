"""Measure a spiking network layer by layer and find what its neurons lack: the corrections of ``graph.correct``.

    light      bias                       with thresholds of least squared error
    advanced   weights, then potential    with thresholds of least squared error

Source of the two pipelines: Li et al., ICML 2021 (arXiv 2106.06984), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from bitspike.errors import ConstraintError, ConversionError
from bitspike.graph.built import Built, LayerReport, Shifts
from bitspike.graph.conversion import Conversion
from bitspike.graph.correct import bias_delta, calibrate_weight, correct, error_of, potential_delta
from bitspike.graph.feed import feed
from bitspike.graph.flow import entries
from bitspike.graph.ir import WEIGHTED, Op
from bitspike.graph.rebuild import expression, values
from bitspike.graph.spiking import build
from bitspike.graph.units import codes_of, steps_of
from bitspike.weights.codes import along

Kind = Literal["bias", "potential", "weights"]
"""What is corrected: the bias of every step, the potential before the first one, the weights."""
Pipeline = Literal["light", "advanced"]
Corrections = Kind | Pipeline | Sequence[Kind]

PIPELINES: dict[str, tuple[Kind, ...]] = {"light": ("bias",), "advanced": ("weights", "potential")}


def kinds_of(given: Corrections) -> tuple[Kind, ...]:
    """Return what is corrected in each layer, in order.

    Raises:
        ConstraintError: there is no such correction.

    Example:
        >>> kinds_of("advanced"), kinds_of("bias")
        (('weights', 'potential'), ('bias',))
    """
    found = PIPELINES.get(given, (given,)) if isinstance(given, str) else tuple(given)
    allowed = (*get_args(Kind), *PIPELINES)
    if wrong := [kind for kind in found if kind not in get_args(Kind)]:
        raise ConstraintError(f"convert(correct={given!r}): {wrong[0]!r} is no correction; there are {allowed}")
    return cast(tuple[Kind, ...], found)


@torch.no_grad()
def find_shifts(
    conversion: Conversion, batches: Any, *, kinds: Sequence[Kind], samples: int = 256, passes: int = 2, seed: int = 0
) -> Shifts:
    """Find the corrections of all neurons in one walk through the network.

    Every layer is measured with the corrected spikes of the layers before it, against the float network's activation,
    clipped as the neuron clips. A correction that makes the layer's squared error larger is not taken.

    Args:
        conversion: of a network without corrections.
        batches: training data, as for the calibration.
        kinds: what to correct in each layer, in order.
        samples: how many to measure on, at least 256 for reliable means.
        passes: how often a bias or potential is corrected and measured again.
        seed: of the order in which samples calibrate weights.

    Returns:
        the corrections, in real units.
    """
    inputs = list(feed(conversion.graph, batches, samples=samples))
    joined = tuple(torch.cat(parts)[:samples] for parts in zip(*inputs, strict=True))
    found = conversion.entries(*joined)
    walk = _Walk(conversion, found, tuple(kinds), passes, seed)
    walk.run(*found)
    return walk.shifts


class _Walk(fx.Interpreter):
    """Runs a spiking network once; each neuron, when its current is there, is corrected before it fires for good.

    All that a neuron adds up is emitted between the neuron before it and itself. When its weights have changed the
    network is built again and these nodes run again; what lies behind them reads the new values of spikes.
    """

    def __init__(
        self, conversion: Conversion, found: tuple[Tensor, ...], kinds: tuple[Kind, ...], passes: int, seed: int
    ) -> None:
        self.conversion, self.core = conversion, conversion.core
        self.kinds, self.passes, self.seed = kinds, passes, seed
        self.shifts = Shifts(bias={}, initial={}, weights={})
        self.built = self._build()
        super().__init__(self.built.network, garbage_collect_values=False)
        self.ids = {_word(id): id for id, report in self.built.layers.items() if report.kind == "neuron"}
        self.wanted = values(self.core, found, wanted=[self.built.layers[id].source for id in self.ids.values()])
        self.entering = entries(self.core)
        self.since: list[fx.Node] = []
        self.done: set[fx.Node] = set()

    def _build(self) -> Built:
        c = self.conversion
        return build(self.core, c.lambdas, c.grids, c.settings, replace(self.shifts, bias={}, initial={}))

    def run_node(self, n: fx.Node) -> Any:
        id = self.ids.get(str(n.target)) if n.op == "call_module" else None
        if id is None:
            self.since.append(n)
            return super().run_node(n)
        spikes = self._corrected(n, id)
        self.done.update(self.since, [n])
        self.since = []
        for node in [node for node in self.env if node.users and self.done.issuperset(node.users)]:
            del self.env[node]
        return spikes

    def _corrected(self, n: fx.Node, id: str) -> Tensor:
        layer = self._layer(n, id)
        for kind in self.kinds:
            if kind == "weights":
                layer = self._calibrated(n, id, layer)
                continue
            layer.kind = kind
            delta = bias_delta if kind == "bias" else partial(potential_delta, steps=self.conversion.settings.steps)
            correct([layer], delta, passes=self.passes)
        for found, kind in ((self.shifts.bias, "bias"), (self.shifts.initial, "potential")):
            if bool(layer.shifts[kind].any()):
                cast(dict[str, Tensor], found)[id] = layer.shifts[kind]
        return layer.spikes()

    def _layer(self, n: fx.Node, id: str) -> _Layer:
        """Return a neuron with its current as they stand."""
        report, (current,) = self.built.layers[id], self.fetch_args_kwargs_from_env(n)[0]
        s, reads = self.conversion.settings, {branch.op.inputs[0] for branch in self.built.charges[id].branches}
        parted = s.coding == "split" and not reads.isdisjoint(self.entering)
        return _Layer(
            self.fetch_attr(str(n.target)), report, current, self.wanted[report.source],
            grain=2.0**-report.exponent / (s.steps if parted else 1), burst=s.schedule == "layerwise",
        )  # fmt: skip

    # Weights

    def _calibrated(self, n: fx.Node, id: str, layer: _Layer) -> _Layer:
        """Calibrate the weights of each branch; those that bring the neuron no closer are not taken."""
        for index, branch in enumerate(self.built.charges[id].branches):
            before, held = error_of(layer.wanted, layer.decoded()), self.shifts
            found = self._weights(id, index, layer)
            self.shifts = replace(held, weights={**held.weights, branch.op.id: found})
            layer = self._again(n, id, layer)
            if not error_of(layer.wanted, layer.decoded()) <= before:
                self.shifts = held
                layer = self._again(n, id, layer)
        return layer

    def _again(self, n: fx.Node, id: str, layer: _Layer) -> _Layer:
        """Build the network with the weights as they are now, and run again what leads to a neuron."""
        self.built = self._build()
        self.module, self.submodules = self.built.network, dict(self.built.network.named_modules())
        for node in self.since:
            if node.op != "placeholder":
                self.env[node] = super().run_node(node)
        changed = self._layer(n, id)
        changed.shifts = layer.shifts
        return changed

    def _weights(self, id: str, index: int, layer: _Layer) -> Tensor:
        """Return better weights for one branch of a neuron; what else it adds up stays as it is."""
        s, charge = self.conversion.settings, self.built.charges[id]
        branch, part, factor = charge.branches[index], charge.weighted[index], charge.factors[index]
        module, weight = self.core.module_of(branch.op), self._weight(branch.op)

        def rounded(w: Tensor) -> Tensor:
            mine = replace(part, current=w.detach().double() * factor)
            parts = [*charge.weighted[:index], mine, *charge.weighted[index + 1 :]]
            _, steps = steps_of(
                parts, charge.skips, charge.wanted, per_channel=charge.per_channel, scale=s.scale,
                multiplier_bits=s.multiplier_bits,
            )  # fmt: skip
            real = codes_of(mine, steps[index]) * along(steps[index], part.axis, w.dim()) / factor
            return w + (real.to(w) - w).detach()

        def added(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
            del bias  # the module has its own
            y = functional_call(module, {"weight": w}, (x,))
            for op in branch.after:
                function, args, kwargs = expression(op, [y])
                y = function(*args, **kwargs)
            return cast(Tensor, y * branch.sign)

        x = self._real(branch.op.inputs[0])
        beside = self._computed(self.core[layer.report.source]) - added(x, weight, None)
        beside = beside + layer.added("bias").to(beside)
        return calibrate_weight(
            weight, None, x, layer.wanted, added, threshold=layer.report.value, steps=s.steps, initial=s.initial,
            quantize=rounded, beside=beside, seed=self.seed,
        )  # fmt: skip

    def _weight(self, op: Op) -> Tensor:
        return self.shifts.weights.get(op.id, cast(Tensor, self.core.module_of(op).weight)).detach()

    def _real(self, id: str) -> Tensor:
        """Return the real value that an operation has in the spiking network."""
        if id not in self.built.wires:
            return self._computed(self.core[id])
        name, value = self.built.wires[id]
        spikes = next(found for node, found in self.env.items() if node.name == name)
        parted = self.conversion.settings.coding == "split" and id in self.entering
        return cast(Tensor, (spikes.sum(0) if parted else spikes.mean(0)) * value.to(spikes))

    def _computed(self, op: Op) -> Tensor:
        """Return what an operation computes of the real values in front of it."""
        sources = [self._real(i) for i in op.inputs]
        if op.kind in WEIGHTED:
            made = functional_call(self.core.module_of(op), {"weight": self._weight(op)}, tuple(sources))
        else:
            function, args, kwargs = expression(op, sources)
            made = function(*args, **kwargs)
        return cast(Tensor, made)


class _Layer:
    """One neuron with the current that reaches it, as ``graph.correct`` measures and changes it.

    ``grain`` is what one count of its synaptic sum is in the torch network; a ``burst`` brings all charge at once.
    """

    def __init__(
        self, neuron: nn.Module, report: LayerReport, current: Tensor, source: Tensor, *, grain: float, burst: bool
    ) -> None:
        value = report.value.to(source)
        top = value if value.numel() == 1 else value.view(-1, *[1] * (source.dim() - 2))
        if source.shape != current.shape[1:]:
            raise ConversionError(f"{report.id}: measures {list(source.shape)} against {list(current.shape[1:])}")
        self.id, self.report, self.neuron, self.current = report.id, report, neuron, current
        self.grain, self.burst = grain, burst
        self.wanted, self.top = torch.minimum(source.clamp(min=0), top), top
        self.shifts = {kind: torch.zeros(source.shape[1], dtype=torch.float64) for kind in ("bias", "potential")}
        self.kind = "bias"

    def added(self, kind: str) -> Tensor:
        """Return a shift so that it broadcasts against samples, in real units."""
        return self.shifts[kind].view(-1, *[1] * (self.current.dim() - 3))

    def spikes(self) -> Tensor:
        """Run the neuron with the shifts as they stand."""
        real = self.grain / self.report.unit.view(-1, *[1] * (self.current.dim() - 3))
        bias, initial = ((self.added(kind) * real).to(self.current) for kind in ("bias", "potential"))
        current = self.current.clone()
        if self.burst:
            initial = initial + bias * len(current)
        else:
            current += bias
        current[0] += initial  # given with the first current, it is there before the first comparison too
        return self.neuron(current)  # type: ignore[no-any-return]

    def reference(self) -> Tensor:
        return self.wanted

    def decoded(self) -> Tensor:
        return self.spikes().mean(0) * self.top

    def read(self) -> Tensor:
        return self.shifts[self.kind]

    def write(self, value: Tensor) -> None:
        self.shifts = {**self.shifts, self.kind: value.clone()}


def _word(id: str) -> str:
    return id.replace("#", "_")
