"""The layers with weights at both ends of a network, by its data flow."""

from __future__ import annotations

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
    nodes = list(graph.nodes)
    before: set[fx.Node] = set()
    after: set[fx.Node] = set()
    first, last = [], []
    for node in nodes:
        reads = any(source in before for source in node.all_input_nodes)
        if layers[node] and not reads:
            first.append(layers[node][0])
        if layers[node] or reads:
            before.add(node)
    for node in reversed(nodes):
        read = any(user in after for user in node.users)
        if layers[node] and not read:
            last.append(layers[node][-1])
        if layers[node] or read:
            after.add(node)
    return list(dict.fromkeys(first)), list(dict.fromkeys(reversed(last)))


def _layers(path: str, modules: dict[str, nn.Module]) -> list[str]:
    """Return the paths of the layers with weights inside one module, in order."""
    return [f"{path}.{name}" if name else path for name, m in modules[path].named_modules() if isinstance(m, WEIGHTED)]
