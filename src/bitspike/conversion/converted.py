"""The module that a conversion returns: a graph that runs, with its record, and a state_dict that knows its numbers.

Weights are codes times steps, and the steps, thresholds and grids that calibration found are no tensors. The
state_dict carries them, so that weights never run with the numbers of another calibration:

    conversion.numbers      float64 [k]: every step, threshold, gain and grid that is no tensor, in the order of modules
    conversion.value.<id>   float64 [1] or [C]: the real value of a rate of 1, by operation
    conversion.grid.<id>    float64 [3]: scale, smallest and largest code of what enters, by entry
    conversion.bias.<id>, conversion.initial.<id>, conversion.weights.<id>
                            what corrections found: biases and first potentials by neuron, real weights by layer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.construct.records import Shifts
from bitspike.errors import ConstraintError
from bitspike.graph.shown import ShownNetwork, layers_table
from bitspike.nn import Encoder, Gain, Neuron
from bitspike.nn.counts import Codes
from bitspike.ops.grids import Grid
from bitspike.ops.precision import single
from bitspike.ops.wrappers import strip_prefixes
from bitspike.tables import Table
from bitspike.weights.path import Quantize, WeightPath
from bitspike.weights.schemes import FixedPoint

_KEY = "conversion."
_OTHER = (
    "the state was saved by a conversion with other values of spikes, steps, thresholds, grids or corrections than "
    "this network has, and its weights mean something only with those.\n\t  fix: make the network with those of the "
    "state: bs.convert(model, example, calibrate=state, ...) with the float weights and the other choices of then, "
    "correct left out. Or keep the integers: bs.save(bs.lower(network, example), folder)"
)
_FLOAT = (
    "the state has no conversion.numbers, so it is not that of a converted network.\n\t  fix: load it into the network "
    "that is converted, and convert that"
)


class Converted(ShownNetwork, fx.GraphModule):
    """A converted network; ``conversion`` is its record, ``spiking`` the part that spikes.

    Inputs of half precision are taken as the same numbers in single precision, and so are events that are integers or
    truth values.
    """

    conversion: Any
    spiking: nn.Module

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the network."""
        events = self.conversion.settings.coding == "events"
        read = _counted if events else single
        return super().__call__(*map(read, inputs), **{name: read(x) for name, x in named.items()})

    def _shown(self) -> Table:
        record = self.__dict__.get("conversion")
        below = () if record is None else record.table().below
        return layers_table(self, f"{type(self).__name__}, converted", below)

    def __deepcopy__(self, memo: dict[int, Any]) -> Converted:
        memo[id(self.conversion)] = self.conversion  # frozen: the copy has the same
        copied: Converted = super().__deepcopy__(memo)  # type: ignore[assignment]
        with_record(copied, self.conversion, memo[id(self.spiking)])
        return copied

    def __copy__(self) -> Converted:
        copied = Converted(self, self.graph, class_name=type(self).__name__)
        return with_record(copied, self.conversion, copied if self.spiking is self else self.spiking)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        record = self.conversion
        destination[f"{prefix}{_KEY}numbers"] = numbers_of(self.spiking)
        for id, value in record.lambdas.items():
            destination[f"{prefix}{_KEY}value.{id}"] = value.detach().double().cpu().clone()
        for id, grid in record.grids.items():
            numbers = (grid.scale, grid.low, grid.high)
            destination[f"{prefix}{_KEY}grid.{id}"] = torch.tensor(numbers, dtype=torch.float64)
        for name, value in _shift_entries(record.shifts).items():
            destination[f"{prefix}{_KEY}{name}"] = value.detach().cpu().clone()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, missing_keys: list[str], *more: Any
    ) -> None:
        strip_prefixes(self._modules, state_dict, prefix)
        numbers = state_dict.get(f"{prefix}{_KEY}numbers")
        if numbers is None or not (
            torch.equal(numbers.cpu().double(), numbers_of(self.spiking))
            and _same(saved_shifts(state_dict, prefix=prefix), self.conversion.shifts)
        ):
            more[-1].append(_FLOAT if numbers is None else _OTHER)
            state_dict.clear()  # what is refused changes nothing
            state_dict.update(self.state_dict(prefix=prefix))
        for key in [key for key in state_dict if key.startswith(prefix + _KEY)]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing_keys, *more)


def with_record(network: Converted, conversion: Any, spiking: nn.Module) -> Converted:
    """Give a network its record and say which part of it spikes; plain attributes, no part of the weights."""
    network.__dict__["conversion"] = conversion
    network.__dict__["spiking"] = spiking
    return network


def _counted(x: Any) -> Any:
    """Return integers and truth values as the same numbers in single precision; the rest as :func:`single`."""
    whole = isinstance(x, Tensor) and not x.is_floating_point() and not x.is_complex()
    return x.float() if whole else single(x)


def numbers_of(spiking: nn.Module) -> Tensor:
    """Return every number that a spiking network computes with and that is no tensor of its own, float64 [k]."""
    numbers = [float(n) for module in spiking.modules() for n in _numbers(module)]
    return torch.tensor(numbers, dtype=torch.float64)


def _numbers(module: nn.Module) -> Iterator[float]:
    if isinstance(module, WeightPath):
        stage = module.quantize
        if isinstance(stage, Quantize) and isinstance(stage.scheme, FixedPoint):
            yield from (stage.scheme.step, stage.scheme.bits, *(stage.scheme.codes or ()))
    elif isinstance(module, Neuron):
        yield from (v for v in (module.threshold, module.initial) if not isinstance(v, Tensor))
        if (retract := module.law().retract) is not None:
            yield retract
    elif isinstance(module, Gain) and not isinstance(module.gain, Tensor):
        yield module.gain
    elif isinstance(module, Codes):
        yield from (module.grid.scale, module.grid.low, module.grid.high)
    elif isinstance(module, Encoder):
        yield module.steps


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state_dict without what wrappers put before its names.

    Example:
        >>> list(plain_names({"module.conversion.numbers": torch.zeros(1)}))
        ['conversion.numbers']
    """
    plain = dict(state)
    if any(f".{_KEY}numbers" in f".{key}" for key in plain):  # of a converted network; operations may be named so
        strip_prefixes((), plain, "")
    return plain


def saved_lambdas(state: Mapping[str, Tensor], at: Iterable[str]) -> dict[str, Tensor]:
    """Return the values of spikes of some neurons, from a saved state or from a mapping by operation.

    Raises:
        ConstraintError: a neuron has no value.

    Example:
        >>> saved_lambdas({"conversion.value.relu": torch.ones(1), "0.bias": torch.zeros(2)}, ["relu"])
        {'relu': tensor([1.])}
    """
    values = _below(f"{_KEY}value.", state) or state
    if missing := [id for id in at if id not in values]:
        raise ConstraintError(
            f"convert(calibrate=...): no value is given for {', '.join(missing)}",
            fix="batches of data instead, or the state_dict of a network converted with the same include and exclude",
        )
    return {id: values[id] for id in at}


def saved_shifts(state: Mapping[str, Tensor], *, prefix: str = "") -> Shifts:
    """Return the corrections in the state_dict of a converted network; none for other mappings.

    Example:
        >>> saved_shifts({"conversion.bias.relu": torch.ones(1)}).bias, saved_shifts({}).weights
        ({'relu': tensor([1.])}, {})
    """
    saved = {kind.name: _below(f"{prefix}{_KEY}{kind.name}.", state) for kind in fields(Shifts)}
    return Shifts(**{kind: {id: x.detach().cpu() for id, x in values.items()} for kind, values in saved.items()})


def _shift_entries(shifts: Shifts) -> dict[str, Tensor]:
    """Return corrections by their names in a state_dict."""
    return {f"{kind.name}.{id}": x for kind in fields(Shifts) for id, x in getattr(shifts, kind.name).items()}


def _same(a: Shifts, b: Shifts) -> bool:
    one, other = _shift_entries(a), _shift_entries(b)
    return one.keys() == other.keys() and all(torch.equal(x.cpu(), other[name].cpu()) for name, x in one.items())


def saved_grids(state: Mapping[str, Tensor]) -> dict[str, Grid]:
    """Return the grids in the state_dict of a converted network, by entry; empty for other mappings."""
    saved = _below(f"{_KEY}grid.", state)
    return {id: Grid(float(scale), int(low), int(high)) for id, (scale, low, high) in saved.items()}


def _below(start: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of a state whose names begin with ``start``, by the rest of their names."""
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
