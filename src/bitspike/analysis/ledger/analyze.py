"""Measure where a converted network differs from the float one, layer by layer and cause by cause."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from bitspike.analysis.ledger.advice import advise
from bitspike.analysis.ledger.curve import Curve, Whole, notes
from bitspike.analysis.ledger.ladder import Rung, activation, by_place, corrected, rung
from bitspike.analysis.ledger.ledger import Ledger
from bitspike.analysis.ledger.parts import LayerErrors, Sums
from bitspike.analysis.ledger.pictures import Collector
from bitspike.analysis.ledger.spikes import Firing, Limits, Run, limits_of, listen
from bitspike.conversion.build.records import Shifts
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.region.cut import covers, replaced
from bitspike.conversion.result import Conversion, conversion_of, spiking_part
from bitspike.errors import ConstraintError, DataError
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import rebuild, values
from bitspike.integer.network import IntegerNetwork
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task, judged

Batches = Iterable[Any] | Tensor
Values = Mapping[str, Tensor]


@torch.no_grad()
def analyze(
    network: nn.Module,
    batches: Batches,
    *,
    out: str | Path | None = None,
    samples: int = 256,
    limits: IntegerNetwork | None = None,
    batch: int = 16,
    seed: int = 0,
    task: Task = Classification(),
) -> Ledger:
    """Split the gap between a converted network and its float original into its causes, for every layer.

    The parts (input codes, weight rounding, clipping, rounding in time, unevenness, integer rounding, saturation) add
    up to the measured gap. *Local* parts are the layer's own, with the float network's values on its input;
    *cumulative* ones hold what the layers before did too. :mod:`bitspike.analysis.ledger.ladder` defines them.

    Args:
        network: from ``bs.convert`` or ``bs.finish``, whole or hybrid.
        batches: a loader, with or without labels, or one tensor of samples; with labels the metric of the task is
            measured on every rung of the ladder too.
        out: folder to write the report, the figures and their numbers to; None writes nothing.
        samples: how many samples are measured.
        limits: the lowered network with the limits of a chip (``floor`` and ``width`` of its neurons); None has none.
        batch: samples at a time; memory grows with it.
        seed: of random input spikes.
        task: says which answers are right.

    Returns:
        the ledger; ``print`` shows it as a table.

    Raises:
        ConstraintError: the network was not made by a conversion. DataError: there is nothing to measure.

    Example:
        >>> import bitspike as bs
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images = torch.rand(32, 4)
        >>> ledger = analyze(bs.convert(ann, images[:1], calibrate=images, steps=8, correct=None), images)
        >>> ledger.terms, ledger.closure < 0.02
        (('input', 'weights', 'clipping', 'truncation', 'unevenness', 'integer', 'saturation'), True)
    """
    study = _Study(network, limits, task)
    for n, (inputs, labels) in enumerate(_samples(study.conversion, batches, samples, batch)):
        with _seeded(seed + n):
            study.add(inputs, labels)
    ledger = study.ledger()
    if out is not None:
        ledger.write(out)
    return ledger


def _samples(
    conversion: Conversion, batches: Batches, samples: int, most: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
    """Yield inputs and labels, at most ``most`` samples at a time."""
    if batches is None:
        raise DataError("the analysis needs data and got None", fix="bs.analyze(network, loader)")
    if samples < 1:
        raise ConstraintError(f"samples={samples}: at least one is needed", fix="samples=256")
    events = conversion.settings.coding == "events"
    left = samples
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        if left <= 0:
            return
        if events:
            x = batch if isinstance(batch, Tensor) else batch[0]
            inputs: tuple[Tensor, ...] = (x[:, :left],)
        else:
            (inputs,) = feed(conversion.graph, [batch], samples=left)
        axis = 1 if events else 0
        n = inputs[0].shape[axis]
        labels = _labels(batch, n)
        for start in range(0, n, most):
            stop = min(start + most, n)
            cut = tuple(x.narrow(axis, start, stop - start) for x in inputs)
            yield cut, None if labels is None else labels[start:stop]
        left -= n
    if left == samples:
        raise DataError("the analysis needs data, and the loader yielded none", fix="pass the loader itself")


def _labels(batch: Any, n: int) -> Tensor | None:
    """Return the labels of a batch where it has one whole number per sample behind the inputs."""
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        return None
    found = batch[-1]
    fits = isinstance(found, Tensor) and found.dim() == 1 and not found.is_floating_point() and len(found) >= n
    return cast(Tensor, found)[:n] if fits else None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class _Study:
    """All rungs of one network, and the sums over what was measured on them."""

    def __init__(self, network: nn.Module, limits: IntegerNetwork | None, task: Task) -> None:
        self.task = task
        self.conversion = conversion = conversion_of(network)
        self.core = _without_output(conversion.core)
        self.exits = conversion.core.ops[-1].inputs
        self.spiking = _at_home(spiking_part(network), conversion.graph)
        made = conversion.build(rounded=False)
        self.real, self.real_record = spiking_part(made), conversion_of(made)
        self.plain, self.plain_record = self.real, self.real_record
        if conversion.shifts.weights:  # corrected weights are part of the correction, not of the rounding to codes
            made = replace(conversion, shifts=Shifts()).build(rounded=False)
            self.plain, self.plain_record = spiking_part(made), conversion_of(made)
        self.limits: Mapping[str, Limits] = limits_of(limits, self.spiking, conversion) if limits is not None else {}
        self.lossy = conversion.settings.reset == "hard"
        self.corrected = corrected(conversion) and not self.lossy
        self.terms = _terms(lossy=self.lossy, corrected=self.corrected)
        self.neurons = [id for id, r in conversion.layers.items() if r.kind != "readout"]
        self.wanted = list(dict.fromkeys([*conversion.layers, *self.exits]))
        self.cumulative = {id: Sums(self.terms) for id in conversion.layers}
        self.local = {id: Sums(self.terms) for id in conversion.layers}
        self.outputs = [Sums(self.terms) for _ in self.exits]
        self.firing: dict[str, Firing] = {}
        self.clipped = dict.fromkeys(self.neurons, 0)
        self.curve = Curve(conversion, self.spiking, task)
        self.whole = _whole(conversion)
        self.right: dict[str, float] = {}
        self.changed = (0, 0)
        self.labelled = self.samples = 0
        self.measured = [[0.0, 0.0] for _ in self.exits]
        self.collector = Collector(conversion, self.spiking)
        self.tops = {id: by_place(conversion.layers[id].wanted, self.core[id].shape) for id in self.neurons}
        self.activations = {
            id: [activation(self._record(kind), id, kind) for kind in self._kinds()] for id in self.neurons
        }
        self._write_rungs()

    def _write_rungs(self) -> None:
        known: dict[Conversion, dict[str, nn.Module]] = {self.plain_record: {}, self.real_record: {}}

        def made(record: Conversion, spiking: fx.GraphModule | None, **kwargs: Any) -> Rung:
            found = rung(record, spiking, **kwargs, known=known[record])
            return replace(found, graph=_without_output(found.graph))

        # The codes of the network with real thresholds: where a skip or channels with values of their own meet weights,
        # rounding the thresholds may move a code, and that is part of what rounding them costs.
        self.rounded = {
            kind: made(self._record(kind), self.real if kind == "corrected" else self.plain, neurons=kind)
            for kind in self._kinds()
        }
        self.float_alone = made(self.plain_record, None, given=True)
        self.codes_alone = made(self.plain_record, self.plain, given=True)
        self.corrected_alone = made(self.real_record, self.real, given=True)

    def _record(self, kind: str) -> Conversion:
        """Return the record of the network with real thresholds whose codes a rung has."""
        return self.real_record if kind == "corrected" else self.plain_record

    def _kinds(self) -> tuple[Any, ...]:
        if self.lossy:
            return ("relu", "clip")
        return ("relu", "clip", "counts", "corrected") if self.corrected else ("relu", "clip", "counts")

    # ---- one batch -------------------------------------------------------------------------------------------------

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor | None) -> None:
        events = self.conversion.settings.coding == "events"
        entries = inputs if events else self.conversion.entries(*inputs)
        state = torch.get_rng_state()
        spikes = listen(self.spiking, self.conversion, entries)
        coded = tuple(spikes.inputs.values())
        float_values = values(self.core, coded if events else entries, self.wanted)
        rungs: list[Values] = [float_values, values(self.core, coded, self.wanted)]
        rungs += [values(self.rounded[kind].graph, coded, self.wanted) for kind in self._kinds()]
        runs = [listen(self.real, self.real_record, entries, trains=spikes.trains), spikes]
        runs.append(self._limited(entries, spikes, None))
        for id in self.conversion.layers:
            self.cumulative[id].add([*(r[id] for r in rungs), *(r.values[id] for r in runs)])
        leaving = [*(tuple(r[id] for id in self.exits) for r in rungs), *(r.outputs for r in runs)]
        for n, sums in enumerate(self.outputs):
            sums.add([outputs[n] for outputs in leaving])
        self._alone(entries, coded, float_values, spikes)
        self._tally(rungs, runs, leaving, inputs, labels)
        torch.set_rng_state(state)
        self._measure(entries, float_values, runs[-1])
        self.curve.add(entries, [float_values[id] for id in self.exits], inputs, labels, self.whole)
        self.collector.add(float_values, runs[-1].values)

    def _alone(self, entries: tuple[Tensor, ...], coded: tuple[Tensor, ...], truth: Values, spikes: Run) -> None:
        """Measure every layer with the float network's values on its input."""
        given = {id: truth[id] for id in self.neurons}
        handed = (*coded, *given.values())
        readouts = [id for id in self.conversion.layers if id not in given]
        first = values(self.float_alone.graph, handed, list(self.conversion.layers))
        alone = {kind: self.corrected_alone if kind == "corrected" else self.codes_alone for kind in self._kinds()}
        z = {
            found: values(found.graph, handed, [*found.rectified.values(), *readouts])
            for found in dict.fromkeys(alone.values())
        }
        runs = [
            listen(self.real, self.real_record, entries, given=given, trains=spikes.trains),
            listen(self.spiking, self.conversion, entries, given=given, trains=spikes.trains),
        ]
        runs.append(self._limited(entries, runs[-1], given))
        for id in self.conversion.layers:
            if id in given:
                floats = [
                    activate(z[found][found.rectified[id]])
                    for found, activate in zip(alone.values(), self.activations[id], strict=True)
                ]
            else:
                floats = [z[found][id] for found in alone.values()]
            self.local[id].add([truth[id], first[id], *floats, *(r.values[id] for r in runs)])

    def _limited(self, entries: tuple[Tensor, ...], spikes: Run, given: Values | None) -> Run:
        if not self.limits:
            return spikes
        return listen(
            self.spiking, self.conversion, entries, given=given, trains=spikes.trains or None, limits=self.limits
        )

    def _tally(
        self,
        rungs: Sequence[Values],
        runs: Sequence[Run],
        leaving: Sequence[Sequence[Tensor]],
        inputs: tuple[Tensor, ...],
        labels: Tensor | None,
    ) -> None:
        for id, fired in runs[-1].firing.items():
            self.firing[id] = self.firing[id] + fired if id in self.firing else fired
            a = rungs[2][id]
            self.clipped[id] += int((a > self.tops[id].to(a)).sum())
        n = leaving[0][0].shape[0]
        self.samples += n
        if labels is None:
            return
        verdicts = [judged(self.task, self.whole(inputs, tuple(outputs)), labels) for outputs in leaving]
        right = [verdict.double().cpu() for verdict in verdicts if verdict is not None]
        if len(right) == len(leaving):
            self.labelled += n
            for name, by_sample in zip(self._names(), right, strict=True):
                self.right[name] = self.right.get(name, 0.0) + float(by_sample.sum())
            # Paired, sample by sample: what both networks get right or wrong alike says nothing about the conversion.
            before, after = right[0], right[-1]
            lost, won = int((after < before).sum()), int((after > before).sum())
            self.changed = (self.changed[0] + lost, self.changed[1] + won)

    def _names(self) -> list[str]:
        numbers = {"relu": "M2", "clip": "M3", "counts": "M4", "corrected": "M4, corrected"}
        return ["M0", "M1", *(numbers[kind] for kind in self._kinds()), "M5", "M6", "M7"]

    def _measure(self, entries: tuple[Tensor, ...], truth: Values, last: Run) -> None:
        """Compare the network itself, run as anybody runs it, with the float one."""
        found: Any = last.outputs if self.limits else self.spiking(*entries)
        found = found if isinstance(found, tuple) else (found,)
        for sums, id, value in zip(self.measured, self.exits, found, strict=True):
            a = truth[id].double()
            sums[0] += float((value.double() - a).square().sum())
            sums[1] += float(a.square().sum())

    # ---- the result ------------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        output = Sums.joined(self.outputs)
        measured = (sum(g / (a or g or 1.0) for g, a in self.measured) / len(self.measured)) ** 0.5
        settings = self.conversion.settings.to_dict()
        used = max((self.conversion.layers[id].fraction_bits for id in self.neurons), default=0)
        layers = tuple(self._layer(id) for id in self.conversion.layers)
        curve = self.curve.points(self.labelled)
        accuracy = {name: value / self.labelled for name, value in self.right.items()} if self.labelled else {}
        return Ledger(
            model=self.conversion.graph.model,
            settings=settings,
            steps=self.conversion.settings.steps,
            samples=self.samples,
            terms=self.terms,
            layers=layers,
            output=output,
            measured=measured,
            accuracy=accuracy,
            curve=curve,
            lossy=self.lossy,
            notes=notes(
                output,
                curve,
                lossy=self.lossy,
                samples=self.labelled,
                changed=self.changed,
                metric=self.task.wording.metric,
            ),
            advice=advise(
                output,
                layers,
                {**settings, "fraction_bits": used, "corrected": tuple(self.conversion.correction.get("kinds", ()))},
                self.conversion.calibration,
                steps=self.conversion.settings.steps,
                changed=self.changed if self.labelled else None,
            ),
            metric=self.task.wording.metric,
            pictures=self.collector.pictures(),
        )

    def _layer(self, id: str) -> LayerErrors:
        report, fired = self.conversion.layers[id], self.firing.get(id)
        paths = {op.id.replace("#", "_"): op.path for op in self.core}
        found: LayerErrors = LayerErrors(
            id=id,
            path=report.path,
            kind=report.kind,
            weights=tuple(dict.fromkeys(paths[word] for word in report.weights)),
            elements=self.cumulative[id].n,
            local=self.local[id].gap(),
            cumulative=self.cumulative[id].gap(),
        )
        if fired is None:
            return found
        counts = fired.possible // self.conversion.settings.steps * len(fired.fired)
        over, under = (None if v is None else v / counts for v in (fired.over, fired.under))
        return replace(
            found,
            clipped=self.clipped[id] / found.elements,
            differs=None if over is None or under is None else over + under,
            over=over,
            under=under,
            largest=fired.largest,
            rate=fired.spikes / fired.chances,
            silent=float((fired.fired == 0).double().mean()),
            saturated=float((fired.fired == fired.possible).double().mean()),
        )


def _terms(*, lossy: bool, corrected: bool) -> tuple[str, ...]:
    middle = ("reset",) if lossy else ("truncation", *(["correction"] if corrected else []), "unevenness")
    return ("input", "weights", "clipping", *middle, "integer", "saturation")


class _Stub(nn.Module):
    """Stands where the spiking part stands, and returns what it is told to."""

    outputs: tuple[Tensor, ...] = ()

    def forward(self, *inputs: Tensor) -> Any:
        del inputs
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs


def _whole(conversion: Conversion) -> Whole:
    """Return a function from the inputs of the whole network and what leaves its spiking part to its result."""
    if covers(conversion.graph, conversion.region):
        return lambda _inputs, outputs: outputs[0] if len(outputs) == 1 else outputs
    stub = _Stub()
    network = rebuild(replaced(conversion.graph, conversion.region, stub))

    def result(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Any:
        stub.outputs = outputs
        return network(*inputs)

    return result


def _without_output(graph: Graph) -> Graph:
    return Graph(tuple(op for op in graph if op.kind != "output"), graph.modules, graph.model)


def _at_home(network: fx.GraphModule, graph: Graph) -> fx.GraphModule:
    """Return the network on the device of the float graph."""
    home = next((p.device for m in graph.modules.values() for p in m.parameters()), torch.device("cpu"))
    here = next((p.device for p in network.parameters()), home)
    return network if here == home else copy.deepcopy(network).to(home)
