"""Norm, sum and quantized relu of a rebuilt network in one pass over memory, layers by their fastest way.

The calls of a network's graph become calls of :func:`bitspike.nn.fire` and :func:`bitspike.nn.layers.call`, which
compute the same and call the modules one by one where anybody could observe the difference. To a tracer the network
looks as before.
"""

from __future__ import annotations

import operator

from torch import fx, nn

from bitspike.nn.activation import QuantReLU
from bitspike.nn.chain import fire
from bitspike.nn.layers import call
from bitspike.nn.norms.base import has_kernel


def in_one_pass(network: fx.GraphModule) -> fx.GraphModule:
    """Change the calls of a network, in place, and return it; modules, names and state stay."""
    graph = network.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), QuantReLU):
            _fire(network, node)
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), _LAYERS):
            with graph.inserting_before(node):
                layer = graph.get_attr(str(node.target))
                _put(graph, node, graph.call_function(call, (layer, node.args[0])))
    graph.lint()
    network.recompile()
    return network


_LAYERS = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
"""What :func:`bitspike.nn.layers.call` has another way for."""


def _fire(network: fx.GraphModule, node: fx.Node) -> None:
    """Let one call do the norm, the sum and the relu of ``node``, as far as nobody else reads what lies between."""
    source, residual = node.args[0], None
    if not isinstance(source, fx.Node) or len(source.users) > 1:
        return
    if source.op == "call_function" and source.target is operator.add:
        norm, residual = next(
            ((a, b) for a, b in (source.args, source.args[::-1]) if _is_norm(network, a)), (None, None)
        )
        # The sum is done where the relu is, so the other side is there already.
    else:
        norm = source if _is_norm(network, source) else None
    if not isinstance(norm, fx.Node) or norm.args[0] is residual:
        return
    with network.graph.inserting_before(node):
        modules = (network.graph.get_attr(str(norm.target)), network.graph.get_attr(str(node.target)))
        fused = network.graph.call_function(fire, (*modules, norm.args[0], residual))
    _put(network.graph, node, fused)
    for done in (source, norm):
        if not done.users and done in network.graph.nodes:
            network.graph.erase_node(done)


def _is_norm(network: fx.GraphModule, node: object) -> bool:
    """Tell whether a node is the call of a norm that only one other reads."""
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) > 1:
        return False
    return has_kernel(network.get_submodule(str(node.target)))


def _put(graph: fx.Graph, old: fx.Node, new: fx.Node) -> None:
    old.replace_all_uses_with(new)
    graph.erase_node(old)
