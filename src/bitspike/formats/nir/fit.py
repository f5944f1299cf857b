"""A network as one reader of NIR runs it: the same spikes, or the reasons why there is no such network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bitspike.formats.nir.facts import ROUNDING
from bitspike.formats.nir.readers import READERS, Form, Reader
from bitspike.formats.nir.rewrite import LARGEST, reduced
from bitspike.formats.nir.support import reasons
from bitspike.integer.bounds.grain import grain, zero_bits
from bitspike.integer.bounds.widths import Bounds, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Neuron, Node, Readout


@dataclass(frozen=True)
class Fitted:
    """A network as the file for a reader holds it, the form of each neuron by id, and what the reader cannot run."""

    net: IntegerNetwork
    forms: Mapping[str, Form]
    problems: list[tuple[Node, str]]


def for_reader(net: IntegerNetwork, reader: Reader) -> Fitted:
    """Return the network that a reader's file holds; its neurons spike as before when they are run as the forms say."""
    manner = READERS[reader]
    forms: dict[str, Form] = {}
    problems: list[tuple[Node, str]] = []
    nodes: list[Node] = []
    for node in net.nodes:
        nodes.append(node)
        if not isinstance(node, Neuron) or reasons(node):
            continue  # graph_entries refuses what NIR itself cannot hold
        if limits := _limits(node, manner.title):
            problems += [(node, reason) for reason in limits]
            continue
        rounded = grain(node, net.steps) is None
        answer = _rounds(node, manner.title) if rounded else manner.neuron(reduced(node), net)
        if isinstance(answer, str):
            problems.append((node, answer))
        else:
            nodes[-1], forms[node.id] = answer
    if len(net.inputs) != 1 or len(net.outputs) != 1:
        problems.append((net.nodes[-1], f"{manner.title} takes one input and one output"))
    if not problems:
        rewritten = replace(net, nodes=tuple(nodes))
        problems = _too_large(rewritten, forms, manner.title) + _beyond_sinabs(rewritten, reader)
    return Fitted(replace(net, nodes=tuple(_written(n, forms) for n in nodes)), forms, problems)


def _written(node: Node, forms: Mapping[str, Form]) -> Node:
    """Return a neuron whose gains and bias are the currents of the file."""
    if not isinstance(node, Neuron) or node.id not in forms:
        return node
    (up, down), offset = forms[node.id].per_count, forms[node.id].offset
    gains = tuple(gain * up // down for gain in node.gains)
    return replace(node, gains=gains, bias=node.bias * up // down - offset)


def _limits(node: Neuron, title: str) -> list[str]:
    floor = [f"its potential has a floor of {node.floor}, and {title} keeps none"] * (node.floor is not None)
    width = [f"its potential saturates at {node.width} bits, and {title}'s does not"] * (node.width is not None)
    if isinstance(node, FewBitNeuron):
        return [*floor, *width, f"it keeps its potential in {node.kept_bits} bits, and {title} keeps a float"]
    return floor + width


def _rounds(node: Neuron, title: str) -> str:
    leak = f"{node.leak.numerator}/{1 << node.leak.shift}"
    return f"its leak of {leak} rounds {ROUNDING[node.rounding]} within the steps of a run, and {title} does not round"


def _too_large(net: IntegerNetwork, forms: Mapping[str, Form], title: str) -> list[tuple[Node, str]]:
    """Name the nodes whose numbers float32 does not hold."""
    refused: list[tuple[Node, str]] = []
    for id, bounds in survey(net).items():
        node = net[id]
        if not isinstance(node, Neuron | Readout):
            continue
        up, down = forms[id].per_count if id in forms else (1, 1)
        # The steps of an output are added up by the user, who may do it in whole numbers.
        step = max(-bounds.accumulator[0], bounds.accumulator[1])
        reach = (bounds.size if isinstance(node, Neuron) else step) * up // down
        free = 0
        if isinstance(node, Neuron) and float(node.leak) == 1:
            reset = node.threshold if node.reset == "soft" else node.v_reset
            free = min(zero_bits(*node.gains, node.bias, node.initial, reset), 24)
        if reach > LARGEST << free:
            refused.append(
                (node, f"its sums may reach {reach}, and {title}'s floats hold every integer up to {LARGEST}")
            )
    return refused


def _beyond_sinabs(net: IntegerNetwork, reader: Reader) -> list[tuple[Node, str]]:
    """Name the neurons that in sinabs might spike twice in a step, or be clipped at minus the threshold."""
    if reader != "sinabs":
        return []
    refused: list[tuple[Node, str]] = []
    bounds: Mapping[str, Bounds] = survey(net)
    for node in net.neurons:
        low, high = bounds[node.id].membrane
        least = int(node.threshold.min())
        if high >= 2 * least:
            refused.append(
                (node, f"its potential may reach {high}: from {2 * least} on, sinabs sends several spikes at once")
            )
        if low < -least:
            refused.append((node, f"its potential may fall to {low}: sinabs holds it at {-least}, minus the threshold"))
    return refused
