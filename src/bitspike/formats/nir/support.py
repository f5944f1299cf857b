"""Which nodes NIR can hold, as what, and why it cannot hold the others."""

from __future__ import annotations

from collections.abc import Mapping

from bitspike.integer import nodes
from bitspike.integer.nodes import Node, still

LARGEST_MATRIX = 1 << 24
"""Entries of the largest matrix that stands for a transposed convolution or a gain: 64 MiB as float32."""

HELD: Mapping[type[Node], str] = {
    nodes.Input: "Input; grid and coding in the metadata",
    nodes.Convolution: "Conv1d or Conv2d, always with a bias; groups as zeros",
    nodes.TransposedConvolution: f"Affine, a matrix of at most {LARGEST_MATRIX} entries",
    nodes.Linear: "Affine",
    nodes.SumPool: "SumPool2d; with padding a Conv2d, in one dimension a Conv1d of ones",
    nodes.Reshape: "Flatten; other shapes are refused",
    nodes.Add: "several edges into one node; gains in the weights",
    nodes.Concat: "slices of the weights that read it",
    nodes.Slice: "zeros in the weights that read it",
    nodes.Pad: "channels of zeros: zeros in the weights that read it; other padding is refused",
    nodes.Neuron: "IF or LIF; reset, comparison, first potential and limits in the metadata",
    nodes.FewBitNeuron: "IF or LIF, as a Neuron; width and step of what it keeps in the metadata",
    nodes.Readout: "Output of every step; the reader adds them up",
}
"""How NIR holds each kind of node."""

REFUSED: Mapping[type[Node], str] = {
    nodes.MaxPool: "NIR has no maximum",
    nodes.CountMaxPool: "NIR has no maximum and no counter",
    nodes.Burst: "NIR has no memory but the neuron's",
    nodes.Synapse: "NIR's leaky integrator has no integers, and its leak rounds nothing down",
    nodes.Upsample: "NIR has no upsampling",
    nodes.Transpose: "NIR cannot exchange axes",
}
"""Why NIR cannot hold the others."""


def reasons(node: Node) -> list[str]:
    """Return why NIR cannot hold a node, as far as the node alone tells: padding of channels is three nodes."""
    kind = type(node)
    why = [] if kind in HELD else [REFUSED.get(kind, f"NIR has no word for a {kind.__name__}")]
    if isinstance(node, nodes.Pad):
        why.append("NIR pads inside a convolution, or whole channels")
    if isinstance(node, nodes.Gained) and not all(map(still, node.gains)):
        why.append("its gain changes over time")
    if isinstance(node, nodes.Neuron | nodes.Readout) and not still(node.bias):
        why.append("its bias changes over time")
    if isinstance(node, nodes.Convolution | nodes.SumPool) and len(node.shape) > 3:
        why.append("NIR has layers of one and two dimensions")
    if isinstance(node, nodes.Neuron):
        wrong = {
            "its threshold changes over time": not still(node.threshold),
            "it is signed": node.signed,
            "it shifts what arrives, and rounds": node.right_shift != 0,
            "its leak makes the potential grow": float(node.leak) > 1,
        }
        why += [reason for reason, holds in wrong.items() if holds]
    return why
