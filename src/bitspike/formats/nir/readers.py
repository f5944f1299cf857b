"""What each reader of NIR runs, and how a neuron is rewritten until it is one of these.

What the readers make of NIR (measured with the versions of ``benchmarks/records/readers.jsonl``; docs/export.md has
the table):

=============  =====  ===============  ====================================  =========  ========================
reader         fires  after a spike    before the first step                 threshold  leak
=============  =====  ===============  ====================================  =========  ========================
SpikingJelly   >=     ``v_reset``      ``v_reset``                           per node   ``LIF`` with r = tau
snnTorch       >      0, of an LIF     0                                     per node   ``LIF``, dt = 0.0001
Norse          >      0, or less       ``v_leak`` of an LIF or CubaLIF       free       ``LIF``, r is ignored
sinabs         >=     less by theta    0                                     free       none that is exact
=============  =====  ===============  ====================================  =========  ========================

Every step of a rewrite (:mod:`bitspike.formats.nir.rewrite`) leaves all spikes as they are. Where no step leads to a
neuron of the reader, its function returns the reason instead, and :func:`bitspike.formats.nir.fit.for_reader` refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bitspike.formats.nir.rewrite import LARGEST, compared, one_threshold, shifted
from bitspike.formats.nir.scale import finer
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Fire, Integers, Neuron

Reader = Literal["norse", "sinabs", "snntorch", "spikingjelly"]
"""Programs that read NIR."""

ENDLESS_TAU = 2.0**100
"""A time constant so long that a float of 32 bits keeps all of the potential and all that arrives."""


@dataclass(frozen=True)
class Form:
    """How one neuron is written in the file.

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
    """What a reader supports, and how to open a file with it.

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


def _resets_to_zero(node: Neuron, steps: int, fire: Fire, title: str) -> Neuron | str:
    """Return a neuron that starts at 0, is set to 0 and has one threshold for all channels."""
    if node.reset == "soft":
        return f"it resets by subtraction, and {title} sets a neuron to a value after a spike"
    if (node.initial != node.v_reset).any():
        return (
            f"it starts at {_list(node.initial)} and resets to {_list(node.v_reset)}, and {title} starts at the latter"
        )
    if (node.threshold[0] <= node.v_reset).any():
        return _low(node)
    return one_threshold(shifted(node, node.v_reset), steps, fire) or _thresholds(node, title)


def _spikingjelly(node: Neuron, net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    fine = _resets_to_zero(node, net.steps, "ge", "SpikingJelly")
    if isinstance(fine, str):
        return fine
    if float(node.leak) == 1:
        return fine, Form("IF")
    tau = np.float32(1 / (1 - float(node.leak)))
    if 1 - 1 / float(tau) != float(node.leak):
        return _inexact(node)
    return fine, Form("LIF", float(tau), float(tau))


def _snntorch(node: Neuron, net: IntegerNetwork) -> tuple[Neuron, Form] | str:
    fine = _resets_to_zero(node, net.steps, "gt", "snnTorch")
    if isinstance(fine, str):
        return fine
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
    ready = compared(shifted(node, node.v_reset) if hard else node, "gt")
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
    ready = compared(node, "ge")
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
"""What each reader does, by the word for it."""


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


def _list(values: Integers) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
