"""Replay the golden vectors of a saved network with nothing but NumPy integers, and say where they differ first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import CheckFailed, PackageError
from bitspike.integer.network import IntegerNetwork, Integers
from bitspike.integer.package import VECTORS, WEIGHTS, Arrays, changed_tensors, load, read_manifest, read_tensors
from bitspike.integer.simulate import Trace, simulate


@dataclass(frozen=True)
class Difference:
    """The first place where two runs differ.

    Args:
        layer: module path of the neuron or read-out.
        step: from 0.
        index: position in [N, ...].
        quantity: ``spike``, ``membrane`` or ``output``; ``weights`` if a tensor changed that no vector excites.
        expected, found: the two values.
    """

    layer: str
    step: int
    index: tuple[int, ...]
    quantity: str
    expected: int | str
    found: int | str

    def __str__(self) -> str:
        where = f"layer {self.layer}" + (f", step {self.step}, index {list(self.index)}" if self.index else "")
        return f"{where}: {self.quantity} is {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class Certificate:
    """What was compared and whether all of it is equal.

    Args:
        equal: True if nothing differs.
        samples: inputs that were run.
        spikes_compared, membranes_compared: values that were compared.
        first_difference: None if there is none.
        inputs_clipped: input values that lay beyond the grid of the input and were clipped to it.
    """

    equal: bool
    samples: int
    spikes_compared: int
    membranes_compared: int
    first_difference: Difference | None = None
    inputs_clipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def raise_if_failed(self) -> None:
        """Raise :class:`CheckFailed` with the first difference, if there is one."""
        if not self.equal:
            raise CheckFailed(str(self))

    def __str__(self) -> str:
        compared = (
            f"{self.spikes_compared:,} spikes and {self.membranes_compared:,} membranes of {self.samples:,} samples"
        )
        if self.inputs_clipped:
            compared += f"; {self.inputs_clipped:,} input values clipped to their grid"
        if self.equal:
            return f"certificate: 100% equal ({compared})"
        return f"certificate: NOT equal\n  first difference: {self.first_difference}\n  compared: {compared}"


Run = Callable[[IntegerNetwork, Integers], Trace]
"""Runs a network on codes: the definition, or anything that claims to equal it."""


def replay(folder: Path, run: Run = simulate) -> Certificate:
    """Check a saved network against its own golden vectors, and its tensors against their digests.

    Args:
        folder: of the saved network.
        run: what runs it.

    Raises:
        PackageError: the folder cannot be read.
    """
    manifest, tensors = read_manifest(folder), read_tensors(folder, WEIGHTS)
    net, vectors = load(folder, check=False), read_tensors(folder, VECTORS)
    expected, codes, steps = _golden(net, vectors, folder)
    if codes.ndim < 2 or codes.shape[1] == 0:
        raise PackageError(f"{folder / VECTORS} holds no sample, so there is nothing to prove")
    found = run(net, codes)
    _refuse_other_shapes(expected, found, len(steps), folder)
    first = first_difference(net, expected, found, steps)
    if first is None and (changed := changed_tensors(manifest, tensors)):
        layer = next((n.path for n in net.nodes if n.id == changed[0].split(".")[0]), changed[0])
        first = Difference(layer, 0, (), "weights", f"the saved digest of {changed[0]}", "another tensor")
    return Certificate(
        equal=first is None,
        samples=codes.shape[1],
        spikes_compared=sum(s.size for s in expected.spikes.values()),
        membranes_compared=sum(h.size for h in expected.potentials.values()),
        first_difference=first,
    )


def _golden(net: IntegerNetwork, vectors: Arrays, folder: Path) -> tuple[Trace, Integers, list[int]]:
    try:
        trace = Trace(
            {n.id: vectors[f"{n.id}.spikes"] for n in net.neurons},
            {n.id: vectors[f"{n.id}.potentials"].astype(np.int64) for n in net.neurons},
            {n.id: vectors[f"{n.id}.output"].astype(np.int64) for n in net.outputs},
        )
        steps = [int(t) for t in vectors["potential_steps"] if 0 <= t < net.steps]
        return trace, vectors["input_codes"].astype(np.int64), steps
    except KeyError as error:
        raise PackageError(
            f"{folder / VECTORS} lacks {error.args[0]!r}, so there is nothing to compare it with"
        ) from error


def _refuse_other_shapes(expected: Trace, found: Trace, kept: int, folder: Path) -> None:
    wanted = {f"{id}.spikes": (expected.spikes[id].shape, s.shape) for id, s in found.spikes.items()}
    wanted |= {f"{id}.output": (expected.outputs[id].shape, o.shape) for id, o in found.outputs.items()}
    for id, h in found.potentials.items():
        wanted[f"{id}.potentials"] = (expected.potentials[id].shape, (kept, *h.shape[1:]))
    for name, (there, needed) in wanted.items():
        if there != needed:
            raise PackageError(f"{folder / VECTORS}: {name!r} has the shape {list(there)}, needed is {list(needed)}")


def first_difference(net: IntegerNetwork, expected: Trace, found: Trace, kept: Iterable[int]) -> Difference | None:
    """Return the first difference of two traces in the order of data flow, then of steps; None if they are equal.

    Args:
        net: the network of both.
        expected: its potentials hold the steps ``kept`` only.
        found: a full trace.
        kept: the steps whose potentials are compared.
    """
    steps = list(kept)
    everything = steps == list(range(net.steps))
    for node in net.nodes:
        if node.id in found.spikes:
            a, b = expected.spikes[node.id], found.spikes[node.id]
            u, v = expected.potentials[node.id], found.potentials[node.id]
            v = v if everything else v[steps]
            if np.array_equal(a, b) and np.array_equal(u, v):
                continue
            spike, membrane = _where(a, b, list(range(len(a)))), _where(u, v, steps)
            # At one step the membrane comes first: it is what the spike follows from.
            at, name = min((w, n) for w, n in ((membrane, "membrane"), (spike, "spike")) if w is not None)
            step, index = at[0], at[1:]
            pair = (u[steps.index(step)], v[steps.index(step)]) if name == "membrane" else (a[step], b[step])
            return Difference(node.path, step, index, name, int(pair[0][index]), int(pair[1][index]))
        if node.id in found.outputs:
            e, f = expected.outputs[node.id], found.outputs[node.id]
            if not np.array_equal(e, f):
                index = tuple(int(i) for i in np.argwhere(e != f)[0])
                return Difference(node.path, net.steps - 1, index, "output", int(e[index]), int(f[index]))
    return None


def _where(a: npt.NDArray[Any], b: npt.NDArray[Any], steps: list[int]) -> tuple[int, ...] | None:
    wrong = np.argwhere(a != b)
    return None if len(wrong) == 0 else (steps[int(wrong[0][0])], *(int(i) for i in wrong[0][1:]))
