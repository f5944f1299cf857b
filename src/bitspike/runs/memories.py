"""Where the weights of a network lie, layer by layer: in cells, in SRAM, or in both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.hardware.energy.technology import Technology
from bitspike.hardware.memory.cost import Stored, cost
from bitspike.hardware.memory.devices import Devices
from bitspike.hardware.memory.report import MemoryCost
from bitspike.integer.network import IntegerNetwork
from bitspike.nn.ends import WEIGHTED
from bitspike.ops.wrappers import unwrapped
from bitspike.runs.job import Job
from bitspike.runs.spikes import of_test_images
from bitspike.weights.devices.lasso import LassoStage
from bitspike.weights.devices.sram import FLOAT, SRAMStage
from bitspike.weights.path import WeightPath, path_of
from bitspike.weights.stage import HasCells

SPIKES = 100
"""Test images by whose spikes reading the weights is billed."""


def cost_of(
    job: Job,
    net: IntegerNetwork,
    samples: int = SPIKES,
    *,
    devices: str | Path | Devices = "rram-1t1r",
    table: str | Path | Technology = "horowitz-45nm",
) -> MemoryCost:
    """Bill the memory of a run's network by the spikes of its first test images; ``bs.cost`` explains the arguments."""
    means, ran, data = of_test_images(job, net, samples)
    stored = memories(job.spiking.network, net)
    return cost(stored, net, means, devices=devices, table=table, samples=ran, data=data)


@torch.no_grad()
def memories(model: nn.Module, net: IntegerNetwork | None = None) -> dict[str, Stored]:
    """Return where the weights of every layer lie, by each of its names; a layer under two names is the same value.

    A weight that varies lies in cells, what recovers it in SRAM next to them, and every other weight in SRAM.

    Args:
        model: with weight paths, or without any.
        net: its integers, which say how wide weights without codes have become; None takes them as 32-bit floats.

    Raises:
        ConstraintError: weights vary that are not quantized.

    Example:
        >>> from bitspike.weights import SRAM, Lognormal, Midrise, attach
        >>> layer = attach(nn.Linear(4, 2), quantize=Midrise(4), vary=Lognormal(0.3), recover=SRAM(2))
        >>> stored = memories(layer)[""]
        >>> stored.cells, stored.device_bits, stored.sram_size
        (16, 4, 16)
    """
    widths = {} if net is None else {node.path: node.weight.bits for node in net.weighted}
    names: dict[nn.Module, list[str]] = {}
    for name, module in unwrapped(model).named_modules(remove_duplicate=False):
        if isinstance(module, WEIGHTED):
            names.setdefault(module, []).append(name)
    by_name: dict[str, Stored] = {}
    for module, its in names.items():
        width = next((widths[name] for name in its if name in widths), FLOAT)
        by_name |= dict.fromkeys(its, _stored(its[0], module, width))
    return by_name


def _stored(name: str, module: nn.Module, width: int) -> Stored:
    """Return where one layer lies; ``width`` is that of weights without codes."""
    attached, weight = path_of(module), cast(nn.Linear, module).weight
    if isinstance(weight, nn.UninitializedParameter):
        raise ConstraintError(
            f"{name or 'the layer'}: its weight has no shape yet",
            fix="run the lazy model once first: model(images[:1])",
        )
    size = weight.numel()
    if attached is None:
        return Stored(path=name, weights=size, sram_bits=width, sram_weights=size)
    path, latent = attached
    mask = path.mask(latent)
    if path.vary is None and not isinstance(path.recover, HasCells):
        codes = path.codes(latent, name or "weight")
        bits = width if codes is None else codes.bits
        return _smallest(Stored(path=name, weights=size), path, mask, bits, bits)
    cells = path.ideal_codes(latent, name or "the layer")
    if cells is None:
        raise ConstraintError(
            f"{name or 'the layer'}: its weights vary and are not quantized, so that they are no whole number of bits",
            fix="bs.attach(model, quantize=bs.Midrise(4)), with the bits of the cells",
        )
    own = path.recover if isinstance(path.recover, HasCells) else None
    inside = cells.codes if own is not None or mask is None else cells.codes * mask
    stored = Stored(
        path=name,
        weights=size,
        device_bits=cells.bits,
        magnitude=float(inside.abs().double().mean()) / max(abs(cells.low), cells.high) if size else 0.0,
    )
    if own is None:
        return stored
    if not isinstance(own, SRAMStage):
        raise ConstraintError(
            f"{name or 'the layer'}: its recover stage {type(own).__name__} does not say how many bits it stores",
            fix="bs.SRAM(bits=2), or a subclass of bitspike.weights.devices.sram.SRAMStage",
        )
    plain, pruned = own.codes(), own.codes(mask)
    return _smallest(
        stored, path, mask, FLOAT if plain is None else plain.bits, FLOAT if pruned is None else pruned.bits
    )


def _smallest(layer: Stored, path: WeightPath, mask: Tensor | None, bits: int, with_zero: int) -> Stored:
    """Put weights into SRAM in the way that takes the fewest bits.

    All of them; those of groups in which one stays, with a map of groups; or those that stay, with a map of weights,
    which then need no code for zero.

    Args:
        layer: whose weights they are.
        path: says what a group is.
        mask: which of the weights stay; None where none is pruned.
        bits: of a weight.
        with_zero: of a weight where a zero has a code too.
    """
    size = layer.weights
    if mask is None or not size:
        return replace(layer, sram_bits=bits, sram_weights=size)
    ways = [
        replace(layer, sram_bits=with_zero, sram_weights=size),
        replace(layer, sram_bits=bits, sram_weights=int(mask.sum()), map_bits=size),
    ]
    if isinstance(path.prune, LassoStage):
        stays, sizes = (path.prune.grouped(x.double()) for x in (mask, torch.ones_like(mask)))
        kept = stays.amax(2) > 0
        stored = int(sizes.sum(2)[kept].sum())
        ways.append(replace(layer, sram_bits=with_zero, sram_weights=stored, map_bits=kept.numel()))
    return min(ways, key=lambda way: way.sram_size)
