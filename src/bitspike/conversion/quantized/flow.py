"""The calls of a quantized network in the order of data flow, and which of them run once and which at every step.

    kind       depends on                                                    runs
    constant   parameters and buffers alone                                  once
    size       shapes alone                                                  once
    steady     the input, but on no neuron                                   once: it is the same at every step
    timed      neurons, by linear operations and neurons                     at every step, T N rows side by side
    after      neurons, by an operation that is not linear, before no        once, on the mean over the steps
               further neuron (such as a softmax)

Linear operations make no difference between the mean of the steps and the step of the mean; that is why a quantized
network and its spiking one agree. A quantized ReLU is a neuron, and a max pool of spikes a pool of their counts.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import fx, nn
from torch.fx.node import map_aggregate

from bitspike.errors import ConstraintError, ConversionError, LoweringError
from bitspike.nn import CountMaxPool, QuantReLU
from bitspike.nn.norms.base import NORMS, changes_by_step
from bitspike.nn.trace import trace

Kind = Literal["constant", "size", "steady", "timed", "after"]
_FOR_RELU = "bs.quantize(network, example, bits=2) puts a bs.QuantReLU in the place of every ReLU"

_LINEAR = (
    nn.modules.conv._ConvNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.dropout._DropoutNd,
    nn.Linear,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    *NORMS,
)
_MAX = nn.modules.pooling._MaxPoolNd
_PURE = {
    **{f"i{name}": name for name in ("add", "sub", "mul", "truediv")},
    **{f"{name}_": name for name in ("add", "sub", "mul", "div")},
}
"""What changes its first argument in place, and what gives the same result as something new."""
_ADDS = {"add", "add_", "iadd", "sub", "sub_", "isub", "cat", "concat", "concatenate", "stack"}
_SCALES = {"mul", "imul", "mul_", "truediv", "itruediv", "div", "neg"}
_MOVES = {
    *("flatten", "reshape", "view", "permute", "transpose", "movedim", "squeeze", "unsqueeze", "unflatten"),
    *("contiguous", "getitem", "chunk", "split", "pad", "to", "float", "double", "type_as", "clone"),
}
_AVERAGES = {
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "interpolate"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
}
_MAX_POOLS = {"max_pool1d", "max_pool2d", "max_pool3d"}
_SHAPES = {"size", "dim", "ndim", "numel", "shape", "len"}


@dataclass(frozen=True)
class Source:
    """In the arguments of a call: the result of an earlier one."""

    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a network.

    Args:
        name: unique, as ``torch.fx`` gives it.
        op: as in ``torch.fx``: placeholder, get_attr, call_module, call_function, call_method or output.
        target: path of a module or parameter, function, or name of a method.
        args, kwargs: with a :class:`Source` for every result of an earlier call.
        kind: see the module's docstring.
        reads: names of the calls in the arguments, each once.
        pool: the pool of counts that a max pool of spikes is; None for any other call.
    """

    name: str
    op: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    kind: Kind
    reads: tuple[str, ...]
    pool: CountMaxPool | None = None


@dataclass(frozen=True, eq=False)
class Flow:
    """A quantized network as a list of calls.

    Args:
        calls: in the order of data flow; the last one is the output.
        neurons: path of each quantized ReLU by the name of its call, in the order of data flow.
        bits: of all of them.
    """

    calls: tuple[Call, ...]
    neurons: Mapping[str, str]
    bits: int

    freed: Mapping[str, Sequence[str]] = field(init=False)
    """By call, the results that nobody reads after it."""
    by_name: Mapping[str, Call] = field(init=False)

    def __post_init__(self) -> None:
        last = {read: call.name for call in self.calls for read in call.reads}
        freed: dict[str, list[str]] = {}
        for read, reader in last.items():
            freed.setdefault(reader, []).append(read)
        object.__setattr__(self, "freed", freed)
        object.__setattr__(self, "by_name", {call.name: call for call in self.calls})

    @property
    def steps(self) -> int:
        """T, as many steps as the codes have levels above zero."""
        return int(2**self.bits) - 1

    @property
    def inputs(self) -> tuple[Call, ...]:
        """The inputs of the network, in order."""
        return tuple(call for call in self.calls if call.op == "placeholder")


def flow_of(network: nn.Module, where: str) -> Flow:
    """Follow a quantized network.

    Args:
        network: with a :class:`~bitspike.nn.QuantReLU` for every activation, as ``bs.quantize`` returns it.
        where: the function that was called, for messages.

    Raises:
        ConstraintError: there is no ``QuantReLU``, one is called twice, or they have different bits.
        ConversionError: the network cannot be followed, or spikes meet what is not linear before a neuron.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), QuantReLU(2), nn.Linear(3, 2))
        >>> [(call.name, call.kind) for call in flow_of(net, "example").calls]
        [('input_1', 'steady'), ('_0', 'steady'), ('_1', 'timed'), ('_2', 'timed'), ('output', 'timed')]
    """
    try:
        graph = trace(network)
    except LoweringError as error:
        raise ConversionError(f"{where}: {error.message}", fix=error.fix or _FOR_RELU) from error
    modules = dict(network.named_modules())
    neurons = {
        n.name: str(n.target)
        for n in graph.nodes
        if n.op == "call_module" and isinstance(modules[str(n.target)], QuantReLU)
    }
    bits = _bits(neurons, modules, where)
    before = _before_a_neuron(graph, neurons)
    calls: dict[str, Call] = {}
    spiking: set[str] = set()  # the results that are spikes, and no sums of them
    for node in graph.nodes:
        reads = tuple(n.name for n in node.all_input_nodes)
        kind, pool = _kind(node, [calls[read].kind for read in reads], neurons), None
        if kind == "timed" and node.name not in neurons and node.op != "output":
            timed = [read for read in reads if calls[read].kind == "timed"]
            pool = _pool_of_counts(node, modules) if spiking.issuperset(timed) else None
            if pool is None and not _is_linear(node, modules, timed, calls):
                if node.name in before:
                    raise ConversionError(_refusal(where, node, modules), fix=_way_out(node, modules))
                kind = "after"
        if node.name in neurons or pool is not None or (reads and reads[0] in spiking and _moves(node, modules)):
            spiking.add(node.name)
        args, kwargs = map_aggregate((node.args, dict(node.kwargs)), _named)
        target = _without_side_effect(node, where)
        calls[node.name] = Call(node.name, node.op, target, args, kwargs, kind, reads, pool)
    return Flow(tuple(calls.values()), neurons, bits)


def _without_side_effect(node: fx.Node, where: str) -> Any:
    """Return the target of a call, of ``x += y`` that of ``x + y``; refuse it where the old x is read again.

    Parts of the flow are run again and again on the same values, which must stay as they are.
    """
    pure = _PURE.get(_name(node))
    if pure is None:
        return node.target
    old = node.args[0]
    later = list(old.users)[list(old.users).index(node) + 1 :] if isinstance(old, fx.Node) else []
    if later or not node.users:
        raise ConversionError(
            f"{where}: {_name(node)} changes {old} in place, and its old name is read afterwards",
            fix="x = x + y, with a name for the sum that is read from there on",
        )
    return getattr(operator, pure) if node.op == "call_function" else pure


def _named(value: Any) -> Any:
    return Source(value.name) if isinstance(value, fx.Node) else value


def _bits(neurons: Mapping[str, str], modules: Mapping[str, nn.Module], where: str) -> int:
    """Return the bits that all quantized ReLUs have; refuse none, two calls of one, and different bits."""
    if not neurons:
        raise ConstraintError(f"{where}: the network has no bs.QuantReLU, so nothing would send spikes", fix=_FOR_RELU)
    for path, calls in Counter(neurons.values()).items():
        if calls > 1:
            raise ConstraintError(
                f"{where}: the bs.QuantReLU {path!r} is called {calls} times in one forward, and a neuron has one "
                "potential",
                fix="a bs.QuantReLU of its own for every call; bs.quantize makes them",
            )
    widths = {path: int(modules[path].bits) for path in neurons.values()}  # type: ignore[arg-type]
    first = next(iter(widths))
    for path, bits in widths.items():
        if bits != widths[first]:
            raise ConstraintError(
                f"{where}: {path!r} has {bits} bits and {first!r} has {widths[first]}; all neurons run the same T = "
                "2**bits - 1 steps",
                fix=f"QuantReLU(bits={widths[first]}) everywhere; weights may differ in their bits",
            )
    return widths[first]


def _before_a_neuron(graph: fx.Graph, neurons: Mapping[str, str]) -> set[str]:
    """Return the names of all calls on which a neuron depends."""
    before: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name in neurons or node.name in before:
            before.update(n.name for n in node.all_input_nodes)
    return before


def _kind(node: fx.Node, kinds: Sequence[Kind], neurons: Mapping[str, str]) -> Kind:
    """Return the kind of a call whose operation is linear."""
    name = _name(node)
    if node.op == "placeholder":
        return "steady"
    if node.name in neurons:
        return "timed"
    asks = name in _SHAPES or (name == "getattr" and node.args[1] in _SHAPES)
    if kinds and node.op != "output" and (asks or all(kind in ("constant", "size") for kind in kinds)):
        return "size" if asks or "size" in kinds else "constant"
    order: tuple[Kind, ...] = ("after", "timed", "steady")
    return next((kind for kind in order if kind in kinds), "constant")


def _name(node: fx.Node) -> str:
    """Return the name of a function or method; empty for a module, an input, and a function that is not torch's."""
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return ""
    home = str(getattr(node.target, "__module__", None) or "torch")
    ours = home.partition(".")[0] in ("torch", "_operator", "builtins")
    return str(getattr(node.target, "__name__", "")) if ours else ""


def _is_linear(
    node: fx.Node, modules: Mapping[str, nn.Module], timed: Sequence[str], calls: Mapping[str, Call]
) -> bool:
    """Tell whether the mean over the steps of a call's results is the result of the mean."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        batch = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        return isinstance(module, _LINEAR) and not batch and not changes_by_step(module)
    name = _name(node)
    if name in _SCALES:
        others = [n.name for n in node.all_input_nodes if n.name not in timed]
        first = not name.endswith("div") or (isinstance(node.args[0], fx.Node) and node.args[0].name in timed)
        return len(timed) == 1 and first and all(calls[o].kind in ("constant", "size") for o in others)
    return name in _ADDS | _MOVES | _AVERAGES


def _pool_of_counts(node: fx.Node, modules: Mapping[str, nn.Module]) -> CountMaxPool | None:
    """Return the pool of counts that a max pool stands for; None for any other call."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    if node.op == "call_module" and isinstance(module := modules[str(node.target)], _MAX):
        choices, dims = {name: getattr(module, name) for name in names}, int(type(module).__name__[-2])
    elif (name := _name(node)) in _MAX_POOLS:
        choices, dims = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}, int(name[-2])
    else:
        return None
    kernel = _sides(choices["kernel_size"], dims)
    dilated = _sides(choices.get("dilation", 1), dims) != (1,) * dims
    if dilated or choices.get("ceil_mode") or choices.get("return_indices"):
        return None
    stride = _sides(choices.get("stride") or kernel, dims)
    return CountMaxPool(kernel, stride, _sides(choices.get("padding", 0), dims))


def _sides(value: Any, dims: int) -> tuple[int, ...]:
    return (int(value),) * dims if isinstance(value, int) else tuple(int(v) for v in value)


def _moves(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Tell whether what a call gives of spikes are spikes again."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (nn.Flatten, nn.Unflatten, nn.Identity))
    return _name(node) in _MOVES


def _refusal(where: str, node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    what = type(modules[str(node.target)]).__name__ if node.op == "call_module" else _name(node) or str(node.target)
    around = list((node.meta.get("nn_module_stack") or {}).values())
    at = str(node.target) if node.op == "call_module" else str(around[-1][0]) if around else ""
    return (
        f"{where}: {what}{f' in {at!r}' if at else ''} reads spikes, and neurons come after it; on the way from neuron "
        "to neuron only linear operations have a meaning step by step"
    )


def _way_out(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    module = modules[str(node.target)] if node.op == "call_module" else None
    if isinstance(module, _MAX) or _name(node) in _MAX_POOLS:
        return "an nn.MaxPool2d right after its bs.QuantReLU, without dilation or ceil_mode; or an nn.AvgPool2d"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "track_running_stats=True, so that the norm has statistics of the training set"
    return _FOR_RELU
