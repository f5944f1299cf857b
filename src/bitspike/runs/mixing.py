"""What bits per layer cost, in bytes and energy, and what the search for them costs next to the training it serves."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bitspike.conversion.mixed.variants import Variants
from bitspike.hardware.energy.activity import counts
from bitspike.hardware.energy.operations import energy
from bitspike.hardware.energy.report import EnergyReport
from bitspike.integer.codes import encode
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.lower import lower
from bitspike.recipe import recipe_of
from bitspike.runs.construct.data import Data
from bitspike.runs.converting import origins
from bitspike.runs.kinds.kind import Kind

BACKWARD = 2
"""What the backward pass of a training step costs, in forward passes: the gradients of inputs and of weights."""
BILLED = 32
"""Images whose spikes are billed."""


def packed_bytes(weights: int, bits: int) -> int:
    """Return the bytes of so many codes, packed, as an integer network counts them.

    Example:
        >>> packed_bytes(2304, 3), packed_bytes(3, 3)
        (864, 2)
    """
    return math.ceil(weights * bits / 8)


def byte_prices(variants: Variants, bits: Sequence[int]) -> dict[str, dict[int, int]]:
    """Return the bytes of every layer whose bits can be chosen, by layer and bits."""
    return {path: {b: packed_bytes(n, b) for b in bits} for path, n in variants.weights.items()}


def kept_bytes(variants: Variants) -> int:
    """Return the bytes of the layers whose bits stay."""
    return sum(packed_bytes(n, variants.bits[path]) for path, n in variants.kept.items())


def training_passes(kind: Kind, images: int) -> int:
    """Return what the epochs of a recipe cost, in forward passes of one image; over time an image takes T."""
    recipe = kind.recipe
    return sum(
        words.epochs * images * (1 + BACKWARD) * (recipe.steps if section == "over_time" else 1)
        for section, words in recipe.trainings.items()
    )


@dataclass(frozen=True)
class EnergyPrices:
    """Energy of one inference, in pJ.

    Args:
        layers: by layer whose bits can be chosen, and bits.
        rest: of everything else, at its most.
    """

    layers: Mapping[str, Mapping[int, float]]
    rest: float


def energy_prices(kind: Kind, variants: Variants, bits: Sequence[int], steps: int) -> EnergyPrices:
    """Bill the network with every number of bits, by the spikes of some training images.

    The spikes are those of the finest network, converted as it is: bits change the energy of an addition, and how
    many there are only by what the rounding of weights does to the spikes.
    """
    images = torch.cat(some_images(kind.data, BILLED))
    nets = {b: _lowered(kind, variants, dict.fromkeys(variants.weights, b), steps, images) for b in bits}
    finest, codes, names = nets[max(bits)]
    means = counts(finest, TorchEngine(finest).run(codes), codes=codes)
    bills = {b: energy(net, means) for b, (net, _, _) in nets.items()}
    by_layer = {b: _of_layers(bill, names) for b, bill in bills.items()}
    layers = {path: {b: by_layer[b].get(path, 0.0) for b in bits} for path in variants.weights}
    rest = max(bill.energy_pj - sum(row[b] for row in layers.values()) for b, bill in bills.items())
    return EnergyPrices(layers, rest)


def energy_of(kind: Kind, variants: Variants, bits: Mapping[str, int], steps: int) -> float:
    """Return the energy of one inference with these bits, in pJ, by its own spikes."""
    net, codes, _ = _lowered(kind, variants, bits, steps, torch.cat(some_images(kind.data, BILLED)))
    return energy(net, counts(net, TorchEngine(net).run(codes), codes=codes)).energy_pj


def some_images(data: Data, number: int) -> list[Tensor]:
    """Return training images without augmentation, in batches; they are of all classes, in a random order."""
    batches, left = list[Tensor](), min(number, len(data.train))
    for x, _ in data.calibration_batches():
        batches.append(x[:left])
        left -= len(batches[-1])
        if not left:
            break
    return batches


def _lowered(
    kind: Kind, variants: Variants, bits: Mapping[str, int], steps: int, images: Tensor
) -> tuple[IntegerNetwork, npt.NDArray[np.int64], dict[str, str]]:
    """Return the integers of a variant, the images as codes, and the modules that the layers came from."""
    values = kind.with_bits(kind.recipe.model_dump(mode="json"), bits, steps)
    other = copy.copy(kind)
    other.recipe = recipe_of(values)
    spiking = other.finish(variants.build(bits, steps))
    x = spiking.enter(images)
    net = lower(spiking.network, x[:1], grid=spiking.grid, precision=spiking.precision)
    generator = torch.Generator().manual_seed(kind.recipe.seed)
    return net, encode(net, x, generator=generator), origins(spiking.network, net)


def _of_layers(bill: EnergyReport, names: Mapping[str, str]) -> dict[str, float]:
    total: dict[str, float] = {}
    for line in bill.layers:
        path = names.get(line.path, line.path)
        total[path] = total.get(path, 0.0) + line.energy_pj + line.memory_pj
    return total
