"""How far a lowered network is from the float network that was trained, measured; the certificate does not tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.conversion.result import Conversion, spiking_part
from bitspike.errors import ConstraintError, DataError
from bitspike.integer.arithmetic import Integers
from bitspike.integer.codes import counted_codes
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.values import decode
from bitspike.integer.verify import samples_in_memory
from bitspike.nn import BernoulliCoder
from bitspike.nn.trace import evaluation, listening
from bitspike.ops.entering import Clipped
from bitspike.ops.wrappers import bare, unwrapped
from bitspike.tasks.batches import pairs
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Comparison, Task

Int8s = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Agreement:
    """Float network against integer network on the same inputs.

    Args:
        spikes: share of equal spikes over all neurons, steps and samples, 0 to 1.
        layers: the same share by layer.
        predictions: share of samples with the same answer, that is, the same predicted class.
        accuracy: the metric of the task, of the float network, 0 to 1.
        lowered_accuracy: of the integer network.
        samples: inputs compared.
        inputs_clipped: input values that lay beyond the grid of the input and were clipped to it, on both sides.
    """

    spikes: float
    layers: dict[str, float]
    predictions: float
    accuracy: float
    lowered_accuracy: float
    samples: int
    inputs_clipped: int = 0

    @property
    def accuracy_difference(self) -> float:
        """Accuracy of the integers minus that of the float network."""
        return self.lowered_accuracy - self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "accuracy_difference": self.accuracy_difference}


@dataclass
class Tally:
    """Equal spikes, counted batch by batch, and how far the answers agree as the task understands it."""

    answers: Comparison
    equal: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    clipped: Clipped = field(default_factory=Clipped)

    def spikes(
        self,
        net: IntegerNetwork,
        floats: Mapping[str, Sequence[Int8s]],
        integers: Mapping[str, Int8s],
        part: slice = slice(None),
    ) -> None:
        """Count the spikes of one batch: what :func:`recorded` kept of the float network, and the integers by node.

        The integers may be those of a part of the samples.

        Raises:
            ConstraintError: the float network has no such neurons, or others: it is not the one that was lowered.
        """
        for node in net.neurons:
            a, b = _calls(floats, node.path, node.call)[:, part], integers[node.id]
            if a.shape != b.shape:
                raise ConstraintError(
                    f"the neurons of {node.path!r} send {list(a.shape)} in the float network and {list(b.shape)} as "
                    "integers: this is another network than the one that was lowered",
                    fix=_LOWERED,
                )
            self.equal[node.path] += int((a == b).sum())
            self.total[node.path] += b.size

    def result(self) -> Agreement:
        """Return the shares, and say what was clipped.

        Raises:
            DataError: no sample was counted.
        """
        if self.answers.samples == 0:
            raise DataError(
                "there is nothing to compare: the batches hold no sample; an iterator may have been read to its end "
                "before",
                fix="pass the loader itself, not iter(loader)",
            )
        self.clipped.warn()
        agreed = self.answers.result()
        return Agreement(
            spikes=self.equal.total() / max(1, self.total.total()),
            layers={path: self.equal[path] / count for path, count in self.total.items()},
            predictions=agreed.answers,
            accuracy=agreed.first,
            lowered_accuracy=agreed.second,
            samples=self.answers.samples,
            inputs_clipped=self.clipped.values,
        )


_LOWERED = "bs.compare(model, bs.lower(model, example), batches), with one and the same model"


def _calls(floats: Mapping[str, Sequence[Int8s]], path: str, call: int) -> Int8s:
    """Return what the neurons of a path sent when they were called for the nth time."""
    sent = floats.get(path, ())
    if call >= len(sent):
        raise ConstraintError(
            f"the float network calls neurons {path!r} {len(sent)} times, its integers at least {call + 1}: it is not "
            "the spiking network that was lowered",
            fix=f"{_LOWERED}; an ordinary network becomes a spiking one by bs.convert",
        )
    return sent[call]


@torch.no_grad()
@checked
def compare(
    model: nn.Module,
    net: IntegerNetwork,
    batches: Iterable[tuple[Any, Any]],
    *,
    seed: int = 0,
    task: Task = Classification(),
) -> Agreement:
    """Run a float network and its integers side by side; ``bs.compare("runs/a", "runs/b")`` compares finished runs.

    Args:
        model: what was lowered; it is run in evaluation mode and single precision. Of a network that was converted in
            part, or takes several inputs, the host's parts stand around the integers.
        net: what :func:`bitspike.lowering.lower.lower` made of it; one read-out of class scores.
        batches: inputs and labels, whole numbers [N] or shares of classes [N, classes]. Several inputs are a tuple of
            tensors.
        seed: of the random coder, where the network has one; both sides see the same spikes.
        task: says when two networks give the same answer, and which answers are right.

    Raises:
        ConstraintError: the network has more than one read-out, inputs are none of its own, as of ``bs.encode``, or
            one of the two is no network, or not that of the other.
        DataError: there is no sample, a batch is no pair, or labels are no classes.
    """
    _need_networks(model, net)
    host = _host(model)
    if host is None:
        task.need_outputs(len(net.outputs))
    engine, size = TorchEngine(net), samples_in_memory(net)
    tally = Tally(task.comparison())
    coders = [m for m in model.modules() if isinstance(m, BernoulliCoder)]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    generators = [coder.generator for coder in coders]
    try:
        for number, (x, y) in enumerate(pairs(batches, several=host is not None)):
            for coder in coders:
                coder.generator = torch.Generator().manual_seed(seed + number)
            images = tuple(part.to(device) for part in (x if isinstance(x, list | tuple) else (x,)))
            entries = images if host is None else host.entries(*images)
            enters = entries[0] if host is None else host.pack(entries, tally.clipped)
            count = tally.clipped if len(entries) == 1 else Clipped()  # a row holds codes, which were counted just now
            codes = counted_codes(net, enters, count, generator=torch.Generator().manual_seed(seed + number))
            images = tuple(x if x.is_floating_point() else x.float() for x in images)  # counts are as good as real
            with bare(model) as network, evaluation(network), recorded(_part(network, host)) as spikes:
                outputs = network(*images)
            totals: dict[str, list[Integers]] = {output.id: [] for output in net.outputs}
            # A trace has the potentials of all neurons at all steps, so that a whole batch may not fit into memory.
            for start in range(0, max(1, codes.shape[1]), size):
                part = slice(start, start + size)
                trace = engine.run(codes[:, part])
                tally.spikes(net, spikes, trace.spikes, part)
                for id, total in trace.outputs.items():
                    totals[id].append(total)
            leaving = [decode(output, np.concatenate(totals[output.id])) for output in net.outputs]
            tally.answers.add(outputs, _lowered(leaving) if host is None else host.results(leaving, *images), y)
    finally:
        for coder, generator in zip(coders, generators, strict=True):
            coder.generator = generator
    return tally.result()


def _need_networks(model: object, net: object) -> None:
    if not isinstance(model, nn.Module):
        raise ConstraintError(
            f"model is of type {type(model).__name__}, needed is the network that was lowered", fix=_LOWERED
        )
    if not isinstance(net, IntegerNetwork):
        raise ConstraintError(f"net is of type {type(net).__name__}, needed is an integer network", fix=_LOWERED)


def _host(model: nn.Module) -> Conversion | None:
    """Return the record of a network whose integers do not take what it takes, or give what it gives."""
    conversion = unwrapped(model).__dict__.get("conversion")
    if not isinstance(conversion, Conversion):
        return None
    several = sum(op.kind == "input" for op in conversion.core) > 1
    return conversion if several or spiking_part(model) is not unwrapped(model) else None


def _part(network: nn.Module, host: Conversion | None) -> nn.Module:
    return network if host is None else spiking_part(network)


def _lowered(leaving: Sequence[npt.NDArray[Any]]) -> Tensor | tuple[Tensor, ...]:
    """Return what the integers give in the form in which a network returns it: one tensor, or a tuple of several."""
    outputs = tuple(torch.from_numpy(values) for values in leaving)
    return outputs[0] if len(outputs) == 1 else outputs


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, list[Int8s]]]:
    """Keep what every neuron of a model sends while a block runs: path to one int8 [T, N, ...] per call."""
    spikes: dict[str, list[Int8s]] = defaultdict(list)
    with listening(model, lambda path, sent: spikes[path].append(sent.to(torch.int8).cpu().numpy())):
        yield spikes
