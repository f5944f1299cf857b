"""Replay the golden vectors of a saved network with nothing but NumPy integers, and say where they differ first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import CheckFailed, ConstraintError, PackageError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node
from bitspike.integer.saved.entries import AGAIN, Arrays, damaged
from bitspike.integer.saved.folder import changed_tensors, load, read_tensors
from bitspike.integer.saved.manifest import (
    MANIFEST,
    VECTORS,
    WEIGHTS,
    changed_files,
    contradictions,
    digest_of,
    read_manifest,
    states_digest,
)
from bitspike.integer.simulate import Trace, simulate
from bitspike.integer.values import codes_of, decode
from bitspike.tables import Shown, Table


@dataclass(frozen=True)
class Difference:
    """The first place where two runs differ.

    Args:
        layer: module path of the input, neuron or read-out; the name of a file where its digest differs.
        step: from 0.
        index: position in [N, ...].
        quantity: ``code`` of an input, ``spike``, ``membrane``, ``count``, ``output`` or its ``value``; ``weights`` if
            a tensor changed that no vector excites; ``digest`` of a file; or what the manifest states wrongly.
        expected, found: the two values.
    """

    layer: str
    step: int
    index: tuple[int, ...]
    quantity: str
    expected: int | float | str
    found: int | float | str

    def __str__(self) -> str:
        if self.layer in (MANIFEST, WEIGHTS, VECTORS):
            return f"{self.layer}: {self.quantity} is {self.found}, expected {self.expected}"
        where = f"layer {self.layer}" + (f", step {self.step}, index {list(self.index)}" if self.index else "")
        return f"{where}: {self.quantity} is {self.found}, expected {self.expected}"


_TRIVIAL = {
    "SILENT": "no neuron fired at any step: silence was compared with silence, and no spike was put to the proof",
    "ALWAYS FIRING": "every neuron fired at every step: what depends on no input was compared with itself",
}
"""What a certificate says of a network that sent nothing, or a spike always."""


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """What was compared and whether all of it is equal.

    Args:
        equal: True if nothing differs.
        samples: inputs that were run.
        spikes_compared, membranes_compared: values that were compared.
        spikes_fired: how many of the compared values were spikes, 1 or -1, and not silence; None in certificates of
            earlier versions.
        first_difference: None if there is none.
        inputs_clipped: input values that lay beyond the grid of the input and were clipped to it.
        digest: of the package that was proved: SHA-256 of its manifest, which holds those of both tensor files.
        digest_stated: the package states a digest itself. Where it does not (earlier versions wrote none), nothing
            tells whether what the golden vectors do not show is what was saved: inner scales, coding, widths of codes.
    """

    equal: bool
    samples: int
    spikes_compared: int
    membranes_compared: int
    first_difference: Difference | None = None
    inputs_clipped: int = 0
    digest: str | None = None
    digest_stated: bool = True
    spikes_fired: int | None = None

    @property
    def silent(self) -> bool:
        """True where spikes were compared and not one was fired: silence equals silence, whatever the weights are."""
        return self.spikes_fired == 0 and self.spikes_compared > 0

    @property
    def always_fires(self) -> bool:
        """True where every compared value was a spike: every neuron fired at every step of every sample."""
        return self.spikes_fired == self.spikes_compared > 0

    def expecting(self, digest: str | None) -> Certificate:
        """Return the certificate of a package that is known by its digest: not equal if this is another one.

        Args:
            digest: 64 hexadecimal digits, as an earlier certificate had them; None expects nothing.

        Raises:
            ConstraintError: it is no such digest.
        """
        if digest is None:
            return self
        if not re.fullmatch(r"[0-9a-f]{64}", wanted := digest.strip().lower()):
            raise ConstraintError(
                f"the expected digest is {digest!r}: 64 hexadecimal digits are needed",
                fix="the digest that bitspike verify printed for the package that you trust",
            )
        if self.first_difference is not None or wanted == self.digest:
            return self
        other = Difference(MANIFEST, 0, (), "digest", wanted, str(self.digest))
        return replace(self, equal=False, first_difference=other)

    def table(self) -> Table:
        """Return a row for everything that was compared, and what differs first."""
        counts = {
            "samples": self.samples,
            "spikes": self.spikes_compared,
            "of them fired": self.spikes_fired,
            "membranes": self.membranes_compared,
            "inputs clipped": self.inputs_clipped,
        }
        rows = [(name, f"{value:,}") for name, value in counts.items() if value is not None]
        below = [f"first difference: {self.first_difference}"] if self.first_difference is not None else []
        below += [_TRIVIAL[self._trivial]] if self._trivial else []
        below += [f"digest {self.digest}"] if self.digest else []
        return Table(f"Certificate: {self._verdict}", ("compared", ""), rows, below)

    @property
    def _verdict(self) -> str:
        if not self.equal:
            return "NOT equal"
        return f"100% equal, and {self._trivial}" if self._trivial else "100% equal"

    @property
    def _trivial(self) -> str:
        return "SILENT" if self.silent else "ALWAYS FIRING" if self.always_fires else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def raise_if_failed(self) -> None:
        """Raise :class:`CheckFailed` with the first difference, if there is one."""
        if not self.equal:
            raise CheckFailed(
                str(self),
                fix="an undamaged copy of the package; if the network was only just lowered, please report it",
            )

    def __str__(self) -> str:
        fired = ""
        if self.spikes_fired is not None:
            number = "all" if self.always_fires else f"{self.spikes_fired:,}" if self.spikes_fired else "none"
            fired = f", {number} of them fired,"
        compared = (
            f"{self.spikes_compared:,} spikes{fired} and {self.membranes_compared:,} membranes of "
            f"{self.samples:,} samples"
        )
        if self.inputs_clipped:
            compared += f"; {self.inputs_clipped:,} input values clipped to their grid"
        said = f"certificate: {self._verdict}"
        if not self.equal:
            return f"{said}\n  first difference: {self.first_difference}\n  compared: {compared}"
        return f"{said} ({compared})" + (f"\n  {_TRIVIAL[self._trivial]}" if self._trivial else "")


def spikes_in(trace: Trace) -> int:
    """Return how many values of a run are spikes, of either sign.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> spikes_in(simulate(one_convolution(), np.zeros((1, 1, 1, 4, 4), np.int64)))
        0
    """
    return sum(int(np.count_nonzero(spikes)) for spikes in trace.spikes.values())


Array = npt.NDArray[Any]
Run = Callable[[IntegerNetwork, Integers], Trace]
"""Runs a network on codes: the definition, or anything that claims to equal it."""


def replay(folder: Path, run: Run = simulate) -> Certificate:
    """Check a saved network against its own golden vectors, and everything in its folder against their digests.

    Raises:
        PackageError: the folder cannot be read, or its vectors are no evidence.
    """
    manifest, tensors = read_manifest(folder), read_tensors(folder, WEIGHTS)
    net, vectors = load(folder, check=False), read_tensors(folder, VECTORS)
    if "input_values" in vectors and not states_digest(manifest):
        raise PackageError(
            f"{folder / MANIFEST} has lost its digest: whoever writes golden vectors with real inputs states one",
            fix=AGAIN,
        )
    expected, codes, steps = _golden(net, vectors, folder)
    try:
        actual = run(net, codes)
    except ConstraintError as error:
        raise PackageError(f"{folder / VECTORS}: {error.message}", fix=error.fix) from error
    first = (
        _first_code(net, vectors, codes)
        or first_difference(net, expected, actual, steps)
        or _first_result(net, vectors, actual)
        or _first_change(manifest, tensors, net, folder)
    )
    return Certificate(
        equal=first is None,
        samples=codes.shape[1],
        spikes_compared=sum(s.size for s in expected.spikes.values()),
        spikes_fired=spikes_in(expected),
        membranes_compared=sum(h.size for h in expected.potentials.values()),
        first_difference=first,
        digest=digest_of(manifest),
        digest_stated=states_digest(manifest),
    )


def _golden(net: IntegerNetwork, vectors: Arrays, folder: Path) -> tuple[Trace, Integers, list[int]]:
    """Return the golden run, its codes and the steps whose potentials it holds; refuse what is no evidence."""
    where = folder / VECTORS

    def whole(name: str) -> Integers:
        if name not in vectors:
            raise damaged(f"{where} lacks {name!r}, so there is nothing to compare it with")
        if not np.issubdtype(vectors[name].dtype, np.integer) or vectors[name].dtype == np.uint64:
            raise damaged(f"{where}: {name!r} is {vectors[name].dtype}, integers were expected")
        return vectors[name].astype(np.int64)

    codes, steps = whole("input_codes"), whole("potential_steps").reshape(-1).tolist()
    samples = codes.shape[1] if codes.ndim > 1 else 0
    if samples == 0 or not steps:
        raise PackageError(
            f"{where} holds {samples} samples and the potentials of {len(steps)} steps: that is no evidence",
            fix="save the network again: bs.save makes golden vectors",
        )
    if steps != sorted(set(steps)) or not 0 <= steps[0] <= steps[-1] < net.steps:
        raise damaged(f"{where}: potential_steps are {steps}; ascending steps of 0 to {net.steps - 1} are needed")
    needed = {"input_codes": (1 if net.input.constant else net.steps, samples, *net.input.shape)}
    for node in net.neurons:
        needed[f"{node.id}.spikes"] = (net.steps, samples, *node.shape)
        needed[f"{node.id}.potentials"] = (len(steps), samples, *node.shape)
    needed |= {f"{node.id}.output": (samples, *node.shape) for node in net.outputs}
    optional = {"labels": (samples,), "input_values": needed["input_codes"]}
    optional |= {f"{node.id}.counts": (samples, *node.shape) for node in net.neurons}
    optional |= {f"{node.id}.values": (samples, *node.shape) for node in net.outputs}
    needed |= {name: shape for name, shape in optional.items() if name in vectors}
    for name, shape in needed.items():
        if name in vectors and vectors[name].shape != shape:
            there = list(vectors[name].shape)
            raise damaged(f"{where}: {name!r} has the shape {there}, needed is {list(shape)}")
    for name in ("input_values", *(f"{node.id}.values" for node in net.outputs)):
        if name in vectors and not (vectors[name].dtype == np.float64 and np.isfinite(vectors[name]).all()):
            raise damaged(f"{where}: {name!r} holds something else than finite float64 numbers")
    if "labels" in vectors:
        labels, classes = whole("labels"), max(output.shape[0] for output in net.outputs)
        if labels.min() < -1 or labels.max() >= classes:
            reach = f"{labels.min()} to {labels.max()}"
            raise damaged(f"{where}: labels reach from {reach}, allowed are -1 to {classes - 1}")
    spikes: dict[str, npt.NDArray[Any]] = {n.id: whole(f"{n.id}.spikes") for n in net.neurons}
    potentials = {n.id: whole(f"{n.id}.potentials") for n in net.neurons}
    return Trace(spikes, potentials, {n.id: whole(f"{n.id}.output") for n in net.outputs}), codes, steps


def _first_code(net: IntegerNetwork, vectors: Arrays, codes: Integers) -> Difference | None:
    """Return where real inputs do not give the golden codes."""
    if "input_values" not in vectors:  # earlier versions wrote none
        return None
    encoded = codes_of(net.input, vectors["input_values"])
    at = _where(codes, encoded, range(len(codes)))
    return Difference(net.input.path, at[0], at[1:], "code", int(codes[at]), int(encoded[at])) if at else None


def _first_result(net: IntegerNetwork, vectors: Arrays, run: Trace) -> Difference | None:
    """Return where spike counts, or the real values of outputs, are not the golden ones."""
    for node in net.neurons:
        if f"{node.id}.counts" in vectors:
            counts = run.spikes[node.id].sum(0, dtype=np.int64)
            if different := _different(net, node, "count", vectors[f"{node.id}.counts"], counts):
                return different
    for output in net.outputs:
        if f"{output.id}.values" in vectors:
            value = decode(output, run.outputs[output.id])
            if different := _different(net, output, "value", vectors[f"{output.id}.values"], value):
                return different
    return None


def _different(net: IntegerNetwork, node: Node, name: str, expected: Array, actual: Array) -> Difference | None:
    """Return the first difference of what is known after the last step, [N, ...]."""
    at = _where(expected, actual, range(len(expected)))
    if at is None:
        return None
    return Difference(node.path, net.steps - 1, at, name, expected[at].item(), actual[at].item())


def _first_change(manifest: dict[str, Any], tensors: Arrays, net: IntegerNetwork, folder: Path) -> Difference | None:
    """Return what is not as it was saved although no vector shows it: by its digest, or by what follows from nodes."""
    if changed := changed_tensors(manifest, tensors):
        layer = next((n.path for n in net.nodes if n.id == changed[0].split(".")[0]), changed[0])
        return Difference(layer, 0, (), "weights", f"the saved digest of {changed[0]}", "another tensor")
    for name, stated, actual in changed_files(manifest, folder):
        return Difference(name, 0, (), "digest", stated, actual)
    for what, follows, said in contradictions(manifest, net):
        return Difference(MANIFEST, 0, (), what, follows, said)
    return None


def first_difference(net: IntegerNetwork, expected: Trace, actual: Trace, kept: Iterable[int]) -> Difference | None:
    """Return the first difference of two traces in the order of data flow, then of steps; None if they are equal.

    Args:
        expected: its potentials hold the steps ``kept`` only; ``actual`` is a full trace.
    """
    steps = list(kept)
    everything = steps == list(range(net.steps))
    for node in net.nodes:
        if node.id in actual.spikes:
            a, b = expected.spikes[node.id], actual.spikes[node.id]
            u, v = expected.potentials[node.id], actual.potentials[node.id]
            v = v if everything else v[steps]
            if np.array_equal(a, b) and np.array_equal(u, v):
                continue
            spike, membrane = _where(a, b, range(len(a))), _where(u, v, steps)
            # At one step the membrane comes first: it is what the spike follows from.
            at, name = min((w, n) for w, n in ((membrane, "membrane"), (spike, "spike")) if w is not None)
            step, index = at[0], at[1:]
            pair = (u[steps.index(step)], v[steps.index(step)]) if name == "membrane" else (a[step], b[step])
            return Difference(node.path, step, index, name, int(pair[0][index]), int(pair[1][index]))
        if node.id in actual.outputs:
            different = _different(net, node, "output", expected.outputs[node.id], actual.outputs[node.id])
            if different:
                return different
    return None


def _where(a: Array, b: Array, steps: Sequence[int]) -> tuple[int, ...] | None:
    """Return the first index at which two arrays differ; ``steps`` names the places of the first axis."""
    wrong = np.argwhere(a != b)
    return None if len(wrong) == 0 else (steps[int(wrong[0][0])], *(int(i) for i in wrong[0][1:]))
