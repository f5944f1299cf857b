"""The module that a quantized network is: it runs a graph, and its state says of which bits it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from bitspike.errors import some
from bitspike.graph.shown import ShownNetwork
from bitspike.nn.activation import QuantReLU
from bitspike.ops.wrappers import strip_prefixes
from bitspike.weights.path import plain_name

_STATE, _PATHS = "_extra_state", ".parametrizations."
State = dict[str, Any]


class Quantized(ShownNetwork, fx.GraphModule):
    """A quantized network, as ``bs.quantize`` returns it.

    Its state_dict has the bits of every activation and the grid of every learned weight clip; the state of a network
    of other bits is refused and changes nothing.
    """

    @classmethod
    def of(cls, network: fx.GraphModule) -> Quantized:
        """Return the network that runs the same graph with the same modules."""
        return cls(network, network.graph, class_name=type(network).__name__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Quantized:
        copied: Quantized = super().__deepcopy__(memo)  # type: ignore[assignment]
        type(copied).__name__ = type(self).__name__  # each has a class of its own; torch calls a copy's GraphModule
        return copied

    def get_extra_state(self) -> Tensor:
        """Return the bits of the activations, as text in uint8, which every file of weights can hold."""
        bits = (f"{name}: QuantReLU(bits={m.bits})" for name, m in self.named_modules() if isinstance(m, QuantReLU))
        return torch.tensor(list("\n".join(bits).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Do nothing: what is saved is what the modules are, and was compared before anything was loaded."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, *more: Any
    ) -> None:
        strip_prefixes(self._modules, state_dict, prefix)
        own = self.state_dict(prefix=prefix)
        theirs = {key: value for key, value in state_dict.items() if key.startswith(prefix)}
        if problem := _other_tensors(own, theirs, strict=strict) or _other_grids(own, theirs, prefix):
            more[-1].append(problem)
            state_dict.clear()  # what is refused changes nothing
            state_dict.update(own)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *more)


def _other_grids(own: State, state: State, prefix: str) -> str:
    """Say where a state was saved with other bits or another grid; an empty text if nowhere."""
    texts = [key for key in own if key.endswith(_STATE) and key in state]
    foreign = [f"{key}: {_described(state[key])}" for key in texts if not _is_text(state[key])]
    if foreign:
        return _listed(
            "the state was not saved by a quantized network, whose grids stand there as text in uint8",
            foreign,
            fix="leave those keys out and load with strict=False; the network then keeps its own grids",
        )
    mine, theirs = ({k: v for key in texts for k, v in _lines(key, s[key], prefix).items()} for s in (own, state))
    places: dict[tuple[str, str], list[str]] = {}
    for at in dict.fromkeys((*theirs, *mine)):
        pair = theirs.get(at, "a plain ReLU"), mine.get(at, "a plain ReLU")
        if pair[0] != pair[1]:
            places.setdefault(pair, []).append(at)
    if not places:
        return ""
    rows = [f"{some(at, most=3)}: the state has {theirs}, the network {mine}" for (theirs, mine), at in places.items()]
    return _listed(
        "the state is that of a network with other grids",
        rows,
        fix="load it into bs.quantize(model, example, bits=...) with the bits of the state; bs.quantize(that network, "
        "example, bits=...) takes its weights and clips to other bits",
    )


def _listed(problem: str, rows: list[str], *, fix: str) -> str:
    """Return an error as ``load_state_dict`` lists it, a line for each place."""
    return "\n\t  ".join([f"{problem}:", *rows, f"fix: {fix}"])


def _is_text(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.dim() == 1


def _described(value: object) -> str:
    """Say in a few words what stands where a text is expected."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _other_tensors(own: State, state: State, *, strict: bool) -> str:
    """Say which tensors have another shape, and which are missing or too many; an empty text if none.

    The state of the network without grids may name a weight plainly.
    """
    plain = {key: name for key in own if (name := plain_name(key)) != key}
    shapes = {name: list(own[key].shape) for key, name in plain.items()}
    shapes |= {key: list(value.shape) for key, value in own.items() if not key.endswith(_STATE)}
    other = [
        f"{key} {list(value.shape)} instead of {shapes[key]}"
        for key, value in state.items()
        if key in shapes and isinstance(value, Tensor) and list(value.shape) != shapes[key]
    ]
    missing = [k for k in own if k not in state and plain.get(k, k) not in state and not k.endswith(_STATE)]
    extra = [key for key in state if key not in own and key not in shapes]
    said = [f"of another shape: {some(other, most=3)}"] if other else []
    said += [f"missing: {some(missing, most=3)}"] if missing and strict else []
    said += [f"not in this network: {some(extra, most=3)}"] if extra and strict else []
    if not said:
        return ""
    return _listed(
        "the state is not that of this quantized network",
        said,
        fix="the whole state of a network of the same layers; that of a float network goes into that network, and "
        "bs.quantize(that network, example, bits=...) makes its clips",
    )


def _lines(key: str, text: Tensor, prefix: str) -> dict[str, str]:
    """Return the words of a saved text by place: that of the whole network has a line for every activation."""
    words = bytes(text.tolist()).decode(errors="replace")
    name = key.removeprefix(prefix).removesuffix(_STATE).split(_PATHS)[0].strip(".")
    if name:
        return {name: words}
    return dict(line.partition(": ")[::2] for line in words.splitlines())
