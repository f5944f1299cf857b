"""The layers without memory, each as ONNX operators over wires [B, C, ...]; B is the batch, or all its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bitspike.formats.onnx.products import convolution, forward_codes, linear
from bitspike.formats.onnx.tape import Tape
from bitspike.integer import nodes
from bitspike.integer.bounds.widths import Range
from bitspike.integer.nodes import Node, Shape

HELD: Mapping[type[Node], str] = {
    nodes.Convolution: "ConvInteger of 8-bit digits",
    nodes.TransposedConvolution: "zeros between the places, then ConvInteger",
    nodes.Linear: "MatMulInteger of 8-bit digits",
    nodes.SumPool: "Slice and Add along each axis",
    nodes.MaxPool: "Slice and Max along each axis",
    nodes.Concat: "Concat",
    nodes.Slice: "Slice",
    nodes.Upsample: "Tile",
    nodes.Pad: "Pad and Slice",
    nodes.Transpose: "Transpose",
    nodes.Reshape: "Reshape",
}
"""What :func:`layer` writes, and as what."""


def layer(tape: Tape, node: Node, inputs: list[str], shape: Shape, wire: Range) -> str:
    """Write one layer of a kind in ``HELD``, given the names of what it reads; return the name of its output.

    ``shape`` is that of one sample of the first input, ``wire`` its bounds.
    """
    x = inputs[0]
    match node:
        case nodes.Convolution():
            return convolution(
                tape, node, node.weight.codes, x, wire, stride=node.stride, padding=node.padding,
                dilation=node.dilation, groups=node.groups,
            )  # fmt: skip
        case nodes.TransposedConvolution():
            return _transposed(tape, node, x, shape, wire)
        case nodes.Linear():
            return linear(tape, node, node.weight.codes, x, wire)
        case nodes.Reshape():
            return tape.reshaped(x, [0, *node.shape])
        case nodes.SumPool():
            return windows(tape, node, x, shape, tape.total, fill=0)
        case nodes.MaxPool():
            return windows(tape, node, x, shape, tape.largest, fill=tape.limits[0])
        case nodes.Concat():
            return tape.add("Concat", *inputs, axis=1)
        case nodes.Slice():
            return cut(tape, x, axis=1, start=node.start, stop=node.stop)
        case nodes.Upsample():
            return _repeat(tape, x, shape, node.factors)
        case nodes.Pad():
            return _pad(tape, x, shape, node.before, node.after)
        case nodes.Transpose():
            return tape.add("Transpose", x, perm=(0, *(axis + 1 for axis in node.axes)))
    raise AssertionError(f"{type(node).__name__} is no layer without memory")


def cut(tape: Tape, x: str, *, axis: int, start: int, stop: int, step: int = 1) -> str:
    """Return ``x[start:stop:step]`` along an axis."""
    return tape.add("Slice", x, *(tape.shape([value]) for value in (start, stop, axis, step)))


def windows(
    tape: Tape, node: nodes.Pool, x: str, shape: Shape, combine: Callable[[list[str]], str], *, fill: int
) -> str:
    """Combine every window, one axis after the other: k + k strided slices instead of k * k.

    ONNX Runtime's own pools take floats and 8 bits only.
    """
    if any(node.padding):
        ends = (0, 0, *node.padding)
        x = tape.add("Pad", x, tape.shape([*ends, *ends]), tape.constant(fill))
    for axis, (kernel, stride, count) in enumerate(zip(node.kernel, node.stride, node.shape[1:], strict=True), 2):
        inside = shape[axis - 1] + 2 * node.padding[axis - 2]
        if (kernel, stride, count) == (1, 1, inside):
            continue
        reach = stride * (count - 1) + 1
        x = combine([cut(tape, x, axis=axis, start=i, stop=i + reach, step=stride) for i in range(kernel)])
    return x


def _pad(tape: Tape, x: str, shape: Shape, before: Shape, after: Shape) -> str:
    """Add zeros and cut, in this order."""
    starts, ends = ([max(n, 0) for n in side] for side in (before, after))
    if any(starts) or any(ends):
        x = tape.add("Pad", x, tape.shape([0, 0, *starts, 0, 0, *ends]), tape.constant(0))
    for axis, (inside, first, last) in enumerate(zip(shape[1:], before, after, strict=True), 2):
        if first < 0 or last < 0:
            grown = inside + max(first, 0) + max(last, 0)
            x = cut(tape, x, axis=axis, start=max(-first, 0), stop=grown - max(-last, 0))
    return x


def _repeat(tape: Tape, x: str, shape: Shape, factors: Shape) -> str:
    """Repeat every value along the axes after the channels."""
    apart = [0, shape[0]] + [n for inside in shape[1:] for n in (inside, 1)]
    times = [1, 1] + [n for factor in factors for n in (1, factor)]
    x = tape.add("Tile", tape.reshaped(x, apart), tape.shape(times))
    return tape.reshaped(x, [0, shape[0], *(n * f for n, f in zip(shape[1:], factors, strict=True))])


def _transposed(tape: Tape, node: nodes.TransposedConvolution, x: str, shape: Shape, wire: Range) -> str:
    """Spread the input with zeros between its places, then convolve with the mirrored kernel."""
    inside, dims = shape[1:], len(shape) - 1
    if any(s > 1 for s in node.stride):
        x = tape.reshaped(x, [0, shape[0]] + [n for size in inside for n in (size, 1)])
        ends = [n for s in node.stride for n in (0, s - 1)]
        x = tape.add("Pad", x, tape.shape([0] * (2 + 2 * dims) + [0, 0, *ends]), tape.constant(0))
        inside = tuple(n * s for n, s in zip(inside, node.stride, strict=True))
        x = tape.reshaped(x, [0, shape[0], *inside])
    reach = tuple(d * (k - 1) for d, k in zip(node.dilation, node.weight.codes.shape[2:], strict=True))
    before = tuple(r - p for r, p in zip(reach, node.padding, strict=True))
    # The spreading left stride - 1 zeros after the last place.
    after = tuple(b + o - (s - 1) for b, o, s in zip(before, node.output_padding, node.stride, strict=True))
    x = _pad(tape, x, (shape[0], *inside), before, after)
    one, none = (1,) * dims, (0,) * dims
    return convolution(
        tape, node, forward_codes(node), x, wire, stride=one, padding=none, dilation=node.dilation, groups=node.groups
    )
