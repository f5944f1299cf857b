"""Proof that the integers reproduce every spike, or the first place where they do not.

Two independent ways to run a network are compared, neuron by neuron and step by step: torch through the equations of
training, and NumPy int64 that has read nothing but the saved folder. A folder alone is checked against its golden
vectors (:mod:`bitspike.integer.saved.replay`).
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.integer.codes import counted_codes, is_timed
from bitspike.integer.engine import Engine, Method, TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.saved.folder import load, save
from bitspike.integer.saved.manifest import digest_of, read_manifest, states_digest
from bitspike.integer.saved.replay import Certificate, Difference, Run, first_difference, replay, spikes_in
from bitspike.integer.simulate import Trace, simulate
from bitspike.ops.entering import Clipped
from bitspike.tasks.batches import inputs_in

Batch = Tensor | tuple[Tensor, Tensor]
_MEMORY, _MOST = 2**30, 250
"""Bytes of spikes and membranes that are kept at once, and samples."""


def verify(
    network: IntegerNetwork | str | os.PathLike[str],
    images: Tensor | Iterable[Batch] | None = None,
    *,
    batch_size: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    engine: bool = False,
    run: Run | None = None,
) -> Certificate:
    """Prove a network; ``bs.verify`` explains arguments and result, and has an example.

    ``run`` takes the place of torch, or of NumPy in the replay of golden vectors.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if not isinstance(network, IntegerNetwork):
            path = Path(network)
        else:
            path = save(network, Path(scratch) / "network") if folder is None else Path(folder)
        if images is None:
            return replay(path, run or (_every_method if engine else simulate))
        net = network if isinstance(network, IntegerNetwork) else load(path)
        return _prove(net, path, images, batch_size, engine, run)


def prove_codes(
    net: IntegerNetwork, folder: Path, batches: Iterable[Integers], *, engine: bool = False, run: Run | None = None
) -> Certificate:
    """Compare torch, or the fast engine, on ``net`` with NumPy int64 on what ``folder`` holds, for batches of codes.

    Args:
        run: another way to run the network, in the place of torch.

    Raises:
        DataError: there is no sample.
    """
    reference = load(folder)
    runs: list[Callable[[Integers], Trace]]
    if run is not None:
        runs = [partial(run, net)]
    else:
        runs = [e.run for e in _engines(net)] if engine else [TorchEngine(net).run]
    samples = spikes = membranes = fired = 0
    first: Difference | None = None
    for codes in batches:
        defined = simulate(reference, codes)
        for one in runs:
            difference = first_difference(reference, one(codes), defined, range(net.steps))
            if difference is not None and first is None:
                sample, *place = difference.index  # counted from the start of the whole run, not of the batch
                first = replace(difference, index=(sample + samples, *place))
        samples += codes.shape[1]
        spikes += sum(s.size for s in defined.spikes.values())
        membranes += sum(h.size for h in defined.potentials.values())
        fired += spikes_in(defined)
    if samples == 0:
        raise DataError(
            "there is nothing to prove: the images hold no sample; an iterator may have been read to its end before",
            fix="pass the loader itself, not iter(loader); or the images in one tensor",
        )
    manifest = read_manifest(folder)
    digest, stated = digest_of(manifest), states_digest(manifest)
    return Certificate(
        first is None, samples, spikes, membranes, first, digest=digest, digest_stated=stated, spikes_fired=fired
    )


def _engines(net: IntegerNetwork) -> list[Engine]:
    """Return the engine as it chooses, and with every method alone: what it chooses depends on batch and machine."""
    chosen = Engine(net)
    return [chosen, *(Engine(net, method=m) for m in Method if m is not Method.NONE and chosen.native)]


def _every_method(net: IntegerNetwork, codes: Integers) -> Trace:
    """Run the engine in all its ways; return the first result that the definition contradicts, or else any of them."""
    expected, results = simulate(net, codes), [engine.run(codes) for engine in _engines(net)]
    wrong = (r for r in results if first_difference(net, expected, r, range(net.steps)) is not None)
    return next(wrong, results[0])


def _prove(
    net: IntegerNetwork,
    folder: Path,
    images: Tensor | Iterable[Batch],
    batch_size: int | None,
    engine: bool,
    run: Run | None,
) -> Certificate:
    axis, size = (1 if is_timed(net) else 0), samples_in_memory(net) if batch_size is None else batch_size
    clipped = Clipped()

    def batches() -> Iterator[Integers]:
        for batch in [images] if isinstance(images, Tensor) else images:
            for part in torch.split(inputs_in(batch), size, dim=axis):
                yield counted_codes(net, part, clipped)

    certificate = prove_codes(net, folder, batches(), engine=engine, run=run)
    clipped.warn()
    return replace(certificate, inputs_clipped=clipped.values)


def samples_in_memory(net: IntegerNetwork) -> int:
    """Return how many samples to run at once, at least 1: a spike is kept in one byte, a membrane in eight."""
    places = sum(math.prod(node.shape) for node in net.neurons)
    return max(1, min(_MOST, _MEMORY // (9 * net.steps * max(1, places))))
