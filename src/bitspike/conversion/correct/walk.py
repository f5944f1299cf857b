"""Walk through a spiking network and correct every neuron before those that read it.

What is done unasked is decided in :mod:`bitspike.conversion.correct.automatic`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from bitspike.conversion.branches import Branch
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.construct.network import build
from bitspike.conversion.construct.records import Built, Shifts, module_name
from bitspike.conversion.construct.units import codes_of, steps_of
from bitspike.conversion.correct.corrections import bias_delta, calibrate_weight, correct, error_of, potential_delta
from bitspike.conversion.correct.least_squares import refit
from bitspike.conversion.correct.pieces import MeasuredNeuron, Pieces
from bitspike.conversion.result import Conversion
from bitspike.conversion.settings import PIPELINES, Corrections, Kind
from bitspike.errors import ConstraintError
from bitspike.graph.flow import entries
from bitspike.graph.ir import WEIGHTED, Op
from bitspike.graph.plain import like
from bitspike.graph.rebuild import expression, values
from bitspike.weights.codes import along

INACTIVE = 0.1
"""What a value counts in the least squares where neither network fires: there it only has to stay below zero."""


def kinds_of(asked: Corrections) -> tuple[Kind, ...]:
    """Return what is corrected in each layer, in order.

    Raises:
        ConstraintError: there is no such correction.

    Example:
        >>> kinds_of("advanced"), kinds_of("bias")
        (('weights', 'potential'), ('bias',))
    """
    kinds = tuple(asked) if isinstance(asked, list | tuple) else PIPELINES.get(str(asked), (asked,))
    if wrong := [kind for kind in kinds if kind not in get_args(Kind)]:
        words = ", ".join(map(repr, get_args(Kind)))
        raise ConstraintError(
            f"convert(correct={asked!r}): {wrong[0]!r} is no correction",
            fix=f"one of {words}, or several of them in a tuple; alone also 'light', 'advanced', 'auto' for what is "
            "chosen by itself, and None for nothing",
        )
    return cast(tuple[Kind, ...], kinds)


@torch.no_grad()
def find_shifts(
    conversion: Conversion, batches: Any, *, kinds: Sequence[Kind], samples: int = 256, passes: int = 2, seed: int = 0
) -> Shifts:
    """Return the corrections of all neurons, in real units, found in one walk through a network without any.

    Every layer is measured with the corrected spikes of the layers before it, against the float network's activation,
    clipped as the neuron clips. A correction that makes the layer's squared error larger is not taken.

    Args:
        kinds: what to correct in each layer, in order.
        samples: how many to measure on, at least 256 for reliable means.
        passes: how often a bias or potential is corrected and measured again.
    """
    inputs = list(feed(conversion.graph, batches, samples=samples))
    joined = tuple(torch.cat(parts)[:samples] for parts in zip(*inputs, strict=True))
    walk = _Walk(conversion, conversion.entries(*joined), tuple(kinds), passes, seed)
    walk.run()
    return walk.shifts


class _Walk:
    """Goes through a spiking network once; each neuron is corrected before it fires for good.

    When weights have changed the network is built again, and what lies between the neurons before and this one is
    computed with the new modules; what lies after it reads the new values of spikes.
    """

    def __init__(
        self, conversion: Conversion, inputs: tuple[Tensor, ...], kinds: tuple[Kind, ...], passes: int, seed: int
    ) -> None:
        self.conversion, self.core = conversion, conversion.core
        self.kinds, self.passes, self.seed = kinds, passes, seed
        self.shifts = Shifts(bias={}, initial={}, weights={})
        self.built = self._build()
        self.pieces = Pieces(self.built.network, inputs, samples=len(inputs[0]), steps=conversion.settings.steps)
        self.nodes = {n.name: n for n in self.built.network.graph.nodes}
        self.ids = {module_name(id): id for id, report in self.built.layers.items() if report.kind == "neuron"}
        self.wanted = values(self.core, inputs, wanted=[self.built.layers[id].source for id in self.ids.values()])
        self.entering = entries(self.core)

    def _build(self) -> Built:
        # Biases and potentials stay out: a measured neuron adds them itself, so that trying one needs no new network.
        c = self.conversion
        return build(self.core, c.lambdas, c.grids, c.settings, Shifts(weights=self.shifts.weights), c.kept)

    def run(self) -> None:
        # In the order of data flow: what is measured reads spikes that are corrected already.
        for n in self.pieces.sending:
            id = self.ids.get(str(n.target))
            self.pieces.keep(n, self._sent(n) if id is None else self._corrected(n, id))

    def _sent(self, n: fx.Node) -> Tensor:
        """Return the spikes of what is not corrected: random ones of the input, and neurons of pools."""
        size = max(math.prod(op.shape) for op in self.core)
        return torch.cat([part.to(torch.int8) for part in self.pieces.of(n, size)], 1)

    def _corrected(self, n: fx.Node, id: str) -> Tensor:
        layer = self._layer(n, id)
        for kind in self.kinds:
            if kind in ("weights", "least_squares"):
                layer = self._changed(n, id, layer, kind)
                continue
            if kind == "bias" and not self._takes_bias(id, layer):
                continue
            layer.kind = kind
            delta = bias_delta if kind == "bias" else partial(potential_delta, steps=self.conversion.settings.steps)
            correct(layer, delta, passes=self.passes)
        for shifts, kind in ((self.shifts.bias, "bias"), (self.shifts.initial, "potential")):
            if bool(layer.shifts[kind].any()):
                cast(dict[str, Tensor], shifts)[id] = layer.shifts[kind]
        return layer.spikes()

    def _takes_bias(self, id: str, layer: MeasuredNeuron) -> bool:
        """Tell whether the network can hold a bias of this neuron; what it cannot hold is not measured either."""
        return self.built.charges[id].takes_bias(len(layer.shifts["bias"]))

    def _layer(self, n: fx.Node, id: str) -> MeasuredNeuron:
        """Return a neuron with its current, of the network as it is now."""
        report, burst = self.built.layers[id], self.conversion.settings.schedule == "layerwise"
        return MeasuredNeuron(self.pieces, n, report, self.wanted[report.source], burst=burst)

    # Weights

    def _changed(self, n: fx.Node, id: str, layer: MeasuredNeuron, kind: Kind) -> MeasuredNeuron:
        """Change the weights of each branch; those that bring the neuron no closer are not taken."""
        for index, branch in enumerate(self.built.charges[id].branches):
            before, old = error_of(layer.wanted, layer.decoded()), self.shifts
            weight, bias = (self._refitted if kind == "least_squares" else self._descended)(id, index, layer)
            self.shifts = replace(old, weights={**old.weights, branch.op.id: weight})
            self._rebuild()  # other weights have another unit, and with it another threshold
            changed = self._layer(n, id)
            if self._takes_bias(id, layer):
                changed.shifts = {**layer.shifts, "bias": layer.shifts["bias"] + bias}
            else:
                changed.shifts = layer.shifts
            # NaN is not <= anything, so a change that gives NaN is taken back.
            if error_of(changed.wanted, changed.decoded()) <= before:
                layer = changed
            else:
                self.shifts = old
                self._rebuild()
        return layer

    def _rebuild(self) -> None:
        """Build the network with the weights as they are now."""
        self.built = self._build()
        self.pieces.modules = dict(self.built.network.named_modules())

    def _descended(self, id: str, index: int, layer: MeasuredNeuron) -> tuple[Tensor, Tensor]:
        """Return weights of one branch after gradient descent on the rounded output, and nothing to add to its bias."""
        s, charge = self.conversion.settings, self.built.charges[id]
        branch, part, factor = charge.branches[index], charge.weighted[index], charge.factors[index]
        weight = self._weight(branch.op)

        def rounded(w: Tensor) -> Tensor:
            """Return the weights that the builder would make of these; the gradient passes straight through."""
            # The unit follows the weights on trial, so steps are worked out again for each of them.
            mine = replace(part, current=w.detach().double().cpu() * factor, kept=None)
            parts = (*charge.weighted[:index], mine, *charge.weighted[index + 1 :])
            _, steps = steps_of(replace(charge, weighted=parts), s)
            # Codes times steps are currents of one spike; over the factor they are weights again.
            real = codes_of(mine, steps[index]) * along(steps[index], part.axis, w.dim()) / factor
            return w + (real.to(w) - w).detach()

        def added(x: Tensor, w: Tensor) -> Tensor:
            return self._added(branch, x, {"weight": w})

        x = self._real(branch.op.inputs[0])
        others = self._computed(self.core[layer.report.source]) - added(x, weight)  # of the neuron's branches
        others = others + layer.added("bias").to(others)
        better = calibrate_weight(
            weight, x, layer.wanted, added, threshold=layer.report.value, steps=s.steps, initial=s.initial,
            quantize=rounded, added=others, seed=self.seed,
        )  # fmt: skip
        return better, torch.zeros_like(layer.shifts["bias"])

    def _refitted(self, id: str, index: int, layer: MeasuredNeuron) -> tuple[Tensor, Tensor]:
        """Return the weights of one branch with which the neuron's sum is closest to the float network's."""
        branch, source = self.built.charges[id].branches[index], layer.report.source
        x, weight, wanted = self._real(branch.op.inputs[0]), self._weight(branch.op), self.wanted[source]
        now = self._computed(self.core[source])
        now = now + layer.added("bias").to(now)
        share = torch.where(torch.maximum(wanted, now) > 0, 1.0, INACTIVE)
        bias = getattr(self.core.module_of(branch.op), "bias", None)
        silent = {} if bias is None else {"bias": torch.zeros_like(bias)}  # linear in the weights alone
        dw, db = refit(
            weight,
            wanted - now,
            lambda w: self._added(branch, x, {"weight": w, **silent}),
            share=share,
        )
        return weight + dw, db.double().cpu()

    def _added(self, branch: Branch, x: Tensor, changed: dict[str, Tensor]) -> Tensor:
        """Return what one branch adds to its neuron, with other parameters."""
        y = functional_call(self._module(branch.op), changed, (x,))
        for op in branch.after:
            function, args, kwargs = expression(op, [y])
            y = function(*args, **kwargs)
        return cast(Tensor, y * branch.sign)

    def _module(self, op: Op) -> nn.Module:
        """Return a layer whose weight can be replaced: a plain copy where the layer computes its weight."""
        layer: Any = self.core.module_of(op)
        return layer if "weight" in layer._parameters else like(layer, layer.weight, layer.bias)

    def _weight(self, op: Op) -> Tensor:
        return self.shifts.weights.get(op.id, cast(Tensor, self.core.module_of(op).weight)).detach()

    def _real(self, id: str) -> Tensor:
        """Return the real value that an operation has in the spiking network."""
        if id not in self.built.wires:
            return self._computed(self.core[id])
        name, value = self.built.wires[id]
        rate = self.pieces.mean(self.nodes[name], self.core[id].shape)
        # A split input comes as its T-th part at every step, so that its mean is the T-th part too.
        parted = self.conversion.settings.coding == "split" and id in self.entering
        return (rate * self.conversion.settings.steps if parted else rate) * value.to(rate)

    def _computed(self, op: Op) -> Tensor:
        """Return what an operation computes of the real values before it."""
        sources = [self._real(i) for i in op.inputs]
        if op.kind in WEIGHTED:
            return cast(Tensor, functional_call(self._module(op), {"weight": self._weight(op)}, tuple(sources)))
        function, args, kwargs = expression(op, sources)
        return cast(Tensor, function(*args, **kwargs))
