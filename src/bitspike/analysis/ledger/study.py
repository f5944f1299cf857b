"""The study of one network: every rung of the ladder, and the sums over all batches that the ledger is read from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from bitspike.analysis.ledger.activations import Neurons, activation, by_channel, corrected
from bitspike.analysis.ledger.advice import advise
from bitspike.analysis.ledger.curve import Curve, notes
from bitspike.analysis.ledger.ladder import Rung, rung
from bitspike.analysis.ledger.ledger import Ledger
from bitspike.analysis.ledger.parts import LayerErrors, Sums
from bitspike.analysis.ledger.pictures import Collector
from bitspike.analysis.ledger.spikes import Firing, Limits, Run, limits_of, run_once
from bitspike.conversion.construct.records import Shifts
from bitspike.conversion.result import Conversion, conversion_of, spiking_part
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import values
from bitspike.integer.network import IntegerNetwork
from bitspike.tasks.task import Task, judged

Values = Mapping[str, Tensor]


class Study:
    """All rungs of one network, and the sums over what was measured on them.

    Args:
        network: from a conversion.
        limits: the lowered network with the limits of a chip; None has none.
        task: says which answers are right.
    """

    def __init__(self, network: nn.Module, limits: IntegerNetwork | None, task: Task) -> None:
        self.task = task
        self.conversion = conversion = conversion_of(network)
        self.core = _without_output(conversion.core)
        self.exits = conversion.core.ops[-1].inputs
        self.spiking = _at_home(spiking_part(network), conversion.graph)
        real = conversion.build(rounded=False)
        self.real, self.real_record = spiking_part(real), conversion_of(real)
        self.plain, self.plain_record = self.real, self.real_record
        if conversion.shifts.weights:  # corrected weights are part of the correction, not of the rounding to codes
            plain = replace(conversion, shifts=Shifts()).build(rounded=False)
            self.plain, self.plain_record = spiking_part(plain), conversion_of(plain)
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
        self.right: dict[str, float] = {}
        self.changed = (0, 0)
        self.labelled = self.samples = 0
        self.measured = [[0.0, 0.0] for _ in self.exits]
        self.collector = Collector(conversion, self.spiking)
        self.tops = {id: by_channel(conversion.layers[id].wanted, len(self.core[id].shape)) for id in self.neurons}
        self.activations = {
            id: [activation(self._record(kind), id, kind) for kind in self._kinds()] for id in self.neurons
        }
        self._write_rungs()

    def _write_rungs(self) -> None:
        known: dict[Conversion, dict[str, nn.Module]] = {self.plain_record: {}, self.real_record: {}}

        def written(record: Conversion, spiking: fx.GraphModule | None, **kwargs: Any) -> Rung:
            whole = rung(record, spiking, **kwargs, known=known[record])
            return replace(whole, graph=_without_output(whole.graph))

        # The codes of the network with real thresholds: where a skip or channels with values of their own meet weights,
        # rounding the thresholds may move a code, and that is part of what rounding them costs.
        self.rounded = {
            kind: written(self._record(kind), self.real if kind == "corrected" else self.plain, neurons=kind)
            for kind in self._kinds()
        }
        self.float_alone = written(self.plain_record, None, local=True)
        self.codes_alone = written(self.plain_record, self.plain, local=True)
        self.corrected_alone = written(self.real_record, self.real, local=True)

    def _record(self, kind: Neurons) -> Conversion:
        """Return the record of the network with real thresholds whose codes a rung has."""
        return self.real_record if kind == "corrected" else self.plain_record

    def _kinds(self) -> tuple[Neurons, ...]:
        """Return the functions of the float rungs from M2 on; formula (*) does not describe a reset to zero."""
        if self.lossy:
            return ("relu", "clip")
        return ("relu", "clip", "counts", "corrected") if self.corrected else ("relu", "clip", "counts")

    # ---- one batch -------------------------------------------------------------------------------------------------

    def add(self, inputs: tuple[Tensor, ...], labels: Tensor | None) -> None:
        """Measure one batch on every rung; labels are those of the task, or None."""
        events = self.conversion.settings.coding == "events"
        entries = inputs if events else self.conversion.entries(*inputs)
        state = torch.get_rng_state()
        # The spiking network runs first: its coder decides what enters, and all other rungs read the very same input.
        spikes = run_once(self.spiking, self.conversion, entries)
        coded = tuple(spikes.inputs.values())
        float_values = values(self.core, coded if events else entries, self.wanted)
        rungs: list[Values] = [float_values, values(self.core, coded, self.wanted)]
        rungs += [values(self.rounded[kind].graph, coded, self.wanted) for kind in self._kinds()]
        # M5 gets the very spikes that entered M6, so that a random coder makes no difference between them.
        runs = [run_once(self.real, self.real_record, entries, trains=spikes.trains), spikes]
        runs.append(self._limited(entries, spikes, None))
        for id in self.conversion.layers:
            self.cumulative[id].add([*(r[id] for r in rungs), *(r.values[id] for r in runs)])
        leaving = [*(tuple(r[id] for id in self.exits) for r in rungs), *(r.outputs for r in runs)]
        for n, sums in enumerate(self.outputs):
            sums.add([outputs[n] for outputs in leaving])
        self._add_local(entries, coded, float_values, spikes)
        self._tally(rungs, runs, leaving, inputs, labels)
        torch.set_rng_state(state)  # so that a random coder draws the same spikes again
        self._measure(entries, float_values, runs[-1])
        self.curve.add(entries, [float_values[id] for id in self.exits], inputs, labels)
        self.collector.add(float_values, runs[-1].values)

    def _add_local(self, entries: tuple[Tensor, ...], coded: tuple[Tensor, ...], truth: Values, spikes: Run) -> None:
        """Measure every layer with the float network's values on its input."""
        substitutes = {id: truth[id] for id in self.neurons}
        handed = (*coded, *substitutes.values())
        readouts = [id for id in self.conversion.layers if id not in substitutes]
        # M1 on local rungs: float weights that read M0's values.
        first = values(self.float_alone.graph, handed, list(self.conversion.layers))
        alone = {kind: self.corrected_alone if kind == "corrected" else self.codes_alone for kind in self._kinds()}
        # M2 to M4 differ in the function of their neurons only, so what a neuron rectifies is computed once for them.
        z = {
            local: values(local.graph, handed, [*local.rectified.values(), *readouts])
            for local in dict.fromkeys(alone.values())
        }
        runs = [
            run_once(self.real, self.real_record, entries, substitutes=substitutes, trains=spikes.trains),
            run_once(self.spiking, self.conversion, entries, substitutes=substitutes, trains=spikes.trains),
        ]
        runs.append(self._limited(entries, runs[-1], substitutes))
        for id in self.conversion.layers:
            if id in substitutes:
                floats = [
                    activate(z[local][local.rectified[id]])
                    for local, activate in zip(alone.values(), self.activations[id], strict=True)
                ]
            else:
                floats = [z[local][id] for local in alone.values()]
            self.local[id].add([truth[id], first[id], *floats, *(r.values[id] for r in runs)])

    def _limited(self, entries: tuple[Tensor, ...], spikes: Run, substitutes: Values | None) -> Run:
        """Return the run with the limits of the chip; without limits it is the run of the spiking network."""
        if not self.limits:
            return spikes
        return run_once(
            self.spiking,
            self.conversion,
            entries,
            substitutes=substitutes,
            trains=spikes.trains or None,
            limits=self.limits,
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
            a = rungs[2][id]  # on M2 activations are not clipped yet
            self.clipped[id] += int((a > self.tops[id].to(a)).sum())
        n = leaving[0][0].shape[0]
        self.samples += n
        if labels is None:
            return
        verdicts = [judged(self.task, self.conversion.results(outputs, *inputs), labels) for outputs in leaving]
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
        outputs: Any = last.outputs if self.limits else self.spiking(*entries)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for sums, id, value in zip(self.measured, self.exits, outputs, strict=True):
            a = truth[id].double()
            sums[0] += float((value.double() - a).square().sum())
            sums[1] += float(a.square().sum())

    # ---- the result ------------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """Return the ledger of everything that was added."""
        output = Sums.joined(self.outputs)
        # The mean of relative squared errors; where the float result is 0 throughout, any error counts 1.
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
        errors = LayerErrors(
            id=id,
            path=report.path,
            kind=report.kind,
            weights=tuple(dict.fromkeys(paths[word] for word in report.weights)),
            elements=self.cumulative[id].n,
            local=self.local[id].gap(),
            cumulative=self.cumulative[id].gap(),
        )
        if fired is None:
            return errors
        # `possible` is samples times steps, so this is samples times neurons.
        counts = fired.possible // self.conversion.settings.steps * len(fired.fired)
        over, under, largest = (None, None, None) if fired.off is None else fired.off
        return replace(
            errors,
            clipped=self.clipped[id] / errors.elements,
            differs=None if over is None or under is None else over / counts + under / counts,
            over=None if over is None else over / counts,
            under=None if under is None else under / counts,
            largest=largest,
            rate=fired.spikes / fired.chances,
            silent=float((fired.fired == 0).double().mean()),
            saturated=float((fired.fired == fired.possible).double().mean()),
        )


def _terms(*, lossy: bool, corrected: bool) -> tuple[str, ...]:
    middle = ("reset",) if lossy else ("truncation", *(["correction"] if corrected else []), "unevenness")
    return ("input", "weights", "clipping", *middle, "integer", "saturation")


def _without_output(graph: Graph) -> Graph:
    return Graph(tuple(op for op in graph if op.kind != "output"), graph.modules, graph.model)


def _at_home(network: fx.GraphModule, graph: Graph) -> fx.GraphModule:
    """Return the network on the device of the float graph."""
    home = next((p.device for m in graph.modules.values() for p in m.parameters()), torch.device("cpu"))
    here = next((p.device for p in network.parameters()), home)
    return network if here == home else copy.deepcopy(network).to(home)
