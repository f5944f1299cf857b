"""Channels of zeros: NIR has no padding of channels, but a wire of a NIR graph may begin at any channel.

The integer form pads along the axes after the channels only. A shortcut that pads its channels (ResNets for CIFAR-10)
is therefore three nodes: the image as one row, zeros around the row, the image again.
"""

from __future__ import annotations

import math

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Node, Pad, Reshape


def channel_pads(net: IntegerNetwork) -> dict[str, int]:
    """Find the nodes that together pad channels, and by how many channels each moves what it reads.

    All three nodes of every such padding are there, by id, with the channels of zeros before them; 0 for both reshapes.
    """
    readers: dict[str, list[Node]] = {node.id: [] for node in net.nodes}
    for node in net.nodes:
        for source in node.sources:
            readers[source].append(node)
    pads: dict[str, int] = {}
    for pad in net.nodes:
        if not isinstance(pad, Pad):
            continue
        row, image = net[pad.sources[0]], readers[pad.id]
        inside = net[row.sources[0]].shape if isinstance(row, Reshape) else ()
        if len(inside) < 2 or row.shape != (1, math.prod(inside)) or readers[row.id] != [pad]:
            continue
        places = math.prod(inside[1:])
        before, rest = divmod(pad.before[0], places)
        after, more = divmod(pad.after[0], places)
        shape = (inside[0] + before + after, *inside[1:])
        whole = not rest and not more and before >= 0 and after >= 0
        if whole and image and all(isinstance(node, Reshape) and node.shape == shape for node in image):
            pads |= {row.id: 0, pad.id: before, **{node.id: 0 for node in image}}
    return pads
