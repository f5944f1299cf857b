"""The integers of many chips of one network: every chip has codes of its own, and all else in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from bitspike.errors import LoweringError
from bitspike.integer.engine import Engine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Weighted
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.ops.grids import Grid
from bitspike.weights import on_chip, weight_codes
from bitspike.weights.path import path_of


@dataclass(frozen=True, eq=False)
class Chips:
    """A network with variation, lowered once, from which the integers of any chip are had by its seed.

    Args:
        model: the network; it is run in evaluation mode.
        net: the integers of one chip of it.
        resolution: the bits with which cells are read.
    """

    model: nn.Module
    net: IntegerNetwork
    resolution: int

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
        with on_chip(model, 0, resolution=resolution):
            net = lower(model, example, grid=grid, precision=precision)
            modules = dict(model.named_modules())
            for node in net.weighted:
                attached = path_of(modules[node.path]) if node.path in modules else None
                if attached is not None and attached[0].on_chip and weight_codes(modules[node.path]) is None:
                    raise LoweringError(
                        f"{node.path}: its weights vary and have no codes",
                        fix="bs.attach(model, quantize=bs.Midrise(4), vary=..., recover=bs.SRAM(2)), whose units meet",
                    )
        return cls(model, net, resolution)

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
        modules = dict(self.model.named_modules())
        with on_chip(self.model, seed, resolution=self.resolution):
            nodes = [
                _on_chip(node, modules[node.path]) if isinstance(node, Weighted) else node for node in self.net.nodes
            ]
        return replace(self.net, nodes=tuple(nodes))

    def engines(self, seeds: Iterator[int]) -> Iterator[tuple[int, Engine]]:
        """Yield an engine for every seed; the methods that the first one chose serve all others where they can."""
        first: Engine | None = None
        for seed in seeds:
            engine = Engine(self.network(seed))
            if first is not None:
                engine.take_plans(first)
            first = engine
            yield seed, engine


def _on_chip(node: Weighted, module: nn.Module) -> Weighted:
    attached = path_of(module)
    if attached is None or not attached[0].on_chip:
        return node
    codes = weight_codes(module)
    assert codes is not None, "Chips.of has asked"
    return replace(node, weight=replace(node.weight, codes=codes.codes.cpu().numpy()))
