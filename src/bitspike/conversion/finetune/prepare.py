"""Fine-tuning before conversion: the network that the spiking one will be, still trainable by anybody's loop.

Weights become codes times a step, every relu becomes a clip-floor-shift activation whose clip is lambda, and batch
norms have been folded away with their statistics. The result is a plain module: any loop, any loss, any optimizer.
What the loop then measures is what the spiking network reaches, up to the unevenness of its spikes in time, which
:mod:`bitspike.conversion.finetune.over_time` trains away.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.conversion.calibrate.entering import Seen, look
from bitspike.conversion.calibrate.feed import Batches, feed
from bitspike.conversion.calibrate.find import Calibration
from bitspike.conversion.calibrate.find import calibrate as find_lambdas
from bitspike.conversion.calibrate.thresholds import ThresholdRule
from bitspike.conversion.finetune.shared_step import Branch, SharedStep, WholeSkip, Within, default_scale
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import region
from bitspike.conversion.region.cut import core_of
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.guests import notes_on, take_modes
from bitspike.graph.flow import meetings, moves, neurons, origins, spikes, ties
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.rebuild import rebuild
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.ops.precision import single
from bitspike.ops.wrappers import strip_prefixes, unwrapped
from bitspike.patterns import Patterns
from bitspike.weights import Uniform, WeightCodes, attach, detach, weight_codes
from bitspike.weights.path import path_of
from bitspike.weights.scales import ScaleRule


class Prepared(nn.Module):
    """A network that is ready to be fine-tuned: takes what the original takes, returns what it returned.

    Made by :func:`prepare`. It is a plain module with a plain state_dict; convert it when the training is over.

    Attributes:
        network: the module that runs.
        settings: steps and the other choices that the weights were prepared for; its bits name every layer.
        calibration: where the clips started.
        entering: what calibration saw of what enters the region, by id: the input's grid is made of it.
        include, exclude: the patterns of the region.
        folded: the graph without norms, whose modules are trained.
        region: ids of the operations that become spiking.
        activations: by id of the operation that becomes the neuron.
        sums: where currents and skips meet, by id.
        brought: notes on the network as it came.
    """

    def __init__(
        self,
        network: nn.Module,
        graph: Graph,
        settings: Settings,
        calibration: Calibration,
        activations: Mapping[str, ClipFloorShift],
        groups: Sequence[SharedStep],
        *,
        region: Collection[str],
        sums: Mapping[str, nn.Module],
        entering: Mapping[str, Seen],
        include: Patterns | None = None,
        exclude: Patterns = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.calibration, self.entering = calibration, dict(entering)
        self.include, self.exclude = include, exclude
        self.folded, self.region = graph, frozenset(region)
        self.activations, self.sums = dict(activations), dict(sums)
        self.brought: tuple[str, ...] = ()
        self._groups = tuple(groups)

    def forward(self, *inputs: Tensor) -> object:
        return self.network(*map(single, inputs))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, *more: Any
    ) -> None:
        strip_prefixes(self._modules, state_dict, prefix)
        if state_dict and not any(key.startswith(f"{prefix}network.") for key in state_dict):
            more[-1].append(
                "the state is not that of a prepared network, in which norms are folded into weights.\n\t"
                "  fix: load it into the network that is prepared, and prepare that"
            )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *more)

    def lambdas(self) -> dict[str, Tensor]:
        """Return the learned lambdas, float64 [1] or [C], by id of the operation that becomes the neuron."""
        return {id: a.threshold().detach().double().reshape(-1).cpu() for id, a in self.activations.items()}

    def codes(self) -> dict[str, WeightCodes]:
        """Return the weight codes as they stand, by module path."""
        found = {path: weight_codes(module) for path, module in self.folded.modules.items()}
        return {path: result for path, result in found.items() if result is not None}

    def graph(self) -> Graph:
        """Return the folded graph with copies of the weights as they stand: the values of the codes, exactly."""
        modules = {
            path: module if path_of(module) is None else detach(copy.deepcopy(module))
            for path, module in self.folded.modules.items()
        }
        return Graph(self.folded.ops, modules, self.folded.model)

    def notes(self) -> list[str]:
        """Return what capture and calibration noted; W203 for every branch that uses few of the levels it shares."""
        names = {id(module): path for path, module in self.folded.modules.items()}
        found = [*self.brought, *self.calibration.notes]
        for group in self._groups:
            for branch, reach in zip(group.branches, group.reaches(), strict=True):
                if reach < 0.5:
                    found.append(
                        f"W203: {names[id(branch.layer)]} uses {reach:.0%} of the levels that it shares with the other "
                        "branches of its sum; more bits for it would help"
                    )
        return found


@torch.inference_mode(False)  # what is prepared is trained
def prepare(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    calibrate: Batches,
    bits: int | Mapping[str, int] = 4,
    steps: int = 8,
    first_bits: int | None = 8,
    last_bits: int | None = 8,
    per_channel: bool = True,
    include: Patterns | None = None,
    exclude: Patterns = (),
    rule: ThresholdRule | None = None,
    scale: ScaleRule | None = None,
    samples: int = 1024,
    seed: int = 0,
) -> Prepared:
    """Make a network trainable as the spiking network that it will become.

    Args:
        model: any network that can be captured; it is not changed.
        example: inputs as the model takes them.
        calibrate: batches that say where the clips start; see :func:`bitspike.conversion.calibrate.find.calibrate`.
        bits: of the weight codes, 1 to 16, or a mapping from patterns over module paths to bits.
        steps: T of the spiking network, the number of levels of an activation.
        first_bits: of the layers that read the input; None is ``bits``.
        last_bits: of the layers whose result leaves the network; None is ``bits``.
        per_channel: one weight step per output channel instead of one per layer.
        include: patterns of what will spike, as of ``bs.convert``; only that is prepared. None is all that can.
        exclude: patterns of what to leave real.
        rule: where the clips start; None is the least squared error up to 32 steps. Clips are one per layer.
        scale: reads the weight steps, which are never wider than the weights need; None is
            :func:`bitspike.conversion.finetune.shared_step.default_scale` of the bits.
        samples: how many calibrate.
        seed: of the calibration.

    Returns:
        the module to train, in the mode of ``model``.

    Raises:
        ConversionError: the model cannot be captured, or something in the region cannot spike.
        ConstraintError: a choice outside what is allowed.

    Source: activation after Bu et al., ICLR 2022, arXiv 2303.04347.
    """
    settings = Settings(steps=steps, bits=bits, first_bits=first_bits, last_bits=last_bits, per_channel=per_channel)
    prepared = prepare_graph(
        fold(capture(model, example)),
        calibrate,
        settings,
        include=include,
        exclude=exclude,
        rule=rule,
        scale=scale,
        samples=samples,
        seed=seed,
    )
    prepared.brought = notes_on(model)
    prepared.training = model.training
    take_modes(prepared.network, unwrapped(model))
    return prepared


def prepare_graph(
    graph: Graph,
    batches: Batches,
    settings: Settings,
    *,
    include: Patterns | None = None,
    exclude: Patterns = (),
    rule: ThresholdRule | None = None,
    scale: ScaleRule | None = None,
    samples: int = 1024,
    seed: int = 0,
) -> Prepared:
    """Prepare a folded graph; see :func:`prepare`. The modules of the graph are copied."""
    if rule is not None and rule.per_channel:
        raise ConstraintError(
            f"prepare(rule={rule!r}): a clip per channel would have to be folded into the next weights before they are "
            "rounded, while it trains",
            fix="per_channel=False for the clips; the weight steps may be per channel",
        )
    settings.refuse_idle_patterns(op.path for op in graph if op.kind in WEIGHTED)
    chosen = region(graph, include, exclude)
    raise_if(violations(graph, chosen))
    weighted = [op for op in graph if op.kind in WEIGHTED and op.id in chosen]
    graph = Graph(graph.ops, _copied(graph, weighted), graph.model)
    core = core_of(graph, chosen)
    at = neurons(core)
    if not at:
        raise ConstraintError("prepare: there is no relu in the region, so nothing would become a neuron")
    # What is put side by side is read by one layer with one step, so it has one lambda.
    tied = ties(core)
    batches = list(feed(graph, batches, samples=samples))  # a loader is read once
    entering = look(graph, batches, [op.id for op in core if op.kind == "input"], samples=samples)
    calibration = find_lambdas(graph, batches, rule, steps=settings.steps, at=at, samples=samples, ties=tied, seed=seed)
    like = next((p for m in graph.modules.values() for p in m.parameters()), torch.empty(0))
    activations = {id: _activation(calibration[id], settings, like) for id in at}
    for group in tied:
        members = [activations[id] for id in at if id in group]
        for other in members[1:]:
            other.clip = members[0].clip
    bits = _bits(core, weighted, settings)
    settings = replace(settings, bits={**({"*": settings.bits} if isinstance(settings.bits, int) else {}), **bits})
    groups, sums = _quantize(core, weighted, activations, settings, scale)
    activated = {id: a if graph[id].kind == "relu" else ClippedSum(a) for id, a in activations.items()}
    return Prepared(
        rebuild(graph, {**activated, **sums}),
        graph,
        settings,
        calibration,
        activations,
        groups,
        region=chosen,
        sums=sums,
        entering=entering,
        include=include,
        exclude=exclude,
    )


class ClippedSum(nn.Module):
    """A sum of spikes that is a neuron of its own."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = self.activation(a + b)
        return result


def _copied(graph: Graph, weighted: Iterable[Op]) -> dict[str, nn.Module]:
    changed = {op.module for op in weighted}
    # One memo: a parameter that two layers share stays one.
    memo: dict[int, object] = {}
    return {path: copy.deepcopy(m, memo) if path in changed else m for path, m in graph.modules.items()}


def _activation(clip: Tensor, settings: Settings, like: Tensor) -> ClipFloorShift:
    made = ClipFloorShift(settings.steps, float(clip), shift=settings.initial)
    return made.to(device=like.device, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)


def _bits(core: Graph, weighted: Sequence[Op], settings: Settings) -> dict[str, int]:
    """Return the bits of every weighted module, by path of the operation."""
    ops = {op.id: op for op in core}

    def reads_input(op: Op) -> bool:
        source = ops[op.inputs[0]]
        while moves(source):
            source = ops[source.inputs[0]]
        return source.kind == "input"

    return {
        op.path: settings.bits_of(op.path, first=reads_input(op), last="output" in _ahead(core, op)) for op in weighted
    }


def _ahead(core: Graph, op: Op) -> set[str]:
    """Return the kinds of what stands between a weighted operation and the neurons, or the output, that it feeds."""
    found, readers = spikes(core), core.readers()
    open_ops, kinds = [op], set[str]()
    while open_ops:
        for reader in readers[open_ops.pop().id]:
            kinds.add(reader.kind)
            if reader.id not in found and reader.kind not in WEIGHTED:
                open_ops.append(reader)
    return kinds


def _quantize(
    core: Graph,
    weighted: Sequence[Op],
    activations: Mapping[str, ClipFloorShift],
    settings: Settings,
    scale: ScaleRule | None,
) -> tuple[list[SharedStep], dict[str, nn.Module]]:
    """Attach schemes: one step for all branches of a sum, a step of its own for every other layer.

    Returns:
        the groups that share a step, and the sums whose skips have whole gains, by id.
    """
    uses = Counter(op.module for op in weighted)
    groups, skips = [], dict[str, dict[int, WholeSkip]]()
    for meeting in meetings(core):
        # A layer that is called twice has one step and several inputs; it cannot follow all of them.
        single = [core[id] for id in meeting.weighted if uses[core[id].module] == 1]
        free = [op for op in single if path_of(core.module_of(op)) is None]
        made = [(op, _branch(core, op, meeting.weighted[op.id], activations, settings, scale)) for op in free]
        known = [(op, branch) for op, branch in made if branch is not None]
        whole = len(known) == len(meeting.weighted)
        if len(known) > 1 or (whole and meeting.skips):
            split = all(_apart(core, op, settings) for op, _ in known)
            groups.append(SharedStep([branch for _, branch in known], per_channel=split))
            groups[-1].attach()
        for id, n, share in meeting.skips if whole else ():
            sources, worth = _spikes(core, core[id].inputs[n], activations, settings)
            if sources:
                skips.setdefault(id, {})[n] = WholeSkip(groups[-1], sources, share * worth)
    for op in weighted:
        layer = core.module_of(op)
        if path_of(layer) is None:
            bits = settings.bits_of(op.path, first=False, last=False)
            attach(layer, quantize=Uniform(bits, per_channel=_apart(core, op, settings), scale=_scale(scale, bits)))
    return groups, {id: _Sum(found, core[id].attrs["signs"]) for id, found in skips.items()}


class _Sum(nn.Module):
    """A sum of currents and skips."""

    def __init__(self, skips: Mapping[int, WholeSkip], signs: tuple[int, int]) -> None:
        super().__init__()
        self.signs = signs
        self.skips = nn.ModuleDict({str(n): skip for n, skip in skips.items()})

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (self.skips[str(n)](x) if str(n) in self.skips else x for n, x in enumerate((a, b)))
        return a + b if self.signs[1] > 0 else a - b


def _spikes(
    core: Graph, id: str, activations: Mapping[str, ClipFloorShift], settings: Settings
) -> tuple[tuple[ClipFloorShift, ...], float]:
    """Return the activations whose spikes arrive at an operation's result, and the share of lambda that one is worth.

    Without activations where one of them is not prepared, such as an input, or where they are worth different shares.
    """
    sources = dict(origins(core, id, pools_count=settings.average_pool == "sum"))
    if not sources or any(at not in activations for at in sources) or len(set(sources.values())) > 1:
        return (), 1.0
    return tuple(activations[at] for at in sources), next(iter(sources.values()))


def _branch(
    core: Graph,
    op: Op,
    share: float,
    activations: Mapping[str, ClipFloorShift],
    settings: Settings,
    scale: ScaleRule | None,
) -> Branch | None:
    """Return the branch of a sum, or None where what it reads is no spikes of known value."""
    sources, worth = _spikes(core, op.inputs[0], activations, settings)
    if not sources:
        return None
    bits, layer = settings.bits_of(op.path, first=False, last=False), core.module_of(op)
    return Branch(
        layer,
        bits=bits,
        sources=sources,
        share=share * worth,
        scale=_scale(scale, bits),
        axis=1 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 0,
    )


def _apart(core: Graph, op: Op, settings: Settings) -> bool:
    """Tell whether every output channel of a layer has a step of its own.

    Not where the channels lie along no one axis of the weight, where they are mixed before the neuron, or where the
    result leaves the network, whose read-out has one scale.
    """
    layer = core.module_of(op)
    mixed = isinstance(layer, nn.modules.conv._ConvTransposeNd) and layer.groups > 1
    return settings.per_channel and not mixed and not _ahead(core, op) & {"reshape", "transpose", "output"}


def _scale(scale: ScaleRule | None, bits: int) -> ScaleRule:
    return default_scale(bits) if scale is None else Within(scale)
