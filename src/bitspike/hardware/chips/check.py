"""Does a network fit a chip? All violations at once, each with its place, its numbers and its way out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from bitspike.hardware.chips.branches import Branch, Bundle, Reader, title
from bitspike.hardware.chips.check_neuron import listed, neuron_violations, neuron_widths, undecided
from bitspike.hardware.chips.chip import Chip, Rule, load
from bitspike.hardware.chips.fixes import cost_of, fixes, heaviest, widths_below
from bitspike.hardware.chips.report import Cost, Report, number, say
from bitspike.integer.bounds.widths import bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Input,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    SumPool,
    Weighted,
)
from bitspike.violations import Violation

_NO_MAXIMUM = ("an average pool and finetuning", "a convolution with stride and finetuning", "keep the pool real")
_INSTEAD = {
    "average_pool": ("a convolution with a stride and finetuning", "keep this module real"),
    "max_pool": _NO_MAXIMUM,
    "count_max_pool": _NO_MAXIMUM,
    "burst": ("the synchronous schedule",),
    "concat": ("one convolution per source, all of which feed the same neuron",),
}
_COUNTED = {
    "layers": "layers",
    "neurons": "neurons",
    "weights": "channels",
    "weight_bits": "channels",
    "steps": "time steps",
}
"""What a network has fewer of, where a rule for the whole counts it."""


def check(net: IntegerNetwork, chip: str | Path | Chip, *, trained: bool = True) -> Report:
    """Check a network against the rules of a chip; ``bs.check`` explains the arguments.

    Args:
        net: the network.
        chip: the chip.
        trained: False of a network with initial weights: rules whose numbers training decides are not judged, but
            listed in the report.

    Raises:
        ConstraintError: the chip is unknown or its file is wrong, or a sum of the network may leave 63 bits.
    """
    return _Check(net, load(chip), trained).report()


class _Check:
    """One pass over one network."""

    def __init__(self, net: IntegerNetwork, chip: Chip, trained: bool) -> None:
        self.net, self.chip, self.trained = net, chip, trained
        self.reader = Reader(net, merge=chip.wire_bits == 1)
        self.bounds = bounds(net)
        self.host = _on_host(net, self.reader)
        self.neuron_costs: list[Cost] = []

    def report(self) -> Report:
        violations: list[Violation] = []
        for node in self.net.nodes:
            if isinstance(node, Input):
                violations.extend(self._input(node))
                continue
            if node.id in self.host:
                text = f"{_words(node)}: feeds the read-out"
                violations.append(say(node, "N301", text, "the last linear layer is computed by the host"))
                continue
            violations.extend(self._operation(node))
            if isinstance(node, Weighted):
                violations.extend(self._wires(node))
                violations.extend(self._weights(node))
            if isinstance(node, Neuron | Readout):
                violations.extend(self._fan_in(node))
            if isinstance(node, Neuron):
                gains = self._layer_gains(node)
                ranges = self.bounds[node.id]
                violations.extend(
                    neuron_violations(node, ranges, self.chip, steps=self.net.steps, gains=gains, trained=self.trained)
                )
            violations.extend(self._layer(node))
        violations.extend(self._network())
        wrong = {v.node for v in violations if v.severity == "error"}
        layers = [{n.id, *(end.id for end in self.reader.ends(n))} for n in self.net.neurons]
        return Report(
            chip=self.chip.name,
            layers=len(layers),
            failed=sum(1 for ids in layers if ids & wrong),
            violations=tuple(dict.fromkeys(violations)),
            costs=tuple(self.neuron_costs),
            widths=tuple(neuron_widths(n, self.bounds[n.id]) for n in self.net.neurons) if self.trained else (),
            undecided=() if self.trained else undecided(self.chip),
        )

    # ---- wires and operations --------------------------------------------------------------------------------------

    def _input(self, node: Input) -> Iterator[Violation]:
        limit = self.chip.input_bits
        if limit is not None and node.grid.bits > limit:
            text = f"input codes of {node.grid.bits} bits"
            yield say(
                node, "E108", text, f"input codes have at most {limit} bits", measured=node.grid.bits, limit=limit
            )

    def _operation(self, node: Node) -> Iterator[Violation]:
        op = node.operation
        if op and op not in self.chip.ops:
            rule = f"operations are {', '.join(self.chip.ops)}"
            fix = _INSTEAD.get(op, ("keep this module real",))
            yield say(node, "E106", op.replace("_", " "), rule, fixes=fix)

    def _wires(self, node: Weighted) -> Iterator[Violation]:
        """Check that what reaches a layer with weights is spikes."""
        for origin in self._origins(node.sources[0]):
            if isinstance(origin, Weighted):
                text = f"{_words(node)} reads the sums of {origin.path}"
                rule = "a neuron stands between two layers with weights"
                yield say(node, "E103", text, rule, fixes=("a neuron after the first of them",))
            elif isinstance(origin, Add) and self.chip.wire_bits == 1:
                text = f"{_words(node)} reads the sum of spikes of {origin.path}"
                fix = ("a neuron after the addition",)
                yield say(node, "E103", text, "wires carry single spikes", fixes=fix)
            elif not isinstance(origin, Input) and self.chip.wire_bits is not None:
                low, high = self.bounds[origin.id].wire.span
                bits = high.bit_length() + (low < 0)
                if bits > self.chip.wire_bits and high > 1:
                    rule = f"wires carry at most {self.chip.wire_bits} bits"
                    text = f"{_words(node)} reads {bits} bits from {origin.path}"
                    yield say(node, "E103", text, rule, measured=bits, limit=self.chip.wire_bits)

    def _origins(self, id: str) -> list[Node]:
        """Return the nodes that compute the integers on a wire, seen through pools that are merged."""
        return [
            end
            for origin in self.reader.origins(id)
            for end in (self._origins(origin.sources[0]) if isinstance(origin, SumPool) else [origin])
        ]

    # ---- widths ----------------------------------------------------------------------------------------------------

    def _weights(self, node: Weighted) -> Iterator[Violation]:
        allowed, bits = self.chip.weight_bits, node.weight.bits
        if allowed and bits not in allowed:
            below = widths_below(self.chip, bits)
            ways = (f"{below[0]} bit",) if below else ()
            rule = f"weights have {listed(allowed)} bits"
            text = f"{_words(node)}: {bits}-bit weights"
            limit = max(allowed)
            yield say(node, "E108", text, rule, measured=bits, limit=limit, fixes=(*ways, "keep this module real"))

    def _layer_gains(self, node: Neuron) -> list[Integers]:
        """Return the gains of the branches that have weights."""
        pairs = zip(node.sources, node.gains, strict=True)
        return [gain for s, gain in pairs if any(isinstance(origin, Weighted) for origin in self._origins(s))]

    # ---- rules -----------------------------------------------------------------------------------------------------

    def _fan_in(self, reader: Neuron | Readout) -> Iterator[Violation]:
        bundles = self.reader.bundles(reader, chip=self.chip)
        bundles = [b for b in bundles if not all(branch.node.id in self.host for branch in b)]
        if not bundles:
            return
        if isinstance(reader, Readout) and not any(isinstance(b.node, Weighted) for bundle in bundles for b in bundle):
            return  # counting spikes is the host's work
        yield from self._balance(reader, bundles)
        for rule in (r for r in self.chip.rules if r.per == "neuron"):
            cost = cost_of(rule)
            bundle = max(bundles, key=cost)
            value = cost(bundle)
            at = heaviest(bundle, cost)
            text = " + ".join(b.describe() for b in bundle)
            self.neuron_costs.append(
                Cost(
                    path=at.node.path,
                    call=at.node.call,
                    rule=rule.name,
                    cost=float(value),
                    limit=rule.limit,
                    found=text,
                )
            )
            if not rule.fits(value):
                yield self._broken(rule, at.node, at, text, value, fixes(bundle, rule, self.chip))

    def _broken(
        self, rule: Rule, node: Node, at: Branch | None, text: str, value: Fraction, ways: tuple[str, ...]
    ) -> Violation:
        linear = at is not None and at.kind == "linear" and not self.chip.linear_checked
        over = "" if rule.limit is None else f", {number(value - Fraction(rule.limit))} too many"
        code = "W210" if linear else rule.code
        text = f"{text}: {number(value)}{over}"
        return say(node, code, text, str(rule), measured=float(value), limit=rule.limit, fixes=ways)

    def _balance(self, reader: Neuron | Readout, bundles: list[Bundle]) -> Iterator[Violation]:
        """Warn of a branch of an addition whose codes stay in the lower half of their grid."""
        for bundle in bundles:
            layers = [b.node for b in bundle if isinstance(b.node, Weighted)]
            if len(bundle) < 2 or not isinstance(reader, Neuron):
                continue
            for node in layers:
                assert isinstance(node, Weighted)
                most = int(np.abs(node.weight.codes).max()) if node.weight.codes.size else 0
                if 2 * most < node.weight.high:
                    text = f"{_words(node)}: codes reach {most} of {node.weight.high}"
                    rule = "branches of one addition share a unit and should use most of their levels"
                    ways = ["more bits for this branch", "finetuning with the shared step"]
                    if self.chip.multipliers:
                        ways.insert(1, "an integer multiplier per branch")
                    yield say(node, "W203", text, rule, measured=most, limit=node.weight.high, fixes=tuple(ways))

    def _layer(self, node: Node) -> Iterator[Violation]:
        if not isinstance(node, Weighted | SumPool):
            return
        rules = [r for r in self.chip.rules if r.per == "layer" and node.operation in r.applies_to]
        values = self._layer_variables(node) if rules else {}
        for rule in rules:
            value = rule.expression()(**values)
            if not rule.fits(value):
                branch = Branch(kind="linear", node=node, bits=1) if isinstance(node, Linear) else None
                yield self._broken(rule, node, branch, _words(node), value, ("keep this module real",))

    def _layer_variables(self, node: Weighted | SumPool) -> dict[str, int]:
        readers: list[Neuron | Readout] = [*self.net.neurons, *self.net.outputs]
        branches = (b for reader in readers for bundle in self.reader.bundles(reader) for b in bundle)
        branch = next((b for b in branches if b.node is node), None) or self.reader.alone(node)
        source = self.reader.nodes[node.sources[0]].shape
        return branch.variables() | {
            "neurons": math.prod(node.shape),
            "size": max(node.shape[1:], default=1),
            "input_size": max(source[1:], default=1),
            "weights": node.weight.codes.size if isinstance(node, Weighted) else 0,
        }

    def _network(self) -> Iterator[Violation]:
        layers = [n for n in self.net.weighted if n.id not in self.host]
        values = {
            "layers": len(layers),
            "neurons": sum(math.prod(n.shape) for n in self.net.neurons),
            "weights": sum(n.weight.codes.size for n in layers),
            "weight_bits": sum(n.weight.codes.size * n.weight.bits for n in layers),
            "steps": self.net.steps,
        }
        for rule in (r for r in self.chip.rules if r.per == "network"):
            value = rule.expression()(**values)
            if not rule.fits(value):
                whole = replace(self.net.inputs[0], path="the network")
                yield self._broken(rule, whole, None, rule.cost, value, self._smaller(rule, values, layers))

    def _smaller(self, rule: Rule, values: dict[str, int], layers: Sequence[Weighted]) -> tuple[str, ...]:
        """Return what brings the whole network below a limit: fewer bits for all weights, fewer of what is counted."""
        cost = rule.expression()

        def with_at_most(bits: int) -> Fraction:
            return cost(**values | {"weight_bits": sum(n.weight.codes.size * min(n.weight.bits, bits) for n in layers)})

        widest = max((n.weight.bits for n in layers), default=1)
        bits = next((b for b in widths_below(self.chip, widest) if rule.fits(with_at_most(b))), None)
        ways = []
        if bits is not None:
            ways.append(f"weights of at most {bits} bit{'s' * (bits != 1)} ({number(with_at_most(bits))})")
        counted = [words for name, words in _COUNTED.items() if re.search(rf"\b{name}\b", rule.cost)]
        if counted and rule.limit is not None:
            ways.append(f"fewer {' or '.join(dict.fromkeys(counted))}")
        return tuple(ways)


def _on_host(net: IntegerNetwork, reader: Reader) -> set[str]:
    """Return the linear layers that feed read-outs and no neuron."""
    at_end = {n.id for out in net.outputs for n in reader.ends(out) if isinstance(n, Linear)}
    inside = {n.id for neuron in net.neurons for n in reader.ends(neuron)}
    return at_end - inside


def _words(node: Node) -> str:
    return title(node) + (f", {node.weight.codes.shape[1]} inputs" if isinstance(node, Linear) else "")
