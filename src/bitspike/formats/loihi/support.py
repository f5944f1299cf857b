"""What of a network Loihi cannot hold, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bitspike.formats.loihi.numbers import ALIGNED, DECAY_BITS, LIMIT, POTENTIAL_BITS, decay_of
from bitspike.formats.loihi.synapses import origins
from bitspike.integer.bounds.grain import Aligned, aligned, grain
from bitspike.integer.bounds.widths import Bounds, bits_of
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Gained, Input, Neuron, Node, Readout, still

MOST_INPUT_BITS = 24


def problems(net: IntegerNetwork, bounds: Mapping[str, Bounds]) -> Iterator[tuple[Node, str]]:
    """Yield every node that does not map, with the reason and the way out; numbers of weights are not looked at."""
    if len(net.inputs) != 1:
        yield net.nodes[0], f"there are {len(net.inputs)} inputs; one input with a Slice for each part is needed"
    depth: dict[str, int] = {}
    for node in net.nodes:
        if isinstance(node, Input):
            depth[node.id] = 0
            if node.grid.bits > MOST_INPUT_BITS:
                yield (
                    node,
                    f"its codes have {node.grid.bits} bits; a graded spike has {MOST_INPUT_BITS}: a coarser grid",
                )
        elif not isinstance(node, Neuron | Readout):
            if not node.linear or node.memory != "none":
                yield node, f"a {type(node).__name__} is no sum of weighted spikes; an average pool or a stride is one"
            elif not node.still:
                yield node, "its gains change over time; weights are constant: a norm that is the same at every step"
            continue
        else:
            yield from _ends(net, node, depth)
            if isinstance(node, Neuron):
                yield from neuron_problems(node, net.steps, bounds[node.id])
            else:
                yield from _sum_problems(node)


def _ends(net: IntegerNetwork, node: Gained, depth: dict[str, int]) -> Iterator[tuple[Node, str]]:
    """Yield why what it reads does not meet; a layer of neurons takes a step, which ``depth`` counts.

    Spikes that come too early are held back by relays, and codes cannot be.
    """
    ends, _ = origins(net, node)
    depths = {depth[end.id] for end in ends}
    depth[node.id] = 1 + max(depths, default=0)
    if len(depths) > 1 and 0 in depths:
        names = ", ".join(end.path for end in ends)
        yield (
            node,
            f"it adds up codes and spikes ({names}), which come a step later: a neuron after what reads the codes",
        )
    if not all(map(still, node.gains)):
        yield node, "its gains change over time; weights are constant: a norm that is the same at every step"


def neuron_problems(node: Neuron, steps: int, bounds: Bounds) -> Iterator[tuple[Node, str]]:
    """Yield why the chip's neuron is another one."""
    leak = f"{node.leak.numerator}/{1 << node.leak.shift}"
    leaks, rounds = float(node.leak) != 1, grain(node, steps) is None
    wrong = {
        "it resets by subtraction, and Loihi's neuron to 0: reset='hard'": node.reset == "soft",
        "it resets to a value other than 0: v_reset=0": node.reset == "hard" and bool(node.v_reset.any()),
        "its potential does not start at 0: initial=0, and of a conversion initial=0 and correct='bias'": (
            bool(node.initial.any())
        ),
        "it takes spikes back, and Loihi's neuron sends 0 and 1: bs.LIF or bs.IF": node.signed,
        f"its leak of {leak} comes after the input, and Loihi's before it: leak='before'": (
            leaks and node.leak_order == "after"
        ),
        f"its leak of {leak} is none of {1 << DECAY_BITS} parts, 1 to {1 << DECAY_BITS}: a decay with fewer bits": (
            leaks and decay_of(node.leak) is None
        ),
        f"its leak of {leak} rounds down, and Loihi's toward zero: rounding='zero'": (
            leaks and rounds and node.rounding == "floor"
        ),
        "its bias changes over time, and Loihi's is constant: a synchronous schedule": not still(node.bias),
        "its threshold changes over time, and Loihi's is constant: one for all steps": not still(node.threshold),
        f"its potential has a floor of {node.floor}, and Loihi's has none: floor=None": node.floor is not None,
        f"its potential saturates at {node.width} bits, and Loihi's at {POTENTIAL_BITS}: potential_bits=None": (
            node.width is not None
        ),
        "it keeps its potential in few bits, and Loihi's is kept as it is: membrane=None": isinstance(
            node, FewBitNeuron
        ),
        f"it shifts what arrives right by {node.right_shift} bits, and Loihi's does not: right_shift=0": (
            node.right_shift != 0
        ),
    }
    reasons = [reason for reason, holds in wrong.items() if holds]
    yield from ((node, reason) for reason in reasons)
    if not reasons:
        yield from _number_problems(node, aligned(node, steps, ALIGNED), bounds)


def _number_problems(node: Neuron, unit: Aligned | str, bounds: Bounds) -> Iterator[tuple[Node, str]]:
    if isinstance(unit, str):
        yield (
            node,
            f"{unit}: fire='gt', and a resolution {1 << ALIGNED} times finer than what arrives and the threshold",
        )
        return
    for what, (low, high) in (("potential", bounds.membrane), ("current", bounds.current)):
        yield from ((node, text) for text in too_wide(what, low, high, unit))


def too_wide(what: str, low: int, high: int, unit: Aligned) -> Iterator[str]:
    """Yield that numbers leave the chip's 24 bits, which end at the same magnitude on both sides."""
    low, high = unit.of(low), unit.of(high)
    if max(high, -low) > LIMIT:
        yield (
            f"its {what} may lie from {low} to {high}, {bits_of(low, high)} bits, and Loihi's has {POTENTIAL_BITS}: "
            "fewer bits of weights or of fraction, or fewer steps"
        )


def _sum_problems(node: Readout) -> Iterator[tuple[Node, str]]:
    if not still(node.bias):
        yield node, "its bias changes over time, and Loihi's is constant: a synchronous schedule"


def neurons_of(nodes: Sequence[Node]) -> list[Neuron | Readout]:
    """Return the nodes that become populations, in order."""
    return [n for n in nodes if isinstance(n, Neuron | Readout)]
