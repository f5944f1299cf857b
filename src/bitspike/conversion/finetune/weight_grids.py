"""Put weights on grids: layers that meet in one neuron share a step, every other layer has one of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from bitspike.conversion.branches import Branch, branches_of
from bitspike.conversion.finetune.shared_step import Member, SharedStep, Within, default_scale
from bitspike.conversion.finetune.sums import SumWithSkips, WholeSkip
from bitspike.conversion.settings import Settings
from bitspike.graph.flow import entries, neurons, origins, spikes
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.plain import is_transposed
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.weights import Uniform, attach
from bitspike.weights.path import path_of
from bitspike.weights.scales import ScaleRule

Activations = Mapping[str, ClipFloorShift]


@dataclass(frozen=True, eq=False)
class Sum:
    """What one neuron or read-out adds up.

    Args:
        branches: all of them.
        leaves: whether the sum leaves the network, so that no neuron follows.
    """

    branches: tuple[Branch, ...]
    leaves: bool

    def kinds_until_next_neuron(self, op: Op) -> set[str]:
        """Return the kinds of operations after a weighted one, up to the neuron or ``output`` that it feeds."""
        after = {o.kind for branch in self.branches if branch.op is op for o in branch.after}
        return after | ({"output"} if self.leaves else set())


def sums_of(core: Graph) -> list[Sum]:
    """Return what each neuron and each read-out of the spiking part adds up.

    Example:
        >>> import torch
        >>> from bitspike.graph.capture.from_module import capture
        >>> graph = capture(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(1, 2))
        >>> [([branch.op.id for branch in part.branches], part.leaves) for part in sums_of(graph)]
        [(['0'], False), (['2'], True)]
    """
    ops, carry = {op.id: op for op in core}, spikes(core)
    # A sum that is a neuron of its own adds spikes alone and has no weights.
    relus = [ops[id].inputs[0] for id in neurons(core) if ops[id].kind == "relu"]
    outputs = [id for id in core.ops[-1].inputs if id not in carry]
    return [Sum(tuple(branches_of(ops, carry, id)), id in outputs) for id in (*relus, *outputs)]


def with_bits_by_name(core: Graph, weighted: Sequence[Op], settings: Settings) -> Settings:
    """Return the settings with the bits of every weighted layer by its path, as they are from here on."""
    first, last = ends_of(core)
    bits = {"*": settings.bits} if isinstance(settings.bits, int) else {}
    for op in weighted:
        bits[op.path] = settings.bits_of(op.path, first=op.id in first, last=op.id in last)
    return replace(settings, bits=bits)


def ends_of(core: Graph) -> tuple[set[str], set[str]]:
    """Return the ids of the weighted operations that read what enters, and of those whose result leaves."""
    entering = entries(core)
    first = {op.id for op in core if op.kind in WEIGHTED and op.inputs[0] in entering}
    return first, {branch.op.id for part in sums_of(core) if part.leaves for branch in part.branches if branch.weighted}


def quantize(
    core: Graph, weighted: Sequence[Op], activations: Activations, settings: Settings, scale: ScaleRule | None
) -> tuple[list[SharedStep], dict[str, nn.Module]]:
    """Attach schemes: one step for all branches of a sum, a step of its own for every other layer.

    Returns:
        the groups that share a step, and the sums whose skips have whole gains, by id.
    """
    uses = Counter(op.module for op in weighted)
    groups, skips, sums = [], dict[str, dict[int, WholeSkip]](), sums_of(core)
    for part in sums:
        layers = [branch for branch in part.branches if branch.weighted]
        if not layers or len(part.branches) == 1:
            continue
        # A layer that is called twice has one step and several inputs; it cannot follow all of them.
        free = [b for b in layers if uses[b.op.module] == 1 and path_of(core.module_of(b.op)) is None]
        members = [(b.op, _member(core, b, activations, settings, scale)) for b in free]
        known = [(op, member) for op, member in members if member is not None]
        # A skip is a whole number of units only where every layer of the sum has that unit.
        whole = len(known) == len(layers)
        rest = [branch for branch in part.branches if branch.joins is not None]
        if len(known) > 1 or (whole and rest):
            by_channel = all(has_scale_per_channel(core, op, part, settings) for op, _ in known)
            groups.append(SharedStep([member for _, member in known], per_channel=by_channel))
            groups[-1].attach()
        for branch in rest if whole else ():
            sources, worth = _sources(core, branch.op.id, activations, settings)
            if sources and branch.joins is not None:
                id, side = branch.joins
                skips.setdefault(id, {})[side] = WholeSkip(groups[-1], sources, worth / branch.area)
    # The rest: alone in its sum, called twice, or reading spikes whose values are not known.
    for op in weighted:
        layer = core.module_of(op)
        if path_of(layer) is None:
            bits = settings.bits_of(op.path, first=False, last=False)
            part = next((part for part in sums if any(b.op is op for b in part.branches)), Sum((), leaves=False))
            by_channel = has_scale_per_channel(core, op, part, settings)
            attach(layer, quantize=Uniform(bits, per_channel=by_channel, scale=_scale(scale, bits)))
    return groups, {id: SumWithSkips(sides, core[id].attrs["signs"]) for id, sides in skips.items()}


def has_scale_per_channel(core: Graph, op: Op, part: Sum, settings: Settings) -> bool:
    """Tell whether every output channel of a layer has a step of its own.

    Not where the channels lie along no one axis of the weight, where they are mixed before the neuron, or where the
    result leaves the network, whose read-out has one scale.
    """
    layer = core.module_of(op)
    mixed = is_transposed(layer) and int(layer.groups) > 1  # type: ignore[arg-type]
    after = part.kinds_until_next_neuron(op)
    return settings.per_channel and not mixed and not after & {"reshape", "transpose", "output"}


def _sources(
    core: Graph, id: str, activations: Activations, settings: Settings
) -> tuple[tuple[ClipFloorShift, ...], float]:
    """Return the activations whose spikes arrive at an operation's result, and what share of lambda one is worth.

    Without activations where one of them is not prepared, such as an input, or where they are worth different shares.
    """
    sources = dict(origins(core, id, pools_count=settings.average_pool == "sum"))
    if not sources or any(at not in activations for at in sources) or len(set(sources.values())) > 1:
        return (), 1.0
    return tuple(activations[at] for at in sources), next(iter(sources.values()))


def _member(
    core: Graph, branch: Branch, activations: Activations, settings: Settings, scale: ScaleRule | None
) -> Member | None:
    """Return a layer of a group, or None where what it reads is no spikes of known value."""
    sources, worth = _sources(core, branch.op.inputs[0], activations, settings)
    if not sources:
        return None
    bits, layer = settings.bits_of(branch.op.path, first=False, last=False), core.module_of(branch.op)
    return Member(
        layer,
        bits=bits,
        sources=sources,
        share=worth / branch.area,
        scale=_scale(scale, bits),
        axis=1 if is_transposed(layer) else 0,
    )


def _scale(scale: ScaleRule | None, bits: int) -> ScaleRule:
    return default_scale(bits) if scale is None else Within(scale)
