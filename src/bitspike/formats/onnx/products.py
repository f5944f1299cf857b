"""Products of weights and wires from the two integer products that ONNX has: 8 bits times 8 bits, summed in 32.

``ConvInteger`` and ``MatMulInteger`` compute ``sum (x - x_zero) * (w - w_zero)`` of uint8. What does not fit is cut
into digits to the base 256, whose products are exact, and put together again:

    x = sum_i 256**i * x_i,   w = sum_j 256**j * w_j,   x w = sum_ij 256**(i + j) * x_i w_j

Both operands are unsigned because ONNX Runtime executes this pair without saturation on every machine; mixed signs
may saturate at 16 bits on x86 without VNNI (its documentation of quantization says so).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.errors import ExportError
from bitspike.formats.onnx.tape import Tape
from bitspike.integer.bounds.widths import Range
from bitspike.integer.nodes import Integers, Node, Shape, TransposedConvolution, Weighted

Digit = tuple[str, int, int]
"""Name of a uint8 tensor, its zero point, and the power of 256 that it is worth."""


def linear(tape: Tape, node: Node, codes: Integers, x: str, wire: Range) -> str:
    """Return ``x [B, K]`` times the transpose of ``codes [F, K]``."""
    return _product(tape, node, "MatMulInteger", codes, np.ascontiguousarray(codes.T), x, wire)


def convolution(
    tape: Tape,
    node: Node,
    codes: Integers,
    x: str,
    wire: Range,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
) -> str:
    """Return the convolution of ``x [B, C_in, ...]`` with ``codes [C_out, C_in/groups, *kernel]``."""
    return _product(
        tape, node, "ConvInteger", codes, codes, x, wire, kernel_shape=codes.shape[2:], strides=stride,
        pads=(*padding, *padding), dilations=dilation, group=groups,
    )  # fmt: skip


def _product(
    tape: Tape, node: Node, kind: str, codes: Integers, layout: Integers, x: str, wire: Range, **attributes: Any
) -> str:
    """Sum the products of all digits. ``codes`` has the outputs first, ``layout`` is the same as ONNX reads it."""
    left = digits(tape, x, wire)
    terms = []
    for power, digit in enumerate(code_digits(layout)):
        flat = np.abs(code_digits(codes)[power]).reshape(len(codes), -1)
        if int(flat.sum(1).max(initial=0)) * 255 >= 2**31:
            raise ExportError(
                f"{node.path}: one sum of products of 8 bits leaves 32 bits, more than ONNX adds up",
                fix="fewer inputs per neuron (groups, smaller kernels)",
            )
        if power and not digit.any():
            continue
        weight = tape.constant((digit + 128).astype(np.uint8), np.uint8)
        for name, zero, place in left:
            zeros = [tape.constant(np.uint8(value), np.uint8) for value in (zero, 128)]
            product = tape.add(kind, name, weight, *zeros, **attributes)
            product = product if tape.numbers is np.int32 else tape.to_numbers(product)
            terms.append(tape.times(product, 256 ** (power + place)))
    return tape.total(terms)


def digits(tape: Tape, x: str, wire: Range) -> list[Digit]:
    """Cut a wire into uint8 digits; the last one carries the sign, by its zero point.

    Example:
        >>> tape = Tape(np.int32)
        >>> [(zero, place) for _, zero, place in digits(tape, "x", (-3, 1000))]
        [(0, 0), (1, 1)]
    """
    low, high = wire
    cut: list[Digit] = []
    while high - min(low, 0) > 255:
        digit = tape.add("Mod", x, tape.constant(256))  # of ONNX: has the sign of 256, so it is 0 to 255
        cut.append((tape.add("Cast", digit, to=np.dtype(np.uint8)), 0, len(cut)))
        x = tape.add("Div", tape.add("Sub", x, digit), tape.constant(256))
        low, high = low >> 8, high >> 8
    zero = max(-low, 0)
    shifted = tape.add("Add", x, tape.constant(zero)) if zero else x
    return [*cut, (tape.add("Cast", shifted, to=np.dtype(np.uint8)), zero, len(cut))]


def code_digits(codes: Integers) -> list[Integers]:
    """Cut codes into digits from -128 to 127, the lowest first.

    Example:
        >>> [digit.tolist() for digit in code_digits(np.array([5, -255, 300]))]
        [[5, 1, 44], [0, -1, 1]]
    """
    cut = []
    rest = codes
    while rest.size and (rest.min() < -128 or rest.max() > 127):
        digit = ((rest + 128) % 256) - 128  # the residue next to 0, so that the rest shrinks to both sides
        cut.append(digit)
        rest = (rest - digit) // 256
    return [*cut, rest]


def forward_codes(node: TransposedConvolution) -> Integers:
    """Return the codes of the convolution [C_out, C_in/groups, *kernel] that reads the spread input.

    Output o of a transposed convolution gathers what its neighbors spread to it: the kernel is mirrored.
    """
    codes, groups = node.weight.codes, node.groups
    into, per_group, *kernel = codes.shape
    grouped = np.swapaxes(codes.reshape(groups, into // groups, per_group, *kernel), 1, 2)
    mirrored = np.flip(grouped, axis=tuple(range(3, grouped.ndim)))
    return np.ascontiguousarray(mirrored.reshape(groups * per_group, into // groups, *kernel))


def largest_product(node: Weighted, wire: Range) -> int:
    """Bound every number on the way from digits to the sum of products.

    The products of digits overshoot their sum: 2 times where both are one digit, 3 times for codes beyond 8 bits, 3
    times more for wires beyond 8 bits.
    """
    codes = forward_codes(node) if isinstance(node, TransposedConvolution) else node.weight.codes
    flat = codes.reshape(len(codes), -1)
    plus, minus = int(np.maximum(flat, 0).sum(1).max()), -int(np.minimum(flat, 0).sum(1).min())
    cut = np.abs(flat).max(initial=0) > 127 or wire[1] - wire[0] > 255
    return (16 if cut else 2) * (plus + minus) * max(-wire[0], wire[1])
