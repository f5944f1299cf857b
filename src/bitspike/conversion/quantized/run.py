"""Run the calls of a quantized network: once, on its levels, or T steps side by side, with neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx.node import map_aggregate

from bitspike.conversion.quantized.flow import Call, Flow, Source
from bitspike.conversion.timed import MaxPoolOfCounts, by_step
from bitspike.errors import ConversionError
from bitspike.nn.layers import call as call_layer
from bitspike.nn.norms.base import NORMS
from bitspike.nn.time import repeated
from bitspike.ops.precision import single

Values = dict[str, Any]
"""Results by the names of their calls."""


@dataclass(frozen=True, eq=False)
class Run:
    """One way to run a flow.

    Args:
        flow: what is run.
        part: returns the module, parameter or buffer at a path, see :func:`part_of`; a neuron at the path of a
            quantized ReLU if steps are run. It is asked at every call, so the run follows every change of the modules.
        steps: T, whose steps lie side by side in the batch; None runs the quantized network itself.
        running: hand on the mean of the steps 1 to t, for every t, instead of the mean of all steps.
    """

    flow: Flow
    part: Callable[[str], Any]
    steps: int | None = None
    running: bool = False

    def begin(self, inputs: Sequence[Tensor]) -> Values:
        """Return the values with which a run begins: those of the inputs.

        Raises:
            ConversionError: there are fewer or more inputs than the network has.
        """
        calls = self.flow.inputs
        missing = [call.name for call in calls[len(inputs) :] if not call.args]
        if missing or len(inputs) > len(calls):
            raise ConversionError(
                f"the network takes {len(calls)} inputs ({', '.join(call.name for call in calls)}) and got "
                f"{len(inputs)}",
                fix="network(*inputs) with one tensor for each",
            )
        defaults = [call.args[0] for call in calls[len(inputs) :]]
        return {call.name: value for call, value in zip(calls, [*inputs, *defaults], strict=True)}

    def carry_out(
        self, calls: Iterable[Call], values: Values, *, rows: int, freed: Mapping[str, Sequence[str]] | None = None
    ) -> Any:
        """Carry out calls in order, put their results into ``values`` and return the last one.

        Args:
            calls: in the order of the flow; what they read is among ``values`` or among them.
            values: is filled.
            rows: N, the samples of the batch.
            freed: by call, what may leave ``values`` after it.
        """
        result = None
        for call in calls:
            if call.op == "placeholder":
                continue
            result = values[call.name] = self._result(call, values, rows)
            for name in freed.get(call.name, ()) if freed else ():
                values.pop(name, None)
        return result

    def whole(self, inputs: Sequence[Tensor]) -> Any:
        """Run the whole flow and return what the network returns."""
        values = self.begin(inputs)
        return self.carry_out(self.flow.calls, values, rows=len(inputs[0]), freed=self.flow.freed)

    def _result(self, call: Call, values: Values, rows: int) -> Any:
        if call.op == "get_attr":
            return self.part(call.target)
        if call.name in self.flow.neurons and self.steps is not None:
            return self._spikes(call, values, rows)

        def value(part: Any) -> Any:
            return self._read(call, part.name, values, rows) if isinstance(part, Source) else part

        if call.op == "output":
            return map_aggregate(call.args[0], value)
        args, kwargs = map_aggregate((call.args, call.kwargs), value)
        if call.pool is not None and self.steps is not None:
            return MaxPoolOfCounts(call.pool, self.steps)(args[0])
        if call.op == "call_module":
            module = self.part(call.target)
            if isinstance(module, NORMS):
                return in_evaluation(module, *args, **kwargs)
            return call_layer(module, args[0]) if len(args) == 1 and not kwargs else module(*args, **kwargs)
        if call.op == "call_method":
            owner, *rest = args
            return getattr(owner, call.target)(*rest, **kwargs)
        return call.target(*args, **kwargs)

    def _spikes(self, call: Call, values: Values, rows: int) -> Tensor:
        """Run a neuron, on the one current of all steps where it is steady."""
        (source,) = call.reads
        x, steady = values[source], self.flow.by_name[source].kind != "timed"
        self._need_rows(call, x, rows if steady else rows * (self.steps or 1))
        spikes: Tensor = self.part(call.target)(x, steady=steady)
        return spikes

    def _read(self, call: Call, name: str, values: Values, rows: int) -> Any:
        """Return a result as a call of some kind reads it."""
        value, kind = values[name], self.flow.by_name[name].kind
        if self.steps is None or not isinstance(value, Tensor):
            return value
        once = call.op == "output" or call.kind == "after"
        if kind == "timed" and once:
            self._need_rows(call, value, rows * self.steps)
            means = by_step(single(value), self.steps)
            return (_running_mean(means).flatten(0, 1) if self.running else means.mean(0)).to(value.dtype)
        if kind == "steady" and (call.kind == "timed" if not once else self.running):
            return repeated(value, self.steps).flatten(0, 1)
        return value

    def _need_rows(self, call: Call, x: Any, rows: int) -> None:
        """Refuse what has moved or mixed the samples; its steps could no longer be told apart."""
        if not isinstance(x, Tensor) or x.shape[:1] != (rows,):
            shown = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ConversionError(
                f"{call.target if call.op == 'call_module' else call.name} reads {shown}, and needed is [{rows}, ...]: "
                "an operation before it mixes or moves the samples of the batch",
                fix="keep the batch as the first axis everywhere: x.flatten(1), not x.view(8, -1)",
            )


def _running_mean(x: Tensor) -> Tensor:
    """Return the mean of the first t of [T, ...], for every t."""
    counts = x.new_tensor(range(1, len(x) + 1)).reshape(-1, *[1] * (x.dim() - 1))
    return x.cumsum(0) / counts


def in_evaluation(norm: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call a norm with the statistics that it has learned, whatever mode it is in, and leave it in that mode.

    Statistics of a batch of T steps would mix the steps, and the counts would no longer be the levels.
    """
    training, norm.training = norm.training, False
    try:
        return norm(*args, **kwargs)
    finally:
        norm.training = training


def part_of(network: nn.Module, path: str) -> Any:
    """Return the module, parameter, buffer or other tensor at a path, whatever the class of the network calls so too.

    Example:
        >>> part_of(nn.Sequential(nn.Linear(2, 3)), "0.bias").shape
        torch.Size([3])
    """
    at: Any = network
    for name in path.split("."):
        own = next((d[name] for d in (at._modules, at._parameters, at._buffers) if name in d), None)
        at = getattr(at, name) if own is None else own
    return at
