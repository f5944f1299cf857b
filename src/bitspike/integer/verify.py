"""Proof that the integers reproduce every spike, or the first place where they do not.

Two independent ways to run a network are compared, neuron by neuron and step by step: torch through the equations of
training, and NumPy int64 that has read nothing but the saved folder. A folder alone is checked against its golden
vectors (:mod:`bitspike.integer.replay`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bitspike.integer.engine import Engine
from bitspike.integer.host import encode
from bitspike.integer.network import IntegerNetwork, Integers
from bitspike.integer.package import load, save
from bitspike.integer.replay import Certificate, Difference, first_difference, replay
from bitspike.integer.simulate import simulate

Batch = Tensor | tuple[Tensor, Tensor]


def verify(
    network: IntegerNetwork | str | os.PathLike[str],
    images: Tensor | Iterable[Batch] | None = None,
    *,
    batch_size: int = 250,
    folder: str | os.PathLike[str] | None = None,
) -> Certificate:
    """Prove a network.

    Args:
        network: an integer network, or the folder of a saved one.
        images: inputs [N, ...], or batches of them (labels are ignored). Given, every spike and membrane of torch is
            compared with NumPy int64 reading the saved folder alone. Not given, the folder's golden vectors are
            replayed.
        batch_size: samples that are run at once.
        folder: where ``network`` has been saved, so that this very package is proved; None saves it for the moment.

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
        return replay(Path(network)) if images is None else _prove(load(network), Path(network), images, batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        path = save(network, Path(scratch) / "network") if folder is None else Path(folder)
        return replay(path) if images is None else _prove(network, path, images, batch_size)


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


def _shifted(difference: Difference, samples: int) -> Difference:
    """Count samples from the start of the whole run, not of the batch."""
    return replace(difference, index=(difference.index[0] + samples, *difference.index[1:]))


def _prove(net: IntegerNetwork, folder: Path, images: Tensor | Iterable[Batch], batch_size: int) -> Certificate:
    timed = net.input.coding == "direct" and not net.input.constant

    def batches() -> Iterator[Integers]:
        if isinstance(images, Tensor):
            for part in torch.split(images, batch_size, dim=1 if timed else 0):
                yield encode(net, part)
        else:
            for batch in images:
                yield encode(net, batch if isinstance(batch, Tensor) else batch[0])

    return prove_codes(net, folder, batches())
