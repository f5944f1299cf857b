"""The integers of many chips of one network: every chip has codes of its own, and all else in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from bitspike.errors import LoweringError
from bitspike.integer.engine import Engine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Integers, Node, Weighted
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.nn.neurons.base import Neuron
from bitspike.ops.grids import Grid
from bitspike.ops.wrappers import unwrapped
from bitspike.weights import on_chip, weight_codes
from bitspike.weights.codes import WeightCodes
from bitspike.weights.path import WeightPath, path_of


@dataclass(frozen=True, eq=False)
class Chips:
    """A network with variation, lowered once, from which the integers of any chip are had by its seed.

    Args:
        model: the network; it is run in evaluation mode.
        net: the integers of one chip of it.
        resolution: the bits with which cells are read.
        signs: by the id of a layer, 1 or -1 for every output channel: lowering negates the codes of channels whose
            norm has a negative gain. None where one chip does not tell what another is; each is then lowered anew.
        lowered: lowers the chip that the network is.
        before: the engine of the last chip, whose methods the next one takes over; empty at first.
    """

    model: nn.Module
    net: IntegerNetwork
    resolution: int
    signs: Mapping[str, Integers] | None
    lowered: Callable[[], IntegerNetwork] = field(repr=False)
    before: list[Engine] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: Tensor,
        *,
        grid: Grid | None = None,
        precision: Precision | None = None,
        resolution: int,
    ) -> Chips:
        """Lower a network on one of its chips.

        Raises:
            ConstraintError: nothing varies, or a resolution outside what is allowed.
            LoweringError: the network has no integer form, or a layer varies whose cells have no codes.
        """
        lowered = partial(lower, model, example, grid=grid, precision=precision)
        with on_chip(model, 0, resolution=resolution):
            net, modules = lowered(), _modules(model)
            for node in net.weighted:
                attached = path_of(modules[node.path]) if node.path in modules else None
                if attached is not None and attached[0].on_chip and weight_codes(modules[node.path]) is None:
                    raise LoweringError(
                        f"{node.path}: its weights vary and have no codes",
                        fix="bs.attach(model, quantize=bs.Midrise(4), vary=..., recover=bs.SRAM(2)), whose units meet",
                    )
            signs = _signs(net, modules)
        return cls(model, net, resolution, signs, lowered)

    def network(self, seed: int) -> IntegerNetwork:
        """Return the integers of the chip of a seed: those of :func:`bitspike.lowering.lower.lower` on it.

        Example:
            >>> import bitspike as bs
            >>> import torch
            >>> model = nn.Sequential(bs.Repeat(2), bs.TimeDistributed(nn.Linear(4, 3)), bs.IF(), bs.RateReadout())
            >>> model = bs.attach(model, quantize=bs.Midrise(2), vary=bs.Lognormal(0.3))
            >>> chips = Chips.of(model, torch.zeros(1, 4), resolution=7)
            >>> len({chips.network(seed).weighted[0].weight.codes.tobytes() for seed in range(5)})
            5
        """
        return self._network(seed, np.dtype(np.int64))

    def engines(self, seeds: Iterator[int]) -> Iterator[tuple[int, Engine]]:
        """Yield an engine for every seed; the methods that the first one chose serve all others where they can."""
        for seed in seeds:
            # Codes that the native engine multiplies are bytes, and all that is done with them is done faster.
            narrow = bool(self.before) and self.before[-1].native
            engine = Engine(self._network(seed, np.dtype(np.int8 if narrow else np.int64)))
            for other in self.before:
                engine.take_plans(other)
            self.before[:] = [engine]
            yield seed, engine

    def _network(self, seed: int, narrow: np.dtype[Any]) -> IntegerNetwork:
        """Return the integers of a chip, the codes of its cells in a smaller type where they all fit it."""
        with on_chip(self.model, seed, resolution=self.resolution):
            if self.signs is None:
                return self.lowered()
            nodes = [
                _on_chip(node, self._varying[node.id], self.signs[node.id], narrow) if node.id in self.signs else node
                for node in self.net.nodes
            ]
        return replace(self.net, nodes=tuple(nodes))

    @cached_property
    def _varying(self) -> dict[str, _Varying]:
        """The weight paths of the layers that vary, by the id of their node, with what no chip changes."""
        modules, layers = _modules(self.model), {}
        for node in self.net.weighted:
            if self.signs is not None and node.id in self.signs:
                attached = path_of(modules[node.path])
                assert attached is not None, "it has a sign"
                ideal = attached[0].ideal_codes(attached[1], node.path)
                assert ideal is not None, "Chips.of has asked"
                layers[node.id] = _Varying(*attached, ideal)
        return layers


@dataclass(frozen=True, eq=False)
class _Varying:
    """A layer that varies: the path of its weight, its master, and its codes without variation."""

    path: WeightPath
    latent: Tensor
    ideal: WeightCodes


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return modules by path, those that are called at several places by each of them."""
    return dict(unwrapped(model).named_modules(remove_duplicate=False))


def _signs(net: IntegerNetwork, modules: Mapping[str, nn.Module]) -> dict[str, Integers] | None:
    """Return the signs that lowering gave to the channels of the layers that vary; None if a chip does not tell."""
    # Whether potentials stay in their bits is proven for the weights of one chip.
    proven = any(isinstance(m, Neuron) and m.membrane is not None and not m.membrane.saturate for m in modules.values())
    if proven and any(isinstance(node, FewBitNeuron) for node in net.nodes):
        return None
    signs = {}
    for node in net.weighted:
        if node.path not in modules:
            return None
        attached = path_of(modules[node.path])
        if attached is not None and attached[0].on_chip:
            codes = _cells(modules[node.path])
            products = (node.weight.codes * codes).reshape(len(codes), -1).sum(1)
            if not products.all():  # all cells of a channel hold 0
                return None
            signs[node.id] = np.sign(products)
    return signs


def _cells(module: nn.Module) -> Integers:
    codes = weight_codes(module)
    assert codes is not None, "Chips.of has asked"
    return codes.codes.cpu().numpy()


def _on_chip(node: Node, layer: _Varying, sign: Integers, narrow: np.dtype[Any]) -> Node:
    assert isinstance(node, Weighted)
    chip = layer.path.recoded(layer.ideal, layer.latent, node.path, chip=True)
    assert chip is not None, "Chips.of has asked"
    codes = chip.codes.cpu().numpy()
    limits = np.iinfo(narrow)
    if codes.size and limits.min < codes.min() and codes.max() <= limits.max:  # so that a sign may change
        codes, sign = codes.astype(narrow, copy=False), sign.astype(narrow)
    if (sign < 0).any():
        codes = codes * sign.reshape(-1, *[1] * (codes.ndim - 1))
    return replace(node, weight=replace(node.weight, codes=codes))
