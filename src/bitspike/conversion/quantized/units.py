"""The layers of a quantized network as its neurons see them: everything that one neuron adds up is one unit.

In a residual network a unit is half a block: the second convolution, its norm and the convolution of the shortcut feed
the same neuron. The last unit has no neuron; it is what computes the output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from bitspike.conversion.quantized.flow import Call, Flow
from bitspike.conversion.quantized.run import part_of
from bitspike.errors import ConstraintError

OUTPUT = "output"
"""The path of the last unit."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One neuron with what it reads, or what computes the output.

    Args:
        path: of the quantized ReLU; ``output`` of the last unit.
        name: of its call.
        calls: from the neurons or inputs that it reads to its own, in order.
        sources: names of the neurons that it reads; none in a first layer.
        parameters: of the modules that it calls, its own clip left out, by name; those of an earlier unit left out.
    """

    path: str
    name: str
    calls: tuple[Call, ...]
    sources: tuple[str, ...]
    parameters: dict[str, nn.Parameter]

    @property
    def ends(self) -> bool:
        """Whether it is a first or the last layer."""
        return self.path == OUTPUT or not self.sources


def units_of(flow: Flow, network: nn.Module) -> list[Unit]:
    """Return the units of a network in the order of data flow.

    Example:
        >>> from bitspike.conversion.quantized.flow import flow_of
        >>> from bitspike.nn import QuantReLU
        >>> net = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2))
        >>> [(unit.path, list(unit.parameters)) for unit in units_of(flow_of(net, "example"), net)]
        [('1', ['0.weight', '0.bias']), ('output', ['2.weight', '2.bias'])]
    """
    units, taken = [], {id(part_of(network, path).clip) for path in flow.neurons.values()}
    for name, path in [*flow.neurons.items(), (flow.calls[-1].name, OUTPUT)]:
        calls = before(flow, name, flow.neurons)
        sources = tuple(dict.fromkeys(read for call in calls for read in call.reads if read in flow.neurons))
        parameters = {}
        for key, parameter in _parameters(calls, network):
            if id(parameter) not in taken:
                taken.add(id(parameter))
                parameters[key] = parameter
        units.append(Unit(path, name, calls, sources, parameters))
    return units


def before(flow: Flow, name: str, known: Collection[str]) -> tuple[Call, ...]:
    """Return the calls that the result of a call needs, in order and with it, if some results are known."""
    needed = {name}
    for call in reversed(flow.calls):
        if call.name in needed:
            needed.update(read for read in call.reads if read not in known)
    return tuple(call for call in flow.calls if call.name in needed)


def _parameters(calls: Sequence[Call], network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for call in calls:
        if call.op == "call_module":
            for name, parameter in part_of(network, call.target).named_parameters():
                yield f"{call.target}.{name}", parameter
        elif call.op == "get_attr" and isinstance(value := part_of(network, call.target), nn.Parameter):
            yield call.target, value


def need_one_call_each(flow: Flow, units: Sequence[Unit]) -> None:
    """Refuse units with a layer that the network calls in several places.

    Raises:
        ConstraintError: tuning it in one place would change it in the other; the message has both.
    """
    times = Counter(str(call.target) for call in flow.calls if call.op == "call_module")
    for path, count in times.items():
        tuned = [u.path for u in units if any(key.startswith(f"{path}.") for key in u.parameters)]
        if count > 1 and tuned:
            raise ConstraintError(
                f"tune_layers: {path!r} is called {count} times, so that tuning it for {tuned[0]!r} would change it "
                "elsewhere too",
                fix=f"skip={tuned!r}, or a layer of its own for every call",
            )
