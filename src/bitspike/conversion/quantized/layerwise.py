"""Fine-tune a spiking network layer by layer, so that its counts come closer to the levels of the quantized network.

For every unit, in the order of data flow, with the units before it tuned already:

    target = activation of the quantized network, frozen
    s_in   = spikes that arrive,                  a_in = mean over t of s_in
    a_out  = mean over t of what the unit's neurons send
    y      = the quantized unit applied to a_in
    loss   = MSE(y + stopgrad(a_out - y); target)          the value of a_out, the gradient of y

Weights, weight clips and the gain and shift of norms train, the clips of activations (the thresholds) do not. There is
no backward pass through time, and none through more than one unit.

Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868, section on layer-wise fine-tuning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import nn

from bitspike.arguments import checked
from bitspike.conversion.quantized.batches import Batches, device_of, labelled
from bitspike.conversion.quantized.flow import Flow, flow_of
from bitspike.conversion.quantized.layer import Hear, Judge, Layer
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.conversion.quantized.run import Run, part_of
from bitspike.conversion.quantized.tuning import TunedEpoch, TunedLayer, Tuning
from bitspike.conversion.quantized.units import Unit, need_one_call_each, units_of
from bitspike.conversion.quantized.walk import Batch, Walk, memory_of, sizes_of
from bitspike.errors import ConstraintError, DataError
from bitspike.nn import Neuron, SignedIF
from bitspike.nn.trace import evaluation
from bitspike.ops.decay import groups
from bitspike.ops.precision import HALVES, full_precision
from bitspike.ops.wrappers import unwrapped
from bitspike.patterns import Patterns, matching
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task

Observe = Callable[[TunedEpoch], None]


@torch.inference_mode(False)
@torch.enable_grad()
@checked
def tune_layers(
    network: nn.Module,
    batches: Batches,
    *,
    epochs: int = 1,
    judge: Batches | None = None,
    force: bool = False,
    neuron: type[Neuron] = SignedIF,
    target: nn.Module | None = None,
    include: Patterns = ("*",),
    skip: Patterns = (),
    ends: bool = False,
    learning_rate: float = 1e-3,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    memory: int = 2**31,
    seed: int = 0,
    task: Task = Classification(),
    observe: Observe | None = None,
) -> Tuning:
    """Fine-tune the spiking network of a quantized one, layer by layer, in place.

    The network that comes out is no better as a quantized network; it is the one to hand to ``bs.convert`` or to
    ``spiking_twin``. An epoch of a layer is kept where the accuracy of the whole spiking network does not fall, and
    taken back where it does. A run that is interrupted leaves the network as the last epoch that was kept. It can go on
    with ``include=`` the layers that are left and ``target=`` the network as it was first.

    Args:
        network: a quantized network, as ``bs.quantize`` returns it; it is changed, and left in its mode.
        batches: of training images, with labels unless ``judge`` has them. They are read once and kept as they come;
            every epoch goes through them in another order.
        epochs: of each layer, at least 1.
        judge: batches with labels, on which an epoch is judged; None is ``batches``. Test images are for the test.
        force: keep every epoch; labels are then not needed.
        neuron: ``bs.SignedIF`` or ``bs.IF``, the one that the spiking network will have.
        target: the quantized network whose activations are wanted; None is ``network`` as it is now.
        include, skip: patterns over the paths of quantized ReLUs, each for the layers that feed it; ``output`` is the
            last layer.
        ends: tune the first and last layer too.
        learning_rate, momentum, weight_decay: of SGD; each layer has its own optimizer. Only what has two or more axes
            decays.
        memory: bytes for spikes and levels; where they do not fit, they are computed again for every batch.
        seed: of the order of the batches.
        task: what the accuracy is.
        observe: is called after each epoch of each layer.

    Returns:
        what was done: loss and accuracy before and after, by layer.

    Raises:
        ConstraintError: an argument out of range, a network in half precision, a layer that is called twice, no layer
            to tune. ConversionError: as of ``spiking_twin``. DataError: there is no sample, or no labels to judge by.

    Example:
        >>> import torch
        >>> from bitspike.nn import QuantReLU
        >>> _ = torch.manual_seed(0)
        >>> layers = [nn.Linear(4, 16), QuantReLU(2, 1.0), nn.Linear(16, 16), QuantReLU(2, 1.0), nn.Linear(16, 3)]
        >>> net, x = nn.Sequential(*layers), torch.rand(256, 4)
        >>> tuning = tune_layers(net, x, force=True)
        >>> [layer.path for layer in tuning.layers], tuning.layers[0].parameters, tuning.steps
        (['3'], ('2.weight', '2.bias'), 3)
    """
    _need(epochs >= 1 and isinstance(epochs, int), f"epochs={epochs!r}", "at least 1 is needed", "epochs=1")
    for name, value in (("learning_rate", learning_rate), ("momentum", momentum), ("weight_decay", weight_decay)):
        _need(value >= 0 and math.isfinite(value), f"{name}={value}", "must be finite and at least 0", f"{name}=1e-3")
    network = unwrapped(network)
    twin = spiking_twin(network, neuron=neuron)
    flow, units = twin.flow, units_of(twin.flow, network)
    _need_single(network)
    chosen = _chosen(units, include, skip, ends=ends)
    need_one_call_each(flow, chosen)
    wanted = copy.deepcopy(network) if target is None else unwrapped(target)
    _need_like(flow, wanted)
    read = list(labelled(batches, "tune_layers"))
    judged = read if judge is None else list(labelled(judge, "tune_layers"))

    steps, device = flow.steps, device_of(network)
    runs = Run(flow, partial(part_of, twin), steps), Run(flow, partial(part_of, wanted))
    with evaluation(network), evaluation(twin), evaluation(wanted), full_precision():
        each = memory_of(units, sizes_of(runs[1], [x[:1].to(device) for x in read[0][0]]))
        bytes_ = each * ((steps + 1) * _samples(read) + (0 if judge is None else steps * _samples(judged)))
        keep = bytes_ <= memory
        spiking, real = (Walk(run, units, read, keep=keep, device=device) for run in runs)
        jury = spiking if judge is None else Walk(runs[0], units, judged, keep=keep, device=device)
        rate, accuracy = _judge(jury, task, force=force)
        layers: list[TunedLayer] = []
        for number, unit in enumerate(units):
            real.advance()
            if unit in chosen:
                optimizer = _optimizer(unit, learning_rate, momentum, weight_decay)
                tuned = Layer(unit, network, spiking, real, optimizer).tune(
                    epochs,
                    judge=rate,
                    accuracy=accuracy,
                    force=force,
                    generator=torch.Generator().manual_seed(seed + number),
                    hear=_heard(observe, unit, number=len(layers) + 1, layers=len(chosen), epochs=epochs),
                )
                accuracy = tuned.accuracy_after
                layers.append(tuned)
            if len(layers) == len(chosen):
                break
            spiking.advance()
            if jury is not spiking:
                jury.advance()
    return Tuning(
        layers=tuple(layers),
        neuron=neuron.__name__,
        steps=steps,
        samples=_samples(read),
        judged=_samples(judged) if rate else 0,
        force=force,
        seed=seed,
        kept_in_memory=keep,
    )


def _optimizer(unit: Unit, rate: float, momentum: float, decay: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups(unit.parameters.values(), decay), lr=rate, momentum=momentum)


def _chosen(units: Sequence[Unit], include: Patterns, skip: Patterns, *, ends: bool) -> list[Unit]:
    """Return the units that are tuned: those with parameters that train, between the first and the last layer."""
    able = [u for u in units if any(p.requires_grad for p in u.parameters.values())]
    names = [u.path for u in able]
    kept = matching(include, names, argument="tune_layers(include=)") if names else ()
    left = matching(skip, names, argument="tune_layers(skip=)") if names else ()
    chosen = [u for u in able if u.path in kept and u.path not in left and (ends or not u.ends)]
    if not chosen:
        raise ConstraintError(
            "tune_layers: there is no layer to tune; with parameters that train there are "
            f"{', '.join(f'{u.path} (a first or last layer)' if u.ends else u.path for u in able) or 'none'}",
            fix="ends=True tunes the first and last layer too"
            if any(u.ends for u in able)
            else "requires_grad_(True) for the layers that are to be tuned",
        )
    return chosen


def _judge(walk: Walk, task: Task, *, force: bool) -> tuple[Judge | None, float | None]:
    """Return what measures the accuracy of the spiking network, and what it is now; None where nothing is judged.

    Raises:
        DataError: epochs are to be judged, and there are no labels, or none of the task.
    """

    def accuracy() -> float | None:
        score = task.score()
        for out, labels in walk.answers():
            score.add(out, labels)
        return score.value

    labels = all(label is not None for _, label in walk.batches)
    if labels and (now := accuracy()) is not None:
        return cast(Judge, accuracy), now
    if force:
        return None, None
    raise DataError(
        "tune_layers: an epoch is kept where the accuracy does not fall, and "
        + ("outputs and labels are not those of the task" if labels else "the batches have no labels"),
        fix="judge=batches with labels of the task; or force=True, which keeps every epoch",
    )


def _samples(batches: Sequence[Batch]) -> int:
    return sum(len(inputs[0]) for inputs, _ in batches)


def _heard(observe: Observe | None, unit: Unit, *, number: int, layers: int, epochs: int) -> Hear:
    """Return what tells an observer of the epochs of a layer."""

    def hear(epoch: int, loss: float, accuracy: float | None, kept: bool) -> None:
        if observe is not None:
            observe(
                TunedEpoch(
                    path=unit.path,
                    layer=number,
                    layers=layers,
                    epoch=epoch,
                    epochs=epochs,
                    loss=loss,
                    accuracy=accuracy,
                    kept=kept,
                )
            )

    return hear


def _need(fits: bool, what: str, allowed: str, fix: str) -> None:
    if not fits:
        raise ConstraintError(f"tune_layers({what}): {allowed}", fix=fix)


def _need_single(network: nn.Module) -> None:
    half = next((name for name, p in network.named_parameters() if p.dtype in HALVES), None)
    if half is not None:
        raise ConstraintError(
            f"tune_layers: {half} is in half precision, which steps of fine-tuning would not change",
            fix="network.float(); a network trained by bs.fit in bf16 has float weights already",
        )


def _need_like(flow: Flow, target: nn.Module) -> None:
    """Refuse a target with other activations."""
    other = flow_of(target, "tune_layers(target=)")
    if (dict(other.neurons), other.bits) != (dict(flow.neurons), flow.bits):
        raise ConstraintError(
            f"tune_layers: the target has {len(other.neurons)} activations of {other.bits} bits, the network "
            f"{len(flow.neurons)} of {flow.bits} bits, and they must be the same ones",
            fix="target=copy.deepcopy(network), made before the network was tuned",
        )
