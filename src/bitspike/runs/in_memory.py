"""A network in memory, measured as a run is: its accuracy, its proof, its agreement, its sizes and its energy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.analysis.comparison.rows import Measured
from bitspike.analysis.report.facts import ImageShown, ReportDetail
from bitspike.analysis.report.of_network import NetworkReport
from bitspike.conversion.result import Conversion
from bitspike.errors import DataError
from bitspike.hardware.energy.operations import energy
from bitspike.hardware.energy.report import EnergyReport
from bitspike.integer.codes import encode, is_timed
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.entries import Arrays
from bitspike.integer.saved.vectors import golden
from bitspike.integer.verify import verify
from bitspike.lowering.agreement import compare
from bitspike.nn.firing import Recorder
from bitspike.ops.wrappers import unwrapped
from bitspike.runs.integers import agreement_of, codes_of, sizes_of
from bitspike.runs.kinds.kind import SpikingNetwork
from bitspike.runs.measure import layers_of
from bitspike.runs.pictures import samples_shown
from bitspike.runs.record import environment, epochs_of
from bitspike.runs.spikes import mean_counts
from bitspike.tasks.batches import need_loader, pairs
from bitspike.tasks.task import Task
from bitspike.train import Evaluation, History, evaluate
from bitspike.train.evaluate import one_run_tells

TABLE = "horowitz-45nm"
SHOWN, GOLDEN, BILLED, AT_ONCE = 3, 2, 256, 250
"""Samples whose spikes are shown, that are saved with the network, that energy is counted by, that run at once."""
Batch = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class InMemory:
    """A network with its integers and the data that it is measured on.

    Args:
        model: the spiking network.
        net: its integers.
        data: batches of inputs and labels, or one pair of tensors.
        name: what it is called in tables.
        seed: of random coders.
        task: says which answers are right.
        history: of its training; None where it is not known.
        samples: how many samples are measured; None is all.
    """

    model: nn.Module
    net: IntegerNetwork
    data: Any
    name: str
    seed: int
    task: Task
    history: History | None = None
    samples: int | None = None

    def report(self) -> NetworkReport:
        """Measure the network, prove its integers, and put the report together."""
        certificate = verify(self.net, ((self.spiking.enter(x), y) for x, y in pairs(self.batches)))
        agreement = compare(self.model, self.net, self.batches, seed=self.seed, task=self.task)
        tested, activity = self._tested()
        metric, (bill, billed) = self.task.wording.metric, self._energy()
        spent = bill.energy_pj
        record = {
            "schema": 1,
            "made_by": "bs.report",
            "recipe": {"name": self.name, "data": {"kind": self.on}, "model": {"steps": self.net.steps}},
            metric: {
                "test": tested.accuracy,
                "validation": None,
                "by_step": tested.by_step or [],
                "lowered": agreement.lowered_accuracy,
            },
            "certificate": certificate.to_dict(),
            "agreement": agreement_of(agreement, metric),
            **sizes_of(self.net),
            "notes": list(self.net.notes),
            "activity": activity,
            "network": layers_of(self.net),
            "energy": bill.to_dict(),
            "epochs": epochs_of(self.history),
            "seed": self.seed,
            "environment": environment(self.history, self._device),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return NetworkReport(
            record=record,
            certificate=certificate,
            agreement=agreement,
            measured=Measured.of_network(record, energy_pj=spent),
            energy_by=f"by the table {TABLE} and the spikes of {billed:,} samples",
            net=self.net,
            vectors=self._vectors(),
            metrics=() if self.history is None else tuple(self.history.rows()),
            detail=ReportDetail(
                images=self._shown(),
                code_histograms=codes_of(self.net),
                exhibits=self.task.exhibits(tested.confusion, self._classes),
                samples=tested.samples,
            ),
        )

    @cached_property
    def batches(self) -> list[Batch] | Iterable[Batch]:
        """The data in batches that can be read several times."""
        data = self.data
        if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
            data = list(zip(*(part.split(AT_ONCE) for part in data), strict=True))
        need_loader(data)
        return data if self.samples is None else list(_first(data, self.samples, self._axis))

    @cached_property
    def spiking(self) -> SpikingNetwork:
        """The network with what its conversion knows of it."""
        record = unwrapped(self.model).__dict__.get("conversion")
        return SpikingNetwork(self.model, record=record if isinstance(record, Conversion) else None)

    @property
    def on(self) -> str:
        """What the data are called."""
        return str(getattr(getattr(self.data, "image_set", None), "name", "own data"))

    @cached_property
    def _beginning(self) -> Batch:
        """The first samples, and their labels."""
        for x, y in _first(self.batches, SHOWN, self._axis):
            return x, y
        raise DataError("the data hold no sample", fix="a loader of (inputs, labels), or a pair of tensors")

    @property
    def _axis(self) -> int:
        return 1 if is_timed(self.net) else 0

    @property
    def _device(self) -> str:
        return next((p.device.type for p in self.model.parameters()), "cpu")

    @property
    def _classes(self) -> tuple[str, ...]:
        names = getattr(getattr(self.data, "image_set", None), "classes", None)
        outputs = self.net.outputs[0].shape
        return tuple(names) if names else tuple(map(str, range(outputs[0] if outputs else 0)))

    def _tested(self) -> tuple[Evaluation, dict[str, Any]]:
        each_step = one_run_tells(self.model, self.batches)
        with Recorder(self.model) as recorder:
            tested = evaluate(self.model, self.batches, seed=self.seed, task=self.task, each_step=each_step)
        return tested, {layer: fired.to_dict() for layer, fired in recorder.layers().items()}

    def _energy(self) -> tuple[EnergyReport, int]:
        entering = (self.spiking.enter(x) for x, _ in _first(self.batches, BILLED, self._axis))
        means, ran = mean_counts(self.net, entering, seed=self.seed)
        return energy(self.net, means, table=TABLE, samples=ran, data=self.on), ran

    def _vectors(self) -> Arrays:
        (x, y), axis = self._beginning, self._axis
        entering = self.spiking.enter(x.narrow(axis, 0, min(GOLDEN, x.shape[axis])))
        codes = encode(self.net, entering, generator=torch.Generator().manual_seed(self.seed))
        labels = y[: codes.shape[1]]
        classes = isinstance(labels, Tensor) and labels.dim() == 1 and not labels.is_floating_point()
        return golden(self.net, codes, labels.numpy() if classes else None, seed=self.seed)

    def _shown(self) -> tuple[ImageShown, ...]:
        x, y = self._beginning
        return samples_shown(self.model, x.to(self._device), y, self._classes, self.task)


def _first(batches: Iterable[Batch], most: int, axis: int) -> Iterator[Batch]:
    """Yield batches until so many samples were read; the last one is cut to it."""
    left = most
    for x, y in pairs(batches):
        if left <= 0:
            return
        count = min(left, x.shape[axis])
        yield x.narrow(axis, 0, count), y[:count]
        left -= count
