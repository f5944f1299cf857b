"""What a network does only while it trains, for graphs that become networks to train: its dropout stays.

In evaluation dropout computes nothing, so that an ordinary capture leaves it out. With ``live`` it is a ``host``
operation of one input whose module follows the mode of the network, functions included.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from bitspike.graph.capture.site import Ref, Site
from bitspike.graph.ir import Graph, Op

LIVE = "live"
"""The code of a live operation; it breaks no rule, since :func:`in_evaluation` takes it out before rules are asked."""
_FUNCTIONS: dict[str, type[_DropoutNd]] = {
    "dropout": nn.Dropout,
    "dropout1d": nn.Dropout1d,
    "dropout2d": nn.Dropout2d,
    "dropout3d": nn.Dropout3d,
    "alpha_dropout": nn.AlphaDropout,
    "feature_alpha_dropout": nn.FeatureAlphaDropout,
}


def live(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref | None:
    """Add a call that acts in training alone, and return its result; None for every other call."""
    if site.node.op == "call_module":
        if not isinstance(site.module, _DropoutNd) or not isinstance(args[0], Ref):
            return None
        module, key = site.module, site.own()
    else:
        kind = _FUNCTIONS.get(site.name)
        if (
            kind is None
            or not isinstance(site.node.target, type(F.dropout))
            or not args
            or not isinstance(args[0], Ref)
        ):
            return None
        call = inspect.signature(getattr(F, site.name)).bind(*args, **kwargs)
        call.apply_defaults()
        if call.arguments["training"]:  # on in evaluation too, which no handler understands
            return None
        module, key = kind(call.arguments["p"]), None
    what = type(module).__name__
    return site.emit("host", args[0], module=key, call=module, what=what, cause="it acts in training alone", code=LIVE)


def in_evaluation(graph: Graph) -> Graph:
    """Return a live graph without what acts in training alone: what an ordinary capture gives."""
    gone: dict[str, str] = {}
    ops: list[Op] = []
    for op in graph:
        inputs = tuple(gone.get(source, source) for source in op.inputs)
        if op.kind == "host" and op.attrs["code"] == LIVE:
            gone[op.id] = inputs[0]
        else:
            ops.append(replace(op, inputs=inputs))
    used = {op.module for op in ops}
    return Graph(tuple(ops), {key: m for key, m in graph.modules.items() if key in used}, graph.model)
