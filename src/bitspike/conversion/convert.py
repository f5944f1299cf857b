"""Turn any trained network into a spiking one: capture, fold, check, calibrate, build."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitspike.conversion.build.records import Shifts
from bitspike.conversion.calibrate.entering import Rates, Seen, entering, grids_of, refuse_real_layers_before
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.calibrate.find import Calibration, Rules
from bitspike.conversion.calibrate.find import calibrate as find_lambdas
from bitspike.conversion.calibrate.thresholds import MSEThreshold
from bitspike.conversion.converted import plain_names, saved_grids, saved_shifts, saved_values
from bitspike.conversion.correct.automatic import choose
from bitspike.conversion.correct.walk import PIPELINES, Corrections, find_shifts
from bitspike.conversion.finetune.prepared import Prepared
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import region
from bitspike.conversion.region.cut import core_of
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.conversion.result import Conversion, holds_input
from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.capture.guests import notes_on
from bitspike.graph.flow import moves, neurons, ties
from bitspike.graph.ir import WEIGHTED, Graph
from bitspike.nn.trace import evaluation
from bitspike.ops.grids import Grid
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns

Frontend = Literal["fx", "export"]
_FINISHING = ("include", "exclude", "input_grid", "input_bits", "samples", "correct")


@torch.inference_mode(False)  # corrections take gradients, and the result may be trained
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
    settings = Settings(**choices)
    inputs = example if isinstance(example, tuple) else (example,)
    captured = capture(model, example, frontend=frontend, concrete_args=concrete_args, keep_real=keep_real)
    with evaluation(model), torch.no_grad():
        agree(captured, model, example)
    graph = fold(captured)
    return assemble(
        graph,
        inputs,
        settings,
        calibrate=calibrate,
        threshold=threshold,
        include=include,
        exclude=exclude,
        input_grid=input_grid,
        input_bits=input_bits,
        samples=samples,
        seed=seed,
        correct=correct,
        known=calibrate.inputs if isinstance(calibrate, Calibration) else None,
        notes=notes_on(model),
    )


def assemble(
    graph: Graph,
    inputs: tuple[Tensor, ...],
    settings: Settings,
    *,
    calibrate: Iterable[Any] | Tensor | Mapping[str, Tensor],
    data: Any = None,
    threshold: Rules | None = None,
    include: Patterns | None = None,
    exclude: Patterns = (),
    input_grid: Grid | None = None,
    input_bits: int = 8,
    samples: int = 1024,
    seed: int = 0,
    correct: Corrections | Literal["auto"] | None = None,
    known: Mapping[str, Seen] | None = None,
    notes: tuple[str, ...] = (),
) -> nn.Module:
    """Make the spiking network of a folded graph; arguments as :func:`convert`, ``notes`` on what was captured.

    ``data`` is what the input's grid and corrections are read from where ``calibrate`` holds values, and ``known`` what
    an earlier calibration saw of what enters; without either the example has to do, and a note says so.
    """
    if threshold is None and isinstance(correct, str) and correct in PIPELINES:
        threshold = MSEThreshold(initial=settings.initial)
    settings.refuse_idle_patterns(op.path for op in graph if op.kind in WEIGHTED)
    chosen = _with_moves(graph, region(graph, include, exclude))
    raise_if(violations(graph, chosen))
    core = core_of(graph, chosen)
    if settings.coding == "events":
        refuse_real_layers_before(graph, core)
    at = neurons(core)
    record: dict[str, Any]
    given = isinstance(calibrate, Mapping)
    source = calibrate if not given else [inputs] if data is None else data
    rates = Rates(graph, settings.steps, source) if settings.coding == "events" and source is not None else None
    batches = list(feed(graph, source if rates is None else rates, samples=samples))  # read once, used three times
    saved, kept = dict[str, Grid](), Shifts()
    if isinstance(calibrate, Mapping):
        calibrate = plain_names(calibrate)
        kept = saved_shifts(calibrate) if correct == "auto" else kept
        calibrate, saved = saved_values(calibrate), saved_grids(calibrate)
        missing = [id for id in at if id not in calibrate]
        if missing:
            raise ConstraintError(f"convert(calibrate=...): no value is given for {', '.join(missing)}")
        lambdas: Mapping[str, Tensor] = {id: calibrate[id] for id in at}
        record = {"statistic": "given"}
    else:
        tied = ties(core) if settings.concat == "tie" else []
        found = find_lambdas(
            graph, batches, threshold, steps=settings.steps, at=at, samples=samples, ties=tied, seed=seed
        )
        lambdas, record, notes = dict(found), found.manifest(), notes + found.notes
    if settings.reset == "hard":
        notes += ("W205: a reset to zero loses what exceeds the threshold: rates never converge to the activations",)
    alone = given and data is None
    seen, said = entering(graph, core, batches, inputs, rates=rates, known=known, alone=alone)
    grids, more = grids_of(graph, seen, settings, given=input_grid, bits=input_bits)
    notes += () if saved else (*(said if input_grid is None else ()), *more)
    grids |= saved
    choice = choose(correct, core, settings, given=given, kept=kept, samples=sum(len(batch[0]) for batch in batches))
    notes += choice.notes
    if alone and choice.measured:
        notes += ("W206: corrections were measured on the example alone; data=loader would do better",)
    made = Conversion(
        graph, frozenset(chosen), lambdas, grids, settings, record, shifts=kept, notes=notes,
        correction=choice.manifest(),
    )  # fmt: skip
    if choice.measured:
        made = replace(made, shifts=find_shifts(made, batches, kinds=choice.kinds, samples=choice.samples, seed=seed))
    return made.assemble()


def _with_moves(graph: Graph, region: Collection[str]) -> frozenset[str]:
    """Take in what only moves values on their way into a region.

    What moves the network's own input belongs to the network of integers, so that this takes what the network takes.
    What cuts one value into several does too, because the integer form has one input.
    """
    before = {i for op in graph if op.id in region for i in op.inputs if i not in region}
    readers, taken, several = graph.readers(), set(region), len(before) > 1
    for op in reversed(graph.ops):
        plain = moves(op) and "value" not in op.attrs and (several or holds_input(graph, op.id))
        if op.id in before and plain and all(reader.id in taken for reader in readers[op.id]):
            taken.add(op.id)
            before = before - {op.id} | set(op.inputs)
    return frozenset(region if several and len(before) > 1 else taken)


@torch.inference_mode(False)
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
    prepared = unwrapped(prepared)
    other = {k: choices.pop(k) for k in list(choices) if k in _FINISHING}
    other = {"include": prepared.include, "exclude": prepared.exclude} | other
    settings = replace(prepared.settings, **({"tolerance": 1e-3} | choices))
    inputs = example if isinstance(example, tuple) else (example,)
    was_training = prepared.training
    prepared.eval()
    try:
        made = assemble(
            prepared.graph(),
            inputs,
            settings,
            calibrate=prepared.lambdas(),
            data=data,
            known=prepared.entering,
            notes=prepared.brought,
            **other,
        )
    finally:
        prepared.train(was_training)
    return made
