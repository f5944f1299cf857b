"""The cheapest change of every layer that breaks a rule, planned on numbers alone.

A repair's price estimates how much of the layer's signal is lost:

    loss = 1 - (1 - D(bits)) * (weights kept) * (inputs kept)
    price = loss + neuron_price * (neurons added / neurons of the layer)

D(b) is the relative squared error of the best uniform quantizer of b bits for a Gaussian (Max 1960, table II); what the
layer's own width loses already is not charged again. Grouping into g groups keeps 1/g of the weights (as their energy,
if they are alike); pruning keeps the largest input channels, counts their share of the squared codes, and also charges
the features that are thrown away; splitting keeps them all and pays in neurons, two for every partial sum of every
neuron, one for each sign. The price orders repairs and predicts no accuracy: that is for finetuning to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.hardware.chips.branches import Branch, Bundle, Reader
from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, Rule, load
from bitspike.hardware.chips.fixes import (
    LAYERS,
    Cost,
    cost_of,
    fewest_groups,
    heaviest,
    most_inputs,
    widths_below,
    with_bits,
    with_change,
)
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Neuron, Shape, TransposedConvolution, Weighted

Way = Literal["bits", "groups", "split", "prune", "real"]
WAYS: tuple[Way, ...] = ("bits", "groups", "split", "prune", "real")
ANYWHERE: tuple[Way, ...] = ("bits", "groups", "split")
"""What ``bitspike.surgery.apply`` can do wherever a layer stands; ``prune`` needs one layer that reads another."""

_DISTORTION = {1: 0.3634, 2: 0.1188, 3: 0.03744, 4: 0.01154, 5: 0.003495}


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One change of one layer; afterwards its neuron satisfies the rules.

    Args:
        path: of the module.
        kind: the change besides the width: ``bits`` alone, ``groups``, ``split`` into partial sums, ``prune`` input
            channels, or leave the layer ``real``.
        bits: of a weight, afterwards.
        groups: afterwards.
        inputs: input channels that are read afterwards.
        outputs: output channels; they stay.
        keep: with ``prune``, the input channels that stay, in order.
        parts: with ``split``, how many partial sums; ``inputs`` and ``groups`` are then those of one of them.
        source_shape: [C, ...] of what the layer reads, before the repair.
        cost: of one neuron afterwards, under the rule that asks for most; ``limit`` is that rule's limit.
        loss: estimated share of the layer's signal that is lost, before finetuning.
        neurons: how many are added.
        price: what the plan minimizes.
        transposed: the layer is a transposed convolution.
    """

    path: str
    kind: Way
    bits: int
    groups: int = 1
    inputs: int = 0
    outputs: int = 0
    keep: tuple[int, ...] = ()
    parts: int = 1
    source_shape: Shape = ()
    cost: float = 0.0
    limit: float | None = None
    loss: float = 0.0
    neurons: int = 0
    price: float = 0.0
    transposed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"keep": list(self.keep), "source_shape": list(self.source_shape)}

    def __str__(self) -> str:
        what = {
            "bits": f"{self.bits} bit",
            "groups": f"{self.bits} bit, groups = {self.groups}, its input channels shuffled",
            "split": f"{self.bits} bit, {self.parts} partial sums with {self.neurons} neurons of their own",
            "prune": f"{self.bits} bit, {self.inputs} input channels",
            "real": "keep it real",
        }[self.kind]
        limit = "" if self.limit is None else f" of {self.limit:g}"
        return f"{self.path}: {what} ({self.cost:g}{limit}; about {self.loss:.0%} of the signal to be finetuned back)"


Repairs = tuple[Repair, ...]
"""The changes that belong together: a repair of a neuron with several branches may change several layers."""


def distortion(bits: int) -> float:
    """Return the relative squared error of the best uniform quantizer of a Gaussian; beyond 5 bits, 0.3 per bit.

    Source: J. Max, Quantizing for minimum distortion, IRE Trans. Information Theory 6 (1960), table II.

    Example:
        >>> distortion(1), distortion(2)
        (0.3634, 0.1188)
    """
    return _DISTORTION[bits] if bits in _DISTORTION else _DISTORTION[5] * 0.3 ** (bits - 5)


def options(
    net: IntegerNetwork, chip: str | Path | Chip, *, ways: Collection[Way] = WAYS, neuron_price: float = 0.25
) -> dict[str, list[Repairs]]:
    """Return every repair of every layer that does not fit, the cheapest first, by the layer's path.

    Raises:
        ConstraintError: the chip is unknown, or ``ways`` holds an unknown word.
    """
    chip = load(chip)
    if unknown := [way for way in ways if way not in WAYS]:
        raise ConstraintError(f"ways={unknown}: allowed are {', '.join(WAYS)}", fix=f"ways={ANYWHERE}")
    by_layer: dict[str, list[Repairs]] = {}
    reader = Reader(net, merge=chip.wire_bits == 1)
    rules = {str(rule) for rule in _neuron_rules(chip)}
    layers = {node.id for node in net.weighted}
    errors = check(net, chip).errors
    wrong = {v.node for v in errors if v.node in layers and (v.rule in rules or v.code == "E108")}
    for node in net.neurons:
        bundles = reader.bundles(node, chip=chip)
        for bundle in bundles:
            if any(b.node.id in wrong for b in bundle):
                target = _target(bundle, chip)
                candidates = _candidates(_Layer(net, node, bundle, target, chip, neuron_price), ways)
                if target.node.path not in by_layer:
                    by_layer[target.node.path] = sorted(candidates, key=lambda several: sum(r.price for r in several))
    return by_layer


def plan(
    net: IntegerNetwork, chip: str | Path | Chip, *, ways: Collection[Way] = ANYWHERE, neuron_price: float = 0.25
) -> list[Repair]:
    """Return the cheapest repair of every layer that breaks a rule of the chip, in the order of data flow.

    Args:
        net: the network; weights and activity are not needed, random weights will do.
        chip: name, path or profile.
        ways: the kinds of repair that may be chosen; by default those that can be applied to any model.
        neuron_price: price of adding as many neurons as the layer has.

    Raises:
        ConstraintError: a layer cannot be repaired in these ways; all such layers are named.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> plan(one_convolution(), "fanin1024-v1")
        []
    """
    repairs, hopeless = cheapest(net, chip, ways=ways, neuron_price=neuron_price)
    if hopeless:
        raise ConstraintError(
            f"{', '.join(hopeless)}: no repair among {', '.join(ways)} makes it fit chip {load(chip).name!r}",
            fix=f"another kernel or more channels that divide evenly, or ways={WAYS}",
        )
    return repairs


def cheapest(
    net: IntegerNetwork, chip: str | Path | Chip, *, ways: Collection[Way] = ANYWHERE, neuron_price: float = 0.25
) -> tuple[list[Repair], list[str]]:
    """Return what :func:`plan` does, of those layers that can be repaired, and the paths of those that cannot."""
    by_layer = options(net, chip, ways=ways, neuron_price=neuron_price)
    hopeless = [path for path, several in by_layer.items() if not several]
    best: dict[str, Repair] = {}
    for several in filter(None, by_layer.values()):
        for repair in several[0]:
            other = best.get(repair.path)
            if other is None or (repair.groups, -repair.inputs, -repair.bits) > (
                other.groups, -other.inputs, -other.bits
            ):  # fmt: skip
                best[repair.path] = repair
    return list(best.values()), hopeless


@dataclass(frozen=True, eq=False)
class _Layer:
    """One neuron that does not fit, and the layer of it that will carry the change."""

    net: IntegerNetwork
    neuron: Neuron
    bundle: Bundle
    target: Branch
    chip: Chip
    neuron_price: float

    @property
    def rules(self) -> list[tuple[Rule, Cost]]:
        """Return the rules that are errors, with their costs; linear layers count only where the chip checks them."""
        return [(rule, self._cost(rule)) for rule in _neuron_rules(self.chip)]

    def _cost(self, rule: Rule) -> Cost:
        cost = cost_of(rule)
        return lambda several: cost([b for b in several if b.kind != "linear" or self.chip.linear_checked])

    def fits(self, bundle: Bundle) -> bool:
        widths = self.chip.weight_bits
        return all(rule.fits(cost(bundle)) for rule, cost in self.rules) and all(
            not widths or b.bits in widths for b in bundle if b.kind in LAYERS
        )

    def worst(self, bundle: Bundle) -> tuple[float, float | None]:
        """Return cost and limit of the rule that is nearest to its limit."""
        costs = [(float(cost(bundle)), rule.limit) for rule, cost in self.rules]
        return max(costs, key=lambda c: c[0] / c[1] if c[1] else 0.0, default=(0.0, None))

    def energy(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the share of the squared codes that each input channel carries, [C_in]."""
        node = self.target.node
        assert isinstance(node, Weighted)
        codes = node.weight.codes.astype(np.float64) ** 2
        if isinstance(node, TransposedConvolution):
            by_input = codes.reshape(len(codes), -1).sum(1)
        else:
            per_group = codes.reshape(self.target.groups, -1, codes.shape[1], math.prod(codes.shape[2:])).sum((1, 3))
            by_input = per_group.reshape(-1)
        total = by_input.sum()
        return by_input / total if total else np.full(len(by_input), 1 / len(by_input))


def _neuron_rules(chip: Chip) -> list[Rule]:
    return [rule for rule in chip.rules if rule.per == "neuron" and rule.code[0] == "E"]


def _target(bundle: Bundle, chip: Chip) -> Branch:
    """Return the layer of a neuron that costs most."""
    rules = _neuron_rules(chip)
    cost = cost_of(rules[0]) if rules else (lambda several: sum((Fraction(b.bits) for b in several), Fraction(0)))
    return heaviest(bundle, cost)


def _candidates(layer: _Layer, ways: Collection[Way]) -> Iterator[Repairs]:
    target = layer.target
    if target.kind not in LAYERS:
        return
    now = max(b.bits for b in layer.bundle if b.kind in LAYERS)
    for bits in (now, *widths_below(layer.chip, now)):
        narrow = with_bits(layer.bundle, bits)
        if layer.fits(narrow):
            if "bits" in ways:
                yield _repairs(layer, narrow, "bits", _kept(layer, bits))
        elif target.groups == 1:
            same = narrow[next(i for i, b in enumerate(layer.bundle) if b is target)]
            for way in ways:
                if way in _MAKERS and (repairs := _MAKERS[way](layer, bits, narrow, same)) is not None:
                    yield repairs
    if "real" in ways:
        node = target.node
        yield (
            Repair(
                path=node.path, kind="real", bits=target.bits, groups=target.groups, inputs=target.inputs,
                outputs=target.outputs, loss=0.0, price=2.0,
            ),
        )  # fmt: skip


def _kept(layer: _Layer, bits: int) -> float:
    """Return the share of the signal that a width keeps, compared with the width that is there."""
    now = max(b.bits for b in layer.bundle if b.kind in LAYERS)
    return 1.0 if bits >= now else (1 - distortion(bits)) / (1 - distortion(now))


def _repairs(
    layer: _Layer, changed: Bundle, kind: Way, kept: float, *, price: float = 0.0, besides: Bundle = (), **more: Any
) -> Repairs:
    """Return the repair of the target, and of every other layer of the neuron whose width changes with it.

    ``besides`` is what a neuron reads that the repair adds.
    """
    costs = [layer.worst(bundle) for bundle in ((changed, besides) if besides else (changed,))]
    cost, limit = max(costs, key=lambda c: c[0] / c[1] if c[1] else 0.0)
    result = []
    for before, after in zip(layer.bundle, changed, strict=True):
        if before.kind not in LAYERS or (before is not layer.target and before.bits == after.bits):
            continue
        at = before is layer.target
        after = besides[0] if at and besides else after
        node = before.node
        source = next(n.shape for n in layer.net.nodes if n.id == node.sources[0])
        result.append(
            Repair(
                path=node.path, kind=kind if at else "bits", bits=after.bits, groups=after.groups, inputs=after.inputs,
                outputs=after.outputs, source_shape=source, cost=cost, limit=limit, loss=1 - kept if at else 0.0,
                price=1 - kept + price if at else 0.0, transposed=isinstance(node, TransposedConvolution),
                **(more if at else {}),
            )
        )  # fmt: skip
    return tuple(result)


def _by_groups(layer: _Layer, bits: int, narrow: Bundle, target: Branch) -> Repairs | None:
    """Return the repair by groups of a bundle of narrower weights that does not fit, or None. So do the next two."""
    groups = fewest_groups(narrow, target, layer.fits) if isinstance(target.node, Convolution) else None
    if groups is None:
        return None
    return _repairs(layer, with_change(narrow, target, groups=groups), "groups", _kept(layer, bits) / groups)


def _by_pruning(layer: _Layer, bits: int, narrow: Bundle, target: Branch) -> Repairs | None:
    inputs = most_inputs(narrow, target, layer.fits) if target.kind != "linear" else None
    if inputs is None:
        return None
    # What pruning loses: the energy of the channels that go, and the features themselves.
    energy = layer.energy()
    keep = np.sort(np.argsort(-energy, kind="stable")[:inputs])
    kept = _kept(layer, bits) * float(energy[keep].sum()) * inputs / target.inputs
    changed = with_change(narrow, target, inputs=inputs)
    return _repairs(layer, changed, "prune", kept, keep=tuple(map(int, keep)))


def _by_splitting(layer: _Layer, bits: int, narrow: Bundle, target: Branch) -> Repairs | None:
    """Share the input channels out to neurons of their own; the neuron reads two of these for every part."""
    # A linear layer becomes a convolution over one place, so that the rules for convolutions hold for it.
    part = replace(target, kind="convolution" if target.kind == "linear" else target.kind)
    inputs = most_inputs((part,), part, layer.fits)
    if inputs is None:
        return None
    parts = math.ceil(target.inputs / inputs)
    part = replace(part, inputs=math.ceil(target.inputs / parts))
    # The neuron itself then reads two neurons for every part, one for each sign.
    changed = with_change(
        narrow, target, kind="convolution", taps=1, inputs=2 * parts * target.outputs, groups=target.outputs, kernel=1,
        stride=1, dilation=1, padding=0, merged=(),
    )  # fmt: skip
    if parts < 2 or not layer.fits(changed):
        return None
    price = layer.neuron_price * 2 * parts
    neurons = 2 * parts * math.prod(target.node.shape)
    return _repairs(layer, changed, "split", _kept(layer, bits), price=price, besides=(part,), parts=parts,
                    neurons=neurons)  # fmt: skip


_MAKERS: dict[str, Callable[[_Layer, int, Bundle, Branch], Repairs | None]] = {
    "groups": _by_groups,
    "prune": _by_pruning,
    "split": _by_splitting,
}
