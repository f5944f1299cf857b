"""Proof that the integers reproduce every spike, or the first place where they do not.

Two independent ways to run a network are compared, neuron by neuron and step by step: torch through the equations of
training, and NumPy int64 that has read nothing but the saved folder. A folder alone is checked against its golden vectors.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitspike.errors import CheckFailed, PackageError
from bitspike.integer.engine import Engine
from bitspike.integer.host import encode
from bitspike.integer.network import IntegerNetwork, Integers
from bitspike.integer.package import (
    VECTORS,
    WEIGHTS,
    Arrays,
    changed_tensors,
    load,
    read_manifest,
    read_tensors,
    save,
)
from bitspike.integer.simulate import Trace, simulate

Batch = Tensor | tuple[Tensor, Tensor]


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
    """

    equal: bool
    samples: int
    spikes_compared: int
    membranes_compared: int
    first_difference: Difference | None = None

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
        if self.equal:
            return f"certificate: 100% equal ({compared})"
        return f"certificate: NOT equal\n  first difference: {self.first_difference}\n  compared: {compared}"


def verify(
    network: IntegerNetwork | str | os.PathLike[str],
    images: Tensor | Iterable[Batch] | None = None,
    *,
    batch_size: int = 250,
) -> Certificate:
    """Prove a network.

    Args:
        network: an integer network, or the folder of a saved one.
        images: inputs [N, ...], or batches of them (labels are ignored). Given, every spike and membrane of torch is
            compared with NumPy int64 reading the saved folder alone. Not given, the folder's golden vectors are replayed.
        batch_size: samples that are run at once.

    Returns:
        the certificate; ``raise_if_failed()`` turns a difference into an error.

    Raises:
        PackageError: the folder cannot be read.

    Example:
        >>> from bitspike.integer.debug import one_convolution
        >>> print(verify(one_convolution()))
        certificate: 100% equal (384 spikes and 384 membranes of 6 samples)
    """
    if not isinstance(network, IntegerNetwork):
        return _replay(Path(network)) if images is None else _prove(load(network), Path(network), images, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        path = save(network, Path(folder) / "network")
        return _replay(path) if images is None else _prove(network, path, images, batch_size)


def prove_codes(net: IntegerNetwork, folder: Path, batches: Iterable[Integers]) -> Certificate:
    """Compare torch on ``net`` with NumPy int64 on what ``folder`` holds, for batches of input codes."""
    engine, reference = Engine(net), load(folder)
    samples = spikes = membranes = 0
    first: Difference | None = None
    for codes in batches:
        expected, found = engine.run(codes), simulate(reference, codes)
        difference = first_difference(reference, expected, found, range(net.steps))
        if difference is not None and first is None:
            first = _shifted(difference, samples)
        samples += codes.shape[1]
        spikes += sum(s.size for s in found.spikes.values())
        membranes += sum(h.size for h in found.potentials.values())
    return Certificate(first is None, samples, spikes, membranes, first)


def first_difference(net: IntegerNetwork, expected: Trace, found: Trace, kept: Iterable[int]) -> Difference | None:
    """Return the first difference of two traces in the order of data flow, then of steps; None if they are equal.

    Args:
        net: the network of both.
        expected: its potentials hold the steps ``kept`` only.
        found: a full trace.
        kept: the steps whose potentials are compared.
    """
    steps = list(kept)
    for node in net.nodes:
        if node.id in found.spikes:
            a, b = expected.spikes[node.id], found.spikes[node.id]
            u, v = expected.potentials[node.id], found.potentials[node.id][steps]
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


def _shifted(difference: Difference, samples: int) -> Difference:
    """Count samples from the start of the whole run, not of the batch."""
    index = (difference.index[0] + samples, *difference.index[1:])
    return Difference(**{**vars(difference), "index": index})


def _prove(net: IntegerNetwork, folder: Path, images: Tensor | Iterable[Batch], batch_size: int) -> Certificate:
    timed = net.inputs[0].coding == "direct" and not net.inputs[0].constant

    def batches() -> Iterator[Integers]:
        if isinstance(images, Tensor):
            for part in torch.split(images, batch_size, dim=1 if timed else 0):
                yield encode(net, part)
        else:
            for batch in images:
                yield encode(net, batch if isinstance(batch, Tensor) else batch[0])

    return prove_codes(net, folder, batches())


def _replay(folder: Path) -> Certificate:
    manifest, tensors = read_manifest(folder), read_tensors(folder, WEIGHTS)
    net, vectors = load(folder, check=False), read_tensors(folder, VECTORS)
    expected, steps = _golden(net, vectors, folder)
    codes = vectors["input_codes"].astype(np.int64)
    found = simulate(net, codes)
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


def _golden(net: IntegerNetwork, vectors: Arrays, folder: Path) -> tuple[Trace, list[int]]:
    try:
        trace = Trace(
            {n.id: vectors[f"{n.id}.spikes"] for n in net.neurons},
            {n.id: vectors[f"{n.id}.potentials"].astype(np.int64) for n in net.neurons},
            {n.id: vectors[f"{n.id}.output"].astype(np.int64) for n in net.outputs},
        )
        return trace, [int(t) for t in vectors["potential_steps"]]
    except KeyError as error:
        raise PackageError(
            f"{folder / VECTORS} lacks {error.args[0]!r}, so there is nothing to compare it with"
        ) from error
