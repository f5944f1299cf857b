"""Fine-tuning before conversion: the network that the spiking one will be, still trainable by anybody's loop.

Weights become codes times a step, every relu becomes a clip-floor-shift activation whose clip is lambda, and batch
norms have been folded away with their statistics. The result is a plain module: any loop, any loss, any optimizer.
What the loop then measures is what the spiking network reaches, up to the unevenness of its spikes in time, which
:mod:`bitspike.conversion.finetune.over_time` trains away.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.conversion.calibrate.entering import look
from bitspike.conversion.calibrate.feed import Batches, feed
from bitspike.conversion.calibrate.find import calibrate as find_lambdas
from bitspike.conversion.calibrate.thresholds import ThresholdRule
from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.finetune.sums import on_operations
from bitspike.conversion.finetune.weight_grids import quantize, with_bits_by_name
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import region
from bitspike.conversion.region.cut import core_of
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError, some
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.guests import notes_on, take_modes
from bitspike.graph.flow import neurons, ties
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.rebuild import rebuild
from bitspike.nn.clip_floor_shift import ClipFloorShift
from bitspike.nn.trace import evaluation
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns
from bitspike.weights.chips import left_out
from bitspike.weights.scales import ScaleRule


@torch.inference_mode(False)  # what is prepared is trained
@checked
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
        bits: of the weight codes, 1 to 16, in all layers but the first and the last, which have bits of their own; or
            a mapping from patterns over module paths to bits.
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
        ConversionError: the model cannot be captured, as where its weights are new at every call, or something in the
            region cannot spike.
        ConstraintError: a choice outside what is allowed, or weights that vary in training.

    Source: activation after Bu et al., ICLR 2022, arXiv 2303.04347.
    """
    settings = Settings(steps=steps, bits=bits, first_bits=first_bits, last_bits=last_bits, per_channel=per_channel)
    graph = fold(capture(model, example))
    if rule is not None and rule.per_channel:
        raise ConstraintError(
            f"prepare(rule={rule!r}): a clip per channel would have to be folded into the next weights before they are "
            "rounded, while it trains",
            fix="per_channel=False for the clips; the weight steps may be per channel",
        )
    with evaluation(model):
        if varying := left_out(model):
            raise ConstraintError(
                f"prepare: the weights of {some(varying, most=3)} vary, and no prepared network keeps that",
                fix="bs.detach(model) first, and bs.attach(prepared.network, vary=...) after it",
            )
    settings.refuse_idle_patterns(op.path for op in graph if op.kind in WEIGHTED)
    chosen = region(graph, include, exclude)
    raise_if(violations(graph, chosen))
    weighted = [op for op in graph if op.kind in WEIGHTED and op.id in chosen]
    graph = Graph(graph.ops, _copied(graph, weighted), graph.model)
    core = core_of(graph, chosen)
    at = neurons(core)
    if not at:
        raise ConstraintError(
            "prepare: there is no relu in the region, so nothing would become a neuron",
            fix="include=None takes all that can spike; exclude=() leaves nothing out",
        )
    # Neurons that are concatenated are read by one layer with one step, so they have one lambda.
    tied = ties(core)
    batches = list(feed(graph, calibrate, samples=samples))  # a loader is read once
    entering = look(graph, batches, [op.id for op in core if op.kind == "input"], samples=samples)
    calibration = find_lambdas(graph, batches, rule, steps=settings.steps, at=at, samples=samples, ties=tied, seed=seed)
    like = next((p for m in graph.modules.values() for p in m.parameters()), torch.empty(0))
    activations = {id: _activation(calibration[id], settings, like) for id in at}
    for group in tied:
        members = [activations[id] for id in at if id in group]
        for other in members[1:]:
            # One parameter, not equal ones: training keeps it the same for all.
            other.clip = members[0].clip
    # First and last layers get their bits by path here; `quantize` asks no more which they are.
    settings = with_bits_by_name(core, weighted, settings)
    groups, sums = quantize(core, weighted, activations, settings, scale)
    prepared = Prepared(
        rebuild(graph, {**on_operations(graph, activations), **sums}),
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
        scale=scale,
    )
    prepared.brought = notes_on(model)
    prepared.training = model.training
    take_modes(prepared.network, unwrapped(model))
    return prepared


def _copied(graph: Graph, weighted: Iterable[Op]) -> dict[str, nn.Module]:
    changed = {op.module for op in weighted}
    # One memo: a parameter that two layers share stays one.
    memo: dict[int, object] = {}
    return {path: copy.deepcopy(m, memo) if path in changed else m for path, m in graph.modules.items()}


def _activation(clip: Tensor, settings: Settings, like: Tensor) -> ClipFloorShift:
    activation = ClipFloorShift(settings.steps, float(clip), shift=settings.initial)
    return activation.to(device=like.device, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)
