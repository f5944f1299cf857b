"""Which layer reads which, with nothing between them but what works channel by channel.

Between two such layers the order of the channels is free: if the first hands out its channels in another order, and all
that stands between and the second follow, the network computes what it did.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, fx, nn

from bitspike.errors import LoweringError
from bitspike.nn import Neuron, QuantReLU, TimeDistributed
from bitspike.nn.norms.base import NORMS
from bitspike.nn.trace import evaluation, trace
from bitspike.weights.path import path_of

_BY_CHANNEL = (
    *NORMS, Neuron, QuantReLU, nn.ReLU, nn.ReLU6,
    nn.Identity, nn.modules.dropout._DropoutNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)  # fmt: skip
_NUMBERS = ("num_features", "channels")
"""Attributes that say how many channels a module has."""


@dataclass(frozen=True, eq=False)
class Link:
    """A layer, the one layer that reads it, and what stands between.

    Args:
        layer, reader: module paths; both are convolutions or linear layers, neither is a transposed one.
        between: modules that work channel by channel.
        flattened: the reader is linear and sees every channel as several features.
    """

    layer: str
    reader: str
    between: tuple[nn.Module, ...]
    flattened: bool = False


def links(model: nn.Module) -> dict[str, Link]:
    """Return by path the layers whose channels may be reordered; none in a model that cannot be followed.

    A layer that is called twice, has several readers, or is followed by something that mixes channels is left out.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
        >>> {path: link.reader for path, link in links(model).items()}
        {'0': '3'}
    """
    modules = dict(model.named_modules())
    try:
        with evaluation(model):
            graph = trace(model)
    except LoweringError:
        return {}
    called = [str(n.target) for n in graph.nodes if n.op == "call_module"]
    by_path = {}
    for node in graph.nodes:
        if node.op != "call_module" or called.count(str(node.target)) > 1:
            continue
        inside = _inside(str(node.target), modules[str(node.target)])
        for index, (path, module) in enumerate(inside):
            if _is_layer(module) and (link := _reader_of(path, inside[index + 1 :], node, modules, called)) is not None:
                by_path[path] = link
    return by_path


def _is_layer(module: nn.Module) -> bool:
    plain = isinstance(module, nn.modules.conv._ConvNd) and not isinstance(module, nn.modules.conv._ConvTransposeNd)
    return plain or isinstance(module, nn.Linear)


def _inside(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that a node of the graph runs, in order."""
    if isinstance(module, TimeDistributed) or type(module) is nn.Sequential:
        return [pair for name, layer in module.named_children() for pair in _inside(f"{path}.{name}", layer)]
    return [(path, module)]


def _reader_of(
    path: str, rest: list[tuple[str, nn.Module]], node: fx.Node, modules: dict[str, nn.Module], called: list[str]
) -> Link | None:
    """Walk on from a layer, module by module, to the one layer that reads it; None where the way forks or mixes."""
    between: list[nn.Module] = []
    flattened = False
    while True:
        for name, module in rest:
            if _is_layer(module):
                return Link(path, name, tuple(between), flattened)
            if isinstance(module, nn.Flatten):
                flattened = True
            elif isinstance(module, _BY_CHANNEL):
                between.append(module)
            else:
                return None
        users = list(node.users)
        if len(users) != 1 or users[0].op != "call_module" or called.count(str(users[0].target)) > 1:
            return None
        node = users[0]
        rest = _inside(str(node.target), modules[str(node.target)])


def latent(layer: nn.Module) -> Tensor:
    """Return the trained weight of a layer, before its weight path where it has one."""
    path = path_of(layer)
    weight = layer.weight if path is None else path[1]
    assert isinstance(weight, Tensor)
    return weight


def set_latent(layer: nn.Module, weight: Tensor) -> None:
    """Replace the trained weight of a layer; its shape may change."""
    parameter = nn.Parameter(weight.detach().clone(), requires_grad=latent(layer).requires_grad)
    if path_of(layer) is None:
        layer.weight = parameter
    else:
        layer.parametrizations["weight"].original = parameter  # type: ignore[index, union-attr]


def select(model: nn.Module, link: Link, order: Tensor) -> None:
    """Let a layer hand out only some channels, or all in another order, and everything after it follow, in place.

    ``order`` holds the index of the old channel that each new channel is, [C_new].
    """
    layer, reader = model.get_submodule(link.layer), model.get_submodule(link.reader)
    before = len(latent(layer))
    set_latent(layer, latent(layer)[order])
    _take(layer, "bias", order, before)
    if isinstance(layer, nn.Linear):
        layer.out_features = len(order)
    else:
        layer.out_channels = len(order)  # type: ignore[assignment]
    for module in link.between:
        for name in [n for n, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]]:
            _take(module, name, order, before)
        for name in _NUMBERS:
            if getattr(module, name, None) == before:
                setattr(module, name, len(order))
    weight = latent(reader)
    if link.flattened:
        each = weight.shape[1] // before
        weight = weight.reshape(len(weight), before, each)[:, order].flatten(1)
    else:
        weight = weight[:, order]
    set_latent(reader, weight)
    if isinstance(reader, nn.Linear):
        reader.in_features = weight.shape[1]
    else:
        reader.in_channels = weight.shape[1] * int(reader.groups)  # type: ignore[assignment, arg-type]


def _take(module: nn.Module, name: str, order: Tensor, before: int) -> None:
    """Take entries of a tensor that has one per channel; any other is left as it is."""
    value = getattr(module, name, None)
    if not isinstance(value, Tensor) or tuple(value.shape) != (before,):
        return
    taken = value.detach()[order.to(value.device)].clone()
    if isinstance(value, nn.Parameter):
        setattr(module, name, nn.Parameter(taken, requires_grad=value.requires_grad))
    else:
        setattr(module, name, taken)


def can_follow(model: nn.Module, link: Link) -> bool:
    """Tell whether a reader is dense and every tensor before it has one entry per channel, or one in all."""
    channels = len(latent(model.get_submodule(link.layer)))
    tensors = [t for m in link.between for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))]
    reader = model.get_submodule(link.reader)
    dense = getattr(reader, "groups", 1) == 1
    nested = any(list(m.children()) for m in link.between)
    return dense and not nested and all(t.numel() == 1 or tuple(t.shape) == (channels,) for t in tensors)


def energy(weight: Tensor) -> Tensor:
    """Return the squared weights between every output and input channel, [C_out, C_in]."""
    return weight.detach().double().square().reshape(*weight.shape[:2], -1).sum(2)
