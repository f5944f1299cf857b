"""A network whose layers can be given other bits, for measuring what they cost: what :mod:`sensitivity` asks for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.finetune.sums import on_operations
from bitspike.conversion.finetune.weight_grids import ends_of, quantize
from bitspike.conversion.region.cut import core_of
from bitspike.graph.ir import WEIGHTED, Graph
from bitspike.graph.rebuild import rebuild
from bitspike.weights import detach

FINEST_STEPS = 4096
"""Levels of an activation that is as good as real; measured with few, their rounding hides that of the weights."""


@dataclass(frozen=True, eq=False)
class Variants:
    """A network and what can be changed about it.

    Args:
        weights: how many weights each layer has whose bits can be chosen, by module path.
        kept: the same for all other layers whose weights are codes: first and last ones.
        bits: of every layer, as they are.
        steps: T, as it is.
        build: makes the network with these bits of the layers in ``weights`` and these steps, in evaluation mode.
    """

    weights: Mapping[str, int]
    kept: Mapping[str, int]
    bits: Mapping[str, int]
    steps: int
    build: Callable[[Mapping[str, int], int], nn.Module]


def variants_of(prepared: Prepared, *, first: bool = False, last: bool = False) -> Variants:
    """Return what can be changed about a prepared network.

    Args:
        prepared: from ``bs.prepare``; it is not changed.
        first, last: whether the bits of the first layer and of the read-outs can be chosen too.

    Example:
        >>> from bitspike.conversion.finetune.prepare import prepare
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> variants = variants_of(prepare(ann, torch.rand(2, 4), calibrate=torch.rand(32, 4), bits=3))
        >>> variants.weights, variants.kept, variants.bits
        ({'2': 64}, {'0': 32, '4': 16}, {'0': 8, '2': 3, '4': 8})
    """
    core = core_of(prepared.folded, prepared.region)
    layers = [op for op in prepared.folded if op.kind in WEIGHTED and op.id in prepared.region]
    at_first, at_last = ends_of(core)
    kept = {op.path for op in layers if (op.id in at_first and not first) or (op.id in at_last and not last)}
    size = {op.path: _number(prepared.folded.module_of(op)) for op in layers}
    return Variants(
        weights={path: n for path, n in size.items() if path not in kept},
        kept={path: n for path, n in size.items() if path in kept},
        bits={path: prepared.settings.bits_of(path, first=False, last=False) for path in size},
        steps=prepared.settings.steps,
        build=lambda bits, steps: with_other(prepared, bits=bits, steps=steps).eval(),
    )


def _number(layer: nn.Module) -> int:
    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight.numel()


@torch.no_grad()
def with_other(prepared: Prepared, *, bits: Mapping[str, int], steps: int) -> Prepared:
    """Return a copy of a prepared network with other bits of some layers, by module path, and another T.

    Its weights and clips are copies of those that training has changed so far, not of the codes.
    """
    known = prepared.settings.bits if isinstance(prepared.settings.bits, Mapping) else {"*": prepared.settings.bits}
    settings = replace(prepared.settings, bits={**known, **bits}, steps=steps)
    modules = {path: detach(copy.deepcopy(module), keep="latent") for path, module in prepared.folded.modules.items()}
    graph = Graph(prepared.folded.ops, modules, prepared.folded.model)
    # One memo: a clip that several neurons share stays one.
    memo: dict[int, object] = {}
    activations = {id: copy.deepcopy(a, memo) for id, a in prepared.activations.items()}
    for activation in activations.values():
        activation.steps = steps
    weighted = [op for op in graph if op.kind in WEIGHTED and op.id in prepared.region]
    groups, sums = quantize(core_of(graph, prepared.region), weighted, activations, settings, prepared.scale)
    return Prepared(
        rebuild(graph, {**on_operations(graph, activations), **sums}),
        graph,
        settings,
        prepared.calibration,
        activations,
        groups,
        region=prepared.region,
        sums=sums,
        entering=prepared.entering,
        include=prepared.include,
        exclude=prepared.exclude,
        scale=prepared.scale,
    )
