"""The layers with weights at both ends of a network, by its data flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import fx, nn

from bitspike.nn.trace import trace

WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)


def ends(model: nn.Module) -> tuple[list[str], list[str]]:
    """Return the paths of the layers that read what enters, and of those whose results no other layer reads.

    Layers are convolutions, transposed ones, and linear ones. A shortcut that reads the images is a first layer too.

    Args:
        model: a network that can be followed, as :func:`bitspike.nn.trace.trace` says.

    Raises:
        LoweringError: the network cannot be followed.

    Example:
        >>> from bitspike.nn import IF, Repeat, TimeDistributed
        >>> ends(nn.Sequential(Repeat(2), TimeDistributed(nn.Linear(4, 4)), IF(), TimeDistributed(nn.Linear(4, 2))))
        (['1.0'], ['3.0'])
    """
    modules, graph = dict(model.named_modules()), trace(model)
    layers = {node: _layers(str(node.target), modules) if node.op == "call_module" else [] for node in graph.nodes}
    first = _reached(graph.nodes, layers, lambda node: node.all_input_nodes)
    last = _reached(reversed(graph.nodes), layers, lambda node: node.users)
    return list(dict.fromkeys(inside[0] for inside in first)), list(dict.fromkeys(inside[-1] for inside in last[::-1]))


def _reached(
    nodes: Iterable[fx.Node], layers: Mapping[fx.Node, list[str]], nearer: Callable[[fx.Node], Iterable[fx.Node]]
) -> list[list[str]]:
    """Return what of ``layers`` is reached from one end of the network with no layer on the way.

    ``nodes`` begin at that end, and ``nearer`` says which of them lie next to one on its side.
    """
    reached: list[list[str]] = []
    farther: set[fx.Node] = set()
    for node in nodes:
        hidden = any(other in farther for other in nearer(node))
        if layers[node] and not hidden:
            reached.append(layers[node])
        if layers[node] or hidden:
            farther.add(node)
    return reached


def _layers(path: str, modules: dict[str, nn.Module]) -> list[str]:
    """Return the paths of the layers with weights inside one module, in order."""
    return [f"{path}.{name}" if name else path for name, m in modules[path].named_modules() if isinstance(m, WEIGHTED)]
