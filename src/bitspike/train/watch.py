"""Layers that never fire, or always, found while a network trains, each with what helps.

Such a layer tells the next one nothing about the input, whatever the accuracy is. It is looked for after every epoch,
over the first batch of the epoch, with the network in evaluation mode and on the side: training takes no notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

from torch import Tensor, nn

from bitspike.errors import some, warn
from bitspike.nn.aside import aside
from bitspike.nn.declared import still_holds
from bitspike.nn.firing import Recorder
from bitspike.nn.frames import as_in_training
from bitspike.nn.neurons.base import Neuron
from bitspike.ops.wrappers import unwrapped
from bitspike.train.observe import EpochRecord, Observer

State = Literal["never", "always"]
MOST = {"silent": 0.9, "saturated": 0.5}
"""From which share on the neurons of a layer are spoken of that never fired, or always, though others did."""
_OTHERWISE = "a norm before it (bs.ThresholdBatchNorm), other initial weights, or a lower learning rate"


class Watch:
    """Watches how the layers of a network fire, and says which of them never do, or always, once each.

    Args:
        observer: hears of them in notes; where there is none, warnings say it, of whole layers alone.
    """

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._told: dict[str, State] = {}
        self._looked = False

    def go_on(self, record: EpochRecord) -> None:
        """Take up what was told after an earlier epoch."""
        self._told, self._looked = _states(record), True

    def measure(self, model: nn.Module, x: Any) -> dict[str, dict[str, float]] | None:
        """Return how every layer fires on a batch, by its path; None where there are no neurons, or none is called."""
        network = unwrapped(model)
        if not any(isinstance(module, Neuron) for module in network.modules()):
            return None
        with aside(network), as_in_training(network, x), Recorder(network) as recorder:
            network(x)
        if not recorder.heard:
            return None
        names = ("rate", "silent", "saturated")
        return {path: {name: getattr(layer, name) for name in names} for path, layer in recorder.layers().items()}

    def tell(self, record: EpochRecord, model: nn.Module, x: Any) -> None:
        """Say what is new about the layers after an epoch, whose first batch was ``x``."""
        states = _states(record)
        for state in ("never", "always"):
            if new := [path for path in states if states[path] == state != self._told.get(path)]:
                self._say(_sentence(new, state, unwrapped(model), x))
        if again := [path for path in self._told if path not in states]:
            self._say(f"some neurons of {some(again)} fire now, and not all of them always")
        if not self._looked and self._observer is not None and (layers := _mostly(record, states)):
            # That can be as it should be, at the border of images for example: a note, and never a warning.
            self._say(f"{some(layers)}, over the first batch of the epoch. What helps: another threshold, {_OTHERWISE}")
        self._told, self._looked = states, True

    def _say(self, text: str) -> None:
        if self._observer is None:
            warn(text)
        else:
            self._observer.note(text)


def _states(record: EpochRecord) -> dict[str, State]:
    return {**dict.fromkeys(record.never_fire, "never"), **dict.fromkeys(record.always_fire, "always")}


def _mostly(record: EpochRecord, states: Mapping[str, State]) -> list[str]:
    """Say of which layers most neurons never fired, or always, though not all."""
    said = {"silent": "never fired", "saturated": "always fired"}
    return [
        f"{layer[share]:.0%} of the neurons of {path} {said[share]}"
        for path, layer in (record.firing or {}).items()
        for share, most in MOST.items()
        if path not in states and layer[share] >= most
    ]


def _sentence(paths: Sequence[str], state: State, model: nn.Module, x: Any) -> str:
    """Say which layers are in a state, how far the first of them is from leaving it, and what helps."""
    first, others = paths[0], paths[1:]
    fires = f"{state} {'fires' if not others else 'fire'}"
    neuron = dict(model.named_modules()).get("" if first == "neuron" else first.partition("#")[0])
    ratio = _potential(neuron, state, model, x) if isinstance(neuron, Neuron) else None
    where = f"the potential of {first}" if others else "its potential"
    if ratio is None:
        said, way = "", f"a {'lower' if state == 'never' else 'higher'} threshold, {_OTHERWISE}"
    elif state == "never":
        said = f": {where} " + (f"reaches {ratio:.2g} of the threshold" if ratio > 0 else "never rises above 0")
        way = f"{_threshold(neuron, ratio / 2)}, {_OTHERWISE}" if ratio > 0 else _OTHERWISE
    else:
        said = f": {where} is at least {ratio:.3g} times the threshold"
        way = f"{_threshold(neuron, 2 * ratio)}, {_OTHERWISE}"
    whole = f"{some(paths)} {fires}{said}. What helps: {way}"
    return f"{whole}. Layers after it may follow: mend the first one first" if others else whole


def _threshold(neuron: nn.Module | None, factor: float) -> str:
    """Say which threshold would do."""
    assert isinstance(neuron, Neuron)
    if isinstance(neuron.law().threshold, Tensor):
        return f"thresholds of {factor:.1g} times their values"
    value = f"{float(f'{float(neuron.law().threshold) * factor:.1g}'):g}"
    return f"threshold={value} (of a recipe: --set neuron.threshold={value})"


def _potential(neuron: Neuron, state: State, model: nn.Module, x: Any) -> float | None:
    """Return the largest (never), or the smallest (always), potential of a layer over its threshold.

    None where the neuron has equations of its own.
    """
    if not still_holds(type(neuron), "law", "_rest", "_step", "scan", "forward"):
        return None
    ratios: list[float] = []

    def hear(_module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        (current,) = (*inputs, *named.values())
        threshold = neuron.law().threshold

        def keep(potential: Tensor, _spikes: Tensor) -> None:
            bar = threshold
            if isinstance(bar, Tensor) and bar.numel() > 1:
                bar = bar.to(potential).view(-1, *[1] * (potential.dim() - 2))
            ratio = potential / bar
            ratios.append(float(ratio.max() if state == "never" else ratio.min()))

        if current.shape[1]:
            neuron.scan(current, observe=keep)

    with aside(model), as_in_training(model, x), ExitStack() as hooks:
        hooks.callback(neuron.register_forward_pre_hook(hear, with_kwargs=True).remove)
        model(x)
    return None if not ratios else max(ratios) if state == "never" else min(ratios)
