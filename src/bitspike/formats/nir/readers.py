"""Networks for one reader of NIR: the same spikes, said in the words that this reader keeps.

What the readers make of NIR (measured with the versions of ``benchmarks/results/readers.jsonl``; docs/export.md has
the table):

=============  =====  ===============  ====================================  =========  ========================
reader         fires  after a spike    before the first step                 threshold  leak
=============  =====  ===============  ====================================  =========  ========================
SpikingJelly   >=     ``v_reset``      ``v_reset``                           per node   ``LIF`` with r = tau
snnTorch       >      0, of an LIF     0                                     per node   ``LIF``, dt = 0.0001
Norse          >      0, or less       ``v_leak`` of an LIF or CubaLIF       free       ``LIF``, r is ignored
sinabs         >=     less by theta    0                                     free       none that is exact
=============  =====  ===============  ====================================  =========  ========================

So a potential is shifted, scaled and compared differently until the neuron is one of these; every step of that changes
no spike, whatever the input. What no step reaches is a reason for :func:`for_reader` to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from bitspike.formats.nir.scale import finer, grain, zero_bits
from bitspike.formats.nir.support import reasons
from bitspike.integer.bounds.widths import Bounds, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Dyadic, Integers, Neuron, Node, Readout

Reader = Literal["norse", "sinabs", "snntorch", "spikingjelly"]
"""Programs that read NIR."""

ENDLESS_TAU = 2.0**100
"""A time constant so long that a float of 32 bits keeps the whole potential, and what arrives beside it."""
LARGEST = 1 << 24
"""Floats of 32 bits hold every integer up to it."""


@dataclass(frozen=True)
class Form:
    """How one neuron stands in the file.

    Args:
        kind: its class in ``nir``.
        tau, r: time constant and resistance, in the unit of time of the file; 0 where the class has none.
        start: ``v_leak``, which is the potential before the first step to a reader of this form, [1 or C].
        per_count: numerator and denominator: so many units of current in the file raise the potential by one count.
        offset: what was taken from the current of every step, as the reader adds it again, [1 or C].
    """

    kind: str
    tau: float = 0.0
    r: float = 1.0
    start: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    per_count: tuple[int, int] = (1, 1)
    offset: Integers = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass(frozen=True)
class Manner:
    """What a reader does, and how it is called.

    Args:
        title: its name.
        call: the line of Python that opens the file.
        branches: whether edges that meet are added.
        lines: whether it has convolutions of one dimension; they become matrices otherwise.
        dt: the unit of time that it assumes.
        neuron: turns a neuron into one that it runs, and says how it is written, or why there is none.
    """

    title: str
    call: str
    branches: bool
    lines: bool
    dt: float
    neuron: Callable[[Neuron, IntegerNetwork], tuple[Neuron, Form] | str]


@dataclass(frozen=True)
class Fitted:
    """A network as a reader's file says it, the form of each neuron by id, and what cannot be said."""

    net: IntegerNetwork
    forms: Mapping[str, Form]
    problems: list[tuple[Node, str]]


def for_reader(net: IntegerNetwork, reader: Reader) -> Fitted:
    """Return the network that a reader's file holds; its neurons spike as before when they are run as the forms say."""
    manner = READERS[reader]
    forms: dict[str, Form] = {}
    problems: list[tuple[Node, str]] = []
    equal: list[Node] = []
    for node in net.nodes:
        equal.append(node)
        if not isinstance(node, Neuron) or reasons(node):
            continue  # the plan refuses the latter
        if limits := _limits(node, manner.title):
            problems += [(node, reason) for reason in limits]
            continue
        rounded = grain(node, net.steps) is None
        found = _rounds(node, manner.title) if rounded else manner.neuron(_reduced(node), net)
        if isinstance(found, str):
            problems.append((node, found))
        else:
            equal[-1], forms[node.id] = found
    if len(net.inputs) != 1 or len(net.outputs) != 1:
        problems.append((net.nodes[-1], f"{manner.title} takes one input and one output"))
    made = replace(net, nodes=tuple(equal))
    if not problems:
        problems = _too_large(made, forms, manner.title) + _held(made, reader)
    return Fitted(replace(net, nodes=tuple(_written(n, forms) for n in equal)), forms, problems)


def equal_network(net: IntegerNetwork, reader: Reader) -> IntegerNetwork:
    """Return the integer network that a reader of the file runs, before it is written: equal spikes, other numbers.

    Raises:
        ValueError: there is none; :func:`for_reader` says why.
    """
    found = for_reader(net, reader)
    if found.problems:
        raise ValueError(found.problems[0][1])
    nodes = [_counted(n, found.forms[n.id]) if isinstance(n, Neuron) else n for n in found.net.nodes]
    return replace(net, nodes=tuple(nodes))


def _written(node: Node, forms: Mapping[str, Form]) -> Node:
    """Return a neuron whose gains and bias are the currents of the file."""
    if not isinstance(node, Neuron) or node.id not in forms:
        return node
    (up, down), offset = forms[node.id].per_count, forms[node.id].offset
    gains = tuple(gain * up // down for gain in node.gains)
    return replace(node, gains=gains, bias=node.bias * up // down - offset)


def _counted(node: Neuron, form: Form) -> Neuron:
    """Return the neuron that runs as a written one is read: potentials grow with the file's currents."""
    up, down = form.per_count
    grown: dict[str, Any] = {name: getattr(node, name) * up // down for name in ("threshold", "initial", "v_reset")}
    return replace(node, bias=node.bias + form.offset, unit=node.unit * down / up, **grown)


# -- steps that change no spike ----------------------------------------------------------------------------------------


def _reduced(node: Neuron) -> Neuron:
    """Write the leak with an odd numerator, and before the input: then it scales what arrives as well."""
    m, k = node.leak.numerator, node.leak.shift
    while k and m % 2 == 0:
        m, k = m // 2, k - 1
    node = replace(node, leak=Dyadic(m, k))
    if node.leak_order == "before" or (m, k) == (1, 0):
        return replace(node, leak_order="before")
    fine = finer(node, np.array([1 << k]))
    shrunk: dict[str, Any] = {"gains": tuple(gain * m for gain in node.gains), "bias": node.bias * m}
    return replace(fine, **shrunk, leak_order="before")


def _shifted(node: Neuron, by: Integers) -> Neuron:
    """Count the potential from ``by`` [1 or C]; a leak then pulls to another place, which the bias makes good.

    With v = u / s + by, the step v' = d v + i is u' = d u + s i + s (d - 1) by. The scale s makes the last term whole.
    A threshold moves along, the amount that a soft reset takes does not: see :func:`_compared`.
    """
    if not by.any():
        return node
    scale = 1 << node.leak.shift
    pull = (node.leak.numerator - scale) * by
    fine = finer(node, np.array([scale]))
    moved: dict[str, Any] = {"bias": fine.bias + pull, "initial": fine.initial - scale * by}
    if node.reset == "hard":
        moved |= {"v_reset": fine.v_reset - scale * by, "threshold": fine.threshold - scale * by}
    return replace(fine, **moved)


def _compared(node: Neuron, fire: Literal["ge", "gt"]) -> Neuron:
    """Compare the other way: v >= theta is v > theta - 1, or, where a spike takes theta, v + 1 > theta."""
    if node.fire == fire:
        return node
    step = 1 if fire == "ge" else -1
    if node.reset == "hard":
        return replace(node, fire=fire, threshold=node.threshold + step)
    return replace(_shifted(node, np.array([step])), fire=fire)


def _one_threshold(node: Neuron, steps: int, fire: Literal["ge", "gt"]) -> Neuron | None:
    """Give all channels of a neuron that resets to 0 one threshold.

    A potential in units f times smaller takes steps of f, so that any threshold in (f (theta - 1), f theta] parts the
    same potentials; one that suits a factor for every channel is looked for. It exists where large numbers are allowed:
    at theta**2 for the largest theta.
    """
    node = _compared(node, "ge")
    bits = zero_bits(*node.gains, node.bias) if float(node.leak) == 1 else grain(node, steps) or 0
    # Potentials are multiples of the step, so thresholds may be as well.
    step = 1 << min(bits, 24)
    theta = -(-node.threshold[0] // step) * step
    if (node.threshold == node.threshold[0, 0]).all():
        return _compared(replace(node, threshold=node.threshold[:, :1]), fire)
    for first in range(int(theta.max()), LARGEST >> 2, _TRIED):
        wanted = np.arange(first, first + _TRIED)[:, None]
        factor = -(-wanted // theta)
        fits = (factor * (theta - step) < wanted).all(1)
        if fits.any():
            found = int(np.argmax(fits))
            fine = finer(node, factor[found])
            return _compared(replace(fine, threshold=np.full((1, 1), first + found)), fire)
        if first > int(theta.max()) ** 2:
            break
    return None


_TRIED = 4096


# -- readers -----------------------------------------------------------------------------------------------------------


def _resets_to_zero(node: Neuron, title: str) -> Neuron | str:
    """Return a neuron that starts at 0 and is set to 0."""
    if node.reset == "soft":
        return f"it resets by subtraction, and {title} sets a neuron to a value after a spike"
    if (node.initial != node.v_reset).any():
        return (
            f"it starts at {_list(node.initial)} and resets to {_list(node.v_reset)}, and {title} starts at the latter"
        )
    if (node.threshold[0] <= node.v_reset).any():
        return _low(node)
    return _shifted(node, node.v_reset)


def _spikingjelly(node: Neuron, net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    ready = _resets_to_zero(node, "SpikingJelly")
    if isinstance(ready, str):
        return ready
    fine = _one_threshold(ready, net.steps, "ge")
    if fine is None:
        return _thresholds(node, "SpikingJelly")
    if float(node.leak) == 1:
        return fine, Form("IF")
    tau = np.float32(1 / (1 - float(node.leak)))
    if 1 - 1 / float(tau) != float(node.leak):
        return _inexact(node)
    return fine, Form("LIF", float(tau), float(tau))


def _snntorch(node: Neuron, net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    ready = _resets_to_zero(node, "snnTorch")
    if isinstance(ready, str):
        return ready
    fine = _one_threshold(ready, net.steps, "gt")
    if fine is None:
        return _thresholds(node, "snnTorch")
    dt = np.float32(1e-4)
    if float(node.leak) == 1:
        # Its IF leaks; an LIF that is slow enough does not.
        return fine, Form("LIF", 1e30, 1e34)
    tau = np.float32(dt / np.float32(1 - float(node.leak)))
    near = [tau, np.nextafter(tau, np.float32(0)), np.nextafter(tau, np.float32(1))]
    exact = [t for t in near if np.float32(1) - dt / t == np.float32(float(node.leak))]
    return (fine, Form("LIF", float(exact[0]), float(exact[0] / dt))) if exact else _inexact(node)


def _norse(node: Neuron, _net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    hard = node.reset == "hard"
    if hard and (node.threshold[0] <= node.v_reset).any():
        return _low(node)
    ready = _compared(_shifted(node, node.v_reset) if hard else node, "gt")
    if not hard and not ready.threshold.all():
        return "its threshold is 0"
    start = ready.initial
    scale = 1 << node.leak.shift
    part = scale - node.leak.numerator
    if float(node.leak) == 1:
        if hard and not start.any():
            return ready, Form("IF")
        if hard:
            return (
                f"it starts at {_list(node.initial)} and resets to {_list(node.v_reset)}, and Norse takes one of them"
            )
        return ready, Form("CubaLIF", ENDLESS_TAU, ENDLESS_TAU, start, offset=start)
    tau = np.float32(scale / part)
    near = [tau, np.nextafter(tau, np.float32(0)), np.nextafter(tau, np.float32(2 * tau))]
    exact = [t for t in near if np.float32(1) / t == np.float32(part / scale)]
    if not exact:
        return _inexact(node)
    fine = finer(ready, np.array([part]))
    start = fine.initial
    kind, offset = ("LIF", start) if hard else ("CubaLIF", 2 * start)
    return fine, Form(kind, float(exact[0]), 1.0, start, (scale, part), offset)


def _sinabs(node: Neuron, _net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    if node.reset == "hard":
        return "it resets to a value, and sinabs subtracts the threshold"
    if float(node.leak) != 1:
        return f"its leak is {node.leak.numerator}/{1 << node.leak.shift}, and sinabs decays by exp(-1 / tau)"
    ready = _compared(node, "ge")
    if ready.initial.any():
        return f"it starts at {_list(node.initial)}, and sinabs starts at {_list(node.initial - ready.initial)}"
    return ready, Form("IF")


READERS: Mapping[Reader, Manner] = {
    "norse": Manner(
        "Norse",
        "norse.torch.from_nir(nir.read(path), dt=1.0, reset_method=norse.torch.functional.reset.reset_subtract)",
        branches=False, lines=False, dt=1.0, neuron=_norse,
    ),
    "sinabs": Manner(
        "sinabs", "sinabs.nir.from_nir(path, num_timesteps=T)", branches=False, lines=False, dt=1.0, neuron=_sinabs
    ),
    "snntorch": Manner(
        "snnTorch", "snntorch.import_nir.import_from_nir(nir.read(path))", branches=True, lines=True, dt=1e-4,
        neuron=_snntorch,
    ),
    "spikingjelly": Manner(
        "SpikingJelly", "spikingjelly.activation_based.nir_exchange.import_from_nir(path, dt=1.0)", branches=True,
        lines=True, dt=1.0, neuron=_spikingjelly,
    ),
}  # fmt: skip
"""How each reader is met."""


# -- reasons -----------------------------------------------------------------------------------------------------------


def _limits(node: Neuron, title: str) -> list[str]:
    found = [f"its potential has a floor of {node.floor}, and {title} keeps none"] * (node.floor is not None)
    return found + [f"its potential saturates at {node.width} bits, and {title}'s does not"] * (node.width is not None)


def _rounds(node: Neuron, title: str) -> str:
    leak = f"{node.leak.numerator}/{1 << node.leak.shift}"
    return f"its leak of {leak} rounds down within the steps of a run, and {title} does not round"


def _low(node: Neuron) -> str:
    return f"its threshold of {_list(node.threshold)} is no larger than its reset value of {_list(node.v_reset)}"


def _inexact(node: Neuron) -> str:
    return f"its leak of {node.leak.numerator}/{1 << node.leak.shift} has no time constant that a float tells exactly"


def _thresholds(node: Neuron, title: str) -> str:
    theta = node.threshold
    return (
        f"its thresholds reach from {theta.min()} to {theta.max()}, {title} takes one for all channels, and no scales "
        f"below {LARGEST >> 2} make them one"
    )


def _too_large(net: IntegerNetwork, forms: Mapping[str, Form], title: str) -> list[tuple[Node, str]]:
    """Name the nodes whose numbers float32 does not hold."""
    found: list[tuple[Node, str]] = []
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
            found.append((node, f"its sums may reach {reach}, and {title}'s floats hold every integer up to {LARGEST}"))
    return found


def _held(net: IntegerNetwork, reader: Reader) -> list[tuple[Node, str]]:
    """Name the neurons that sinabs may let spike twice in a step, or hold at minus the threshold."""
    if reader != "sinabs":
        return []
    found: list[tuple[Node, str]] = []
    bounds: Mapping[str, Bounds] = survey(net)
    for node in net.neurons:
        low, high = bounds[node.id].membrane
        least = int(node.threshold.min())
        if high >= 2 * least:
            found.append(
                (node, f"its potential may reach {high}: from {2 * least} on, sinabs sends several spikes at once")
            )
        if low < -least:
            found.append((node, f"its potential may fall to {low}: sinabs holds it at {-least}, minus the threshold"))
    return found


def _list(values: Integers) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
