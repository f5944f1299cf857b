"""Networks that run time in a loop of their own: recognized when they cannot be traced, with the form that can be."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import nn

import bitspike.nn.neurons.base as neurons
from bitspike.nn import Neuron

_LIBRARIES = {
    "snntorch": "snnTorch",
    "spikingjelly": "SpikingJelly",
    "norse": "Norse",
    "sinabs": "Sinabs",
    "lava": "Lava",
    "rockpool": "Rockpool",
    "brainpy": "BrainPy",
}
_NEURONS = Path(neurons.__file__).parent
_OURS, _TORCH = str(_NEURONS.parents[1]), str(Path(torch.__file__).parent)
FORM = (
    "nn.Sequential(bs.Repeat(steps=T), bs.TimeDistributed(...layers before the neuron...), bs.LIF(...), "
    "bs.TimeDistributed(...layers after it...), bs.RateReadout()): values run as [T, N, ...], a neuron takes all of "
    "them in one call and starts from rest, bs.RateReadout() is the mean over the steps and bs.SumReadout() the sum"
)


def time_in_forward(model: nn.Module, error: BaseException, *, converts: bool) -> tuple[str, str] | None:
    """Return the problem and the way out where a network could not be traced because it runs time itself.

    ``error`` is what following it raised; ``converts`` says that it was to be converted, which a network with spiking
    neurons needs not.
    """
    if (foreign := _foreign(model)) is not None:
        path, kind, library = foreign
        problem = f"{path} is a {kind} of {library}, whose state lives between the calls of a loop over time"
        return problem, f"the neurons of bitspike in its place, which take all steps in one call: {FORM}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = next((n for n, frame in enumerate(frames) if Path(frame.filename).parent == _NEURONS), len(frames))
    if inside < len(frames) and frames[inside].name == "scan":
        users = [f for f in frames[:inside] if not f.filename.startswith((_OURS, _TORCH, "<"))]
        at = f" ({users[-1].filename}:{users[-1].lineno}: {users[-1].line})" if users else ""
        return (
            f"it runs time in a loop of its own, with neuron.scan{at}",
            f"modules over all steps in its place: {FORM}",
        )
    kinds = dict.fromkeys(type(m).__name__ for m in model.modules() if isinstance(m, Neuron))
    if not converts or not kinds:
        return None
    return (
        f"it has spiking neurons already: {', '.join(kinds)}",
        "such a network needs no conversion: bs.lower(model, example) makes integers of it",
    )


def _foreign(model: nn.Module) -> tuple[str, str, str] | None:
    for path, module in model.named_modules():
        for kind in type(module).__mro__:
            library = _LIBRARIES.get(kind.__module__.partition(".")[0])
            if library is not None:
                return path or "the network", type(module).__name__, library
    return None
