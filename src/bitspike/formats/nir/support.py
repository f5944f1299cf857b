"""Which nodes NIR holds and how, and which it cannot hold and why."""

from __future__ import annotations

from collections.abc import Mapping

from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Gained,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    still,
)

LARGEST_MATRIX = 1 << 24
"""Entries of the largest matrix that stands for a transposed convolution or a gain: 64 MiB as float32."""

HELD: Mapping[type[Node], str] = {
    Input: "Input; grid and coding in the metadata",
    Convolution: "Conv1d or Conv2d, always with a bias; groups as zeros",
    TransposedConvolution: f"Affine, a matrix of at most {LARGEST_MATRIX} entries",
    Linear: "Affine",
    SumPool: "SumPool2d; with padding a Conv2d, in one dimension a Conv1d of ones",
    Reshape: "Flatten; other shapes are refused",
    Add: "several edges into one node; gains in the weights",
    Concat: "slices of the weights that read it",
    Slice: "zeros in the weights that read it",
    Pad: "channels of zeros: zeros in the weights that read it; other padding is refused",
    Neuron: "IF or LIF; reset, comparison, first potential and limits in the metadata",
    Readout: "Output of every step; the reader adds them up",
}
"""How NIR holds each kind of node."""

REFUSED: Mapping[type[Node], str] = {
    MaxPool: "NIR has no maximum",
    CountMaxPool: "NIR has no maximum and no counter",
    Burst: "NIR has no memory but the neuron's",
    Upsample: "NIR has no upsampling",
    Transpose: "NIR cannot exchange axes",
}
"""Why NIR holds the others not."""


def reasons(node: Node) -> list[str]:
    """Return why NIR cannot hold a node, as far as the node alone tells: padding of channels is three nodes."""
    kind = type(node)
    why = [] if kind in HELD else [REFUSED.get(kind, f"NIR has no word for a {kind.__name__}")]
    if isinstance(node, Pad):
        why.append("NIR pads inside a convolution, or whole channels")
    if isinstance(node, Gained) and not all(map(still, node.gains)):
        why.append("its gain changes over time")
    if isinstance(node, Neuron | Readout) and not still(node.bias):
        why.append("its bias changes over time")
    if isinstance(node, Convolution | SumPool) and len(node.shape) > 3:
        why.append("NIR has layers of one and two dimensions")
    if isinstance(node, Neuron):
        wrong = {
            "its threshold changes over time": not still(node.threshold),
            "it is signed": node.signed,
            "it shifts what arrives, and rounds": node.right_shift != 0,
            "its leak makes the potential grow": float(node.leak) > 1,
        }
        why += [reason for reason, holds in wrong.items() if holds]
    return why
