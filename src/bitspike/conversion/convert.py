"""Turn a trained network into a spiking one; :func:`spiking_network` is the conversion after folding, in its order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.calls import parameters_of, refuse_unknown
from bitspike.conversion.calibrate.entering import Rates, Seen, entering, refuse_real_layers_before
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.calibrate.find import Calibration
from bitspike.conversion.calibrate.find import calibrate as find_lambdas
from bitspike.conversion.calibrate.grids import grids_of, with_borders_on_codes
from bitspike.conversion.calibrate.thresholds import Rules
from bitspike.conversion.construct.records import Shifts
from bitspike.conversion.converted import plain_names, saved_grids, saved_lambdas, saved_shifts
from bitspike.conversion.correct.automatic import choose
from bitspike.conversion.correct.walk import find_shifts
from bitspike.conversion.finetune.prepared import Prepared, prepared_of
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.fold.kept import Kept, kept_codes, lost_codes
from bitspike.conversion.quantized.learned import (
    learned_clips,
    notes_on_codes,
    notes_on_plain,
    refuse_other_rules,
    refuse_unequal_ties,
    with_levels,
)
from bitspike.conversion.region.choose import region as choose_region
from bitspike.conversion.region.choose import with_moves
from bitspike.conversion.region.cut import core_of
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.conversion.result import Conversion
from bitspike.conversion.settings import Corrections, Procedure, Settings
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.guests import notes_on, notes_on_variation
from bitspike.graph.flow import neurons, ties
from bitspike.graph.ir import WEIGHTED, Graph
from bitspike.nn.trace import evaluation
from bitspike.ops.grids import Grid
from bitspike.patterns import Patterns

Frontend = Literal["fx", "export"]
_FINISHING = ("include", "exclude", "input_grid", "input_bits", "samples", "correct")
"""What :func:`finish` may be told of the procedure; its thresholds were learned, and it draws no samples."""
_CHOICES = tuple(field.name for field in fields(Settings))


@torch.inference_mode(False)  # corrections take gradients, and the result may be trained
@checked
def convert(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    calibrate: Iterable[Any] | Tensor | Mapping[str, Tensor],
    threshold: Rules | None = None,
    include: Patterns | None = None,
    exclude: Patterns = (),
    keep_real: Patterns = (),
    input_grid: Grid | None = None,
    input_bits: int = 8,
    samples: int = 1024,
    seed: int = 0,
    correct: Corrections | Literal["auto"] | None = "auto",
    frontend: Frontend = "fx",
    concrete_args: Mapping[str, Any] | None = None,
    **choices: Any,
) -> nn.Module:
    """Convert a trained network into a spiking one, whole or in part.

    Args:
        model: any network of convolutions, linear layers, norms, ReLUs, pools, sums and concatenations; it is not
            changed, and is taken as it stands in evaluation mode.
        example: one or more inputs as the model takes them, batch first.
        calibrate: batches of training data, with or without labels (the first ``samples`` are read), one tensor of
            samples, or the values of spikes by operation that an earlier conversion found, as a mapping or as its
            state_dict, which brings the grids and corrections too; a mapping leaves the input's grid to the example,
            which ``conversion.notes`` say. For ``coding="events"`` rates [N, ...], or better frames [T, N, ...], which
            show the counts that the input's grid has to hold.
        threshold: how the value of a spike is read from the activations: ``bs.MSEThreshold()``,
            ``bs.PercentileThreshold(99.9)`` or ``bs.MaxThreshold()``; None takes the first up to T = 32, the second
            beyond. A mapping gives rules to patterns over the paths of ReLUs.
        include, exclude: patterns over module names, such as ``"layer1.*"``; None is everything that can spike. What
            is outside stays real, and the result runs it once, not T times.
        keep_real: patterns of modules that are not even looked into.
        input_grid: integer grid of the input, or of what enters the spiking part; None is read from the calibration
            data: 8-bit images for values in [0, 1] of the model's own input; whole numbers as they are where
            ``input_bits`` hold them; spikes and counts for ``coding="events"``; else ``input_bits`` between the
            extremes.
        input_bits: of that grid, 2 to 16.
        samples, seed: of the calibration.
        correct: measure every layer against the float network, in the order of data flow, and correct what its spikes
            lack: ``bias`` or ``potential`` on average, weights and bias by ``least_squares``, ``weights`` by a few
            hundred steps of gradient descent, or several of them in turn, ``("weights", "potential")``. Two pipelines
            have names: ``light`` is thresholds of least squared error and ``bias``, ``advanced`` the same thresholds,
            ``weights`` and ``potential``. ``auto`` is ``("least_squares", "potential")`` on at most 256 samples, fewer
            for large networks, and nothing where values of spikes are given, where a layer waits for the one before,
            or where there are too few samples; ``network.conversion`` says what was done and why. None leaves the
            layers as they are.
        frontend: ``fx``, or ``export`` for models that branch on shapes.
        concrete_args: arguments of forward to be held fixed while it is followed.
        choices: of :class:`~bitspike.conversion.settings.Settings`: steps, neuron, bits, first_bits, last_bits,
            per_channel, scale, coding, reset, fire, initial, schedule, average_pool, max_fraction_bits,
            multiplier_bits, concat, tolerance.

    Returns:
        the spiking network, a plain module with ``forward(x)`` as before; modules keep their names. ``bs.lower`` turns
        it into integers without rounding anything. Its record is ``network.conversion``.

    Raises:
        ConversionError: something cannot be converted; every such place is named, with the way out.
        ConstraintError: a choice outside what is allowed. DataError: there is nothing to calibrate with.

    Example:
        >>> import bitspike as bs
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images = torch.rand(32, 4)
        >>> snn = convert(ann, images[:1], calibrate=images, steps=8)
        >>> snn(images).shape, [type(n).__name__ for n in bs.lower(snn, images[:1]).nodes]
        (torch.Size([32, 2]), ['Input', 'Linear', 'Neuron', 'Linear', 'Readout'])
    """
    refuse_unknown("convert", (*parameters_of(convert).named, *_CHOICES), choices)
    Settings(**choices)  # what is wrong with a choice is said before the network is followed
    procedure = Procedure(
        threshold=threshold,
        include=include,
        exclude=exclude,
        input_grid=input_grid,
        input_bits=input_bits,
        samples=samples,
        seed=seed,
        correct=correct,
    )
    graph = capture(model, example, frontend=frontend, concrete_args=concrete_args, keep_real=keep_real)
    with evaluation(model), torch.no_grad():
        agree(graph, model, example)
    folded = fold(graph)
    kept = kept_codes(graph, folded)
    return spiking_network(
        folded,
        example,
        Settings(**with_levels(graph, choices)),
        procedure,
        calibrate=calibrate,
        kept=kept,
        lost=lost_codes(graph, kept),
        known=calibrate.inputs if isinstance(calibrate, Calibration) else None,
        notes=notes_on(model),
    )


def spiking_network(
    graph: Graph,
    example: Tensor | tuple[Tensor, ...],
    settings: Settings,
    procedure: Procedure,
    *,
    calibrate: Any,
    data: Any = None,
    known: Mapping[str, Seen] | None = None,
    kept: Mapping[str, Kept] | None = None,
    lost: Collection[str] = (),
    notes: tuple[str, ...] = (),
) -> nn.Module:
    """Convert a whole, folded graph, step by step; arguments as of :func:`convert`, and further:

    Args:
        data: where ``calibrate`` holds values, what the input's grid and corrections are read from.
        known: what an earlier calibration saw of what enters; without it and without ``data`` the example has to do,
            and a note says so.
        kept: by weighted operation, the codes of its weights where they are codes already.
        lost: weighted operations whose weights were codes before norms were folded into them.
        notes: on what was captured.
    """
    kept = kept or {}
    # Region: which operations become spikes, and whether they can.
    settings.refuse_idle_patterns(op.path for op in graph if op.kind in WEIGHTED)
    region = with_moves(graph, choose_region(graph, procedure.include, procedure.exclude))
    raise_if(violations(graph, region))
    core = core_of(graph, region)
    if settings.coding == "events":
        refuse_real_layers_before(graph, core)

    # Data: read once, used for the values of spikes, the input's grid and the corrections.
    inputs = example if isinstance(example, tuple) else (example,)
    state = plain_names(calibrate) if isinstance(calibrate, Mapping) else None
    alone = state is not None and data is None
    source = calibrate if state is None else [inputs] if alone else data
    rates = Rates(graph, settings.steps, source) if settings.coding == "events" and source is not None else None
    batches = list(feed(graph, source if rates is None else rates, samples=procedure.samples))
    number = sum(len(batch[0]) for batch in batches)

    # Calibration: what one spike of each neuron is worth.
    at = neurons(core)
    if state is None:
        lambdas, manifest, said = _values(graph, core, at, batches, settings, procedure)
        notes += said
    else:
        lambdas, manifest = saved_lambdas(state, at), {"statistic": "given"}
    if settings.reset == "hard":
        notes += ("W205: a reset to zero loses what exceeds the threshold: rates never converge to the activations",)

    # The grid of what enters: that of the state, the one that was asked for, or what the data need.
    seen, seen_notes = entering(graph, core, batches, inputs, rates=rates, known=known, alone=alone)
    grids, grid_notes = grids_of(graph, seen, settings, asked=procedure.input_grid, bits=procedure.input_bits)
    if saved := saved_grids(state or {}):
        grids |= saved
    else:
        notes += (seen_notes if procedure.input_grid is None else ()) + grid_notes
    graph = with_borders_on_codes(graph, grids)

    notes += notes_on_codes([id for id in kept if id in region], [id for id in lost if id in region])
    # Corrections: chosen here, measured layer by layer on a network without them, and built in.
    shifts = saved_shifts(state or {}) if procedure.correct == "auto" else Shifts()
    learned = any("levels" in core[id].attrs for id in at)
    choice = choose(
        procedure.correct, core, settings, valued=state is not None, learned=learned, kept=shifts, samples=number
    )
    notes += choice.notes
    if alone and choice.measured:
        notes += ("W206: corrections were measured on the example alone; data=loader would do better",)
    conversion = Conversion(
        graph, region, lambdas, grids, settings, manifest, shifts=shifts, notes=notes,
        correction=choice.manifest(), kept={id: codes for id, codes in kept.items() if id in region},
    )  # fmt: skip
    if choice.measured:
        shifts = find_shifts(conversion, batches, kinds=choice.kinds, samples=choice.samples, seed=procedure.seed)
    return replace(conversion, shifts=shifts).assemble()


def _values(
    graph: Graph,
    core: Graph,
    at: tuple[str, ...],
    batches: list[tuple[Tensor, ...]],
    settings: Settings,
    procedure: Procedure,
) -> tuple[dict[str, Tensor], dict[str, Any], tuple[str, ...]]:
    """Return what one spike of each neuron is worth, how that was found, and notes."""
    clips, rules = learned_clips(core, at), procedure.rules(settings)
    tied = ties(core) if settings.concat == "tie" else []
    refuse_other_rules(clips, at, procedure.threshold)
    refuse_unequal_ties(clips, ties(core), settings)
    plain = [id for id in at if id not in clips]
    if not plain and clips:
        return clips, {"statistic": "learned clip"}, ()
    calibration = find_lambdas(
        graph,
        batches,
        rules,
        steps=settings.steps,
        at=plain,
        samples=procedure.samples,
        ties=[group & set(plain) for group in tied],
        seed=procedure.seed,
    )
    lambdas, learned = {**calibration.lambdas, **clips}, {"learned clips": sorted(clips)} if clips else {}
    return lambdas, calibration.manifest() | learned, (*calibration.notes, *notes_on_plain(clips, plain))


@torch.inference_mode(False)
@checked
def finish(prepared: Prepared, example: Tensor | tuple[Tensor, ...], *, data: Any = None, **choices: Any) -> nn.Module:
    """Convert a network that was fine-tuned with ``bs.prepare``: its weights are on their grids, its clips are learned.

    Args:
        prepared: after the training.
        example: one or more inputs as the model takes them.
        data: batches for the grid of what enters the spiking part and for ``correct``; None takes for the grid what
            ``bs.prepare`` saw of its calibration data, and for ``correct`` the example, which ``conversion.notes`` say.
        choices: of :func:`convert` and :class:`~bitspike.conversion.settings.Settings`; bits, steps and
            ``per_channel`` are those that were prepared for unless they are given. Thresholds are rounded within
            0.1 %, because what was trained should not be moved again.

    Returns:
        the spiking network, as :func:`convert` does.

    Example:
        >>> from bitspike.conversion.finetune.prepare import prepare
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images = torch.rand(32, 4)
        >>> tuned = prepare(ann, images[:1], calibrate=images, bits=4, steps=8)
        >>> finish(tuned, images[:1])(images).shape
        torch.Size([32, 2])
    """
    refuse_unknown("finish", (*parameters_of(finish).named, *_FINISHING, *_CHOICES), choices)
    prepared = prepared_of(prepared, "finish")
    own: dict[str, Any] = {"include": prepared.include, "exclude": prepared.exclude, "correct": None}
    own |= {name: choices.pop(name) for name in _FINISHING if name in choices}
    settings = replace(prepared.settings, **({"tolerance": 1e-3} | choices))
    was_training = prepared.training
    prepared.eval()
    try:
        return spiking_network(
            prepared.graph(),
            example,
            settings,
            Procedure(**own),
            calibrate=prepared.lambdas(),
            data=data,
            known=prepared.entering,
            notes=prepared.brought + notes_on_variation(prepared),
        )
    finally:
        prepared.train(was_training)
