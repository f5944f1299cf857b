"""A tape of ONNX operators over integers, and the file that it becomes.

Every tensor between operators holds int32 or int64, the tape's ``numbers``; uint8 appears only where a product is
computed. The dialect QONNX carries its integers in float32 instead. Operators are those of opset 17 that ONNX Runtime's
CPU provider executes for these types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.formats.refuse import optional
from bitspike.integer.nodes import Rounding, Shape

OPSET = 17
IR_VERSION = 8
"""The oldest version of the file format that holds opset 17."""

CARRIED = 1 << 24
"""The largest integer up to which a float32 skips none."""

Numbers = type[np.int32] | type[np.int64] | type[np.float32]
Border = tuple[str, tuple[int | str, ...]]
"""Name and shape of a tensor at the border; "N" is the batch."""


@dataclass(frozen=True)
class Op:
    """One operator, of ONNX itself or of another domain; an attribute may be a tape: the body of a loop."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""


class Tape:
    """Record operators in the order in which they run; ``numbers`` are the integers that carry every value.

    All names begin with ``prefix``, so that they are no node's id, and the body of a loop hides no outer name.

    Example:
        >>> tape = Tape(np.int32)
        >>> tape.shifted("x", 2)
        '/Div_2'
        >>> [op.kind for op in tape.ops]
        ['Mod', 'Sub', 'Div']
    """

    def __init__(self, numbers: Numbers, *, prefix: str = "/") -> None:
        self.numbers = numbers
        self.prefix = prefix
        self.ops: list[Op] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self._known: dict[tuple[str, Shape, bytes], str] = {}

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest of the integers that the tape's numbers hold without a gap."""
        if self.numbers is np.float32:
            return -CARRIED, CARRIED
        half = 1 << (8 * np.dtype(self.numbers).itemsize - 1)
        return -half, half - 1

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Record an operator of one output and return the output's name."""
        name = name or f"{self.prefix}{kind}_{len(self.ops)}"
        self.ops.append(Op(kind, inputs, (name,), attributes))
        return name

    def constant(self, values: npt.ArrayLike, dtype: type[np.generic] | None = None) -> str:
        """Return the name of a constant; equal constants are one."""
        array = np.asarray(values)
        array = np.ascontiguousarray(array.astype(dtype or self.numbers)).reshape(array.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{self.prefix}constant_{len(self._known)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def parameter(self, values: npt.NDArray[Any], dims: int, dtype: type[np.generic] | None = None) -> str:
        """Return the name of values [1, 1 or C] as they lie against a wire [N, C, ...], ``dims`` axes after N."""
        return self.constant(parameter_table(values, dims)[0], dtype)

    def shape(self, values: Sequence[int]) -> str:
        """Return the name of an int64 vector, as operators take their shapes, starts and ends."""
        return self.constant(np.array(values, np.int64), np.int64)

    def total(self, terms: Sequence[str]) -> str:
        """Return the sum of the terms."""
        result = terms[0]
        for term in terms[1:]:
            result = self.add("Add", result, term)
        return result

    def largest(self, tensors: Sequence[str]) -> str:
        """Return the largest of several tensors, place by place."""
        return self.add("Max", *tensors) if len(tensors) > 1 else tensors[0]

    def times(self, x: str, factor: int) -> str:
        """Return ``factor * x``."""
        return x if factor == 1 else self.add("Mul", x, self.constant(factor))

    def shifted(self, x: str, bits: int, rounding: Rounding = "floor") -> str:
        """Return ``x / 2**bits``, rounded down or toward zero: ``(x - x mod 2**bits) / 2**bits`` has no remainder.

        ONNX shifts unsigned integers only. Its integer ``Mod`` has the divisor's sign, with ``fmod`` that of ``x``.
        """
        if not bits:
            return x
        power = self.constant(1 << bits)
        rest = self.add("Mod", x, power, fmod=1) if rounding == "zero" else self.add("Mod", x, power)
        return self.add("Div", self.add("Sub", x, rest), power)

    def to_numbers(self, x: str) -> str:
        """Return ``x`` in the tape's integers."""
        return self.add("Cast", x, to=np.dtype(self.numbers))

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """Return ``x`` in another shape; 0 keeps an axis, -1 takes what is left."""
        return self.add("Reshape", x, self.shape(shape))


def model_of(
    tape: Tape,
    inputs: Sequence[Border],
    outputs: Sequence[Border],
    metadata: Mapping[str, str],
    *,
    others: Mapping[str, Numbers | type[np.float64]] | None = None,
    functions: Sequence[str] = (),
) -> Any:
    """Return the ``onnx.ModelProto`` of a tape.

    ``others`` are kinds of the tensors at the border that do not hold the tape's numbers, by name. Of ``functions``,
    operators of other domains in ONNX's text notation, those that the tape uses are added.

    Raises:
        ExportError: the package onnx is missing.
    """
    onnx = optional("onnx", extra="onnx")
    kinds = dict.fromkeys((n for n, _ in (*inputs, *outputs)), tape.numbers) | dict(others or {})
    ends = [
        [onnx.helper.make_tensor_value_info(n, _code(onnx, kinds[n]), shape) for n, shape in side]
        for side in (inputs, outputs)
    ]
    used = {(op.domain, op.kind) for op in tape.ops}
    known = [onnx.parser.parse_function(text) for text in functions]
    model = onnx.helper.make_model(
        _graph(onnx, tape, "network", *ends),
        functions=[f for f in known if (f.domain, f.name) in used],
        opset_imports=[onnx.helper.make_opsetid(d, 1 if d else OPSET) for d in sorted({d for d, _ in used} | {""})],
        producer_name="bitspike",
        ir_version=IR_VERSION,
    )
    onnx.helper.set_model_props(model, dict(metadata))
    return model


def _code(onnx: Any, numbers: type[np.generic]) -> int:
    """Return ONNX's number for a kind of tensor."""
    code: int = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(numbers))
    return code


def _graph(onnx: Any, tape: Tape, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in tape.constants.items()]
    return onnx.helper.make_graph([_node(onnx, op) for op in tape.ops], name, inputs, outputs, constants)


def _node(onnx: Any, op: Op) -> Any:
    attributes = {}
    for key, value in op.attributes.items():
        if isinstance(value, Body):
            kind = _code(onnx, value.tape.numbers)
            borders = value.inputs, value.outputs
            ends = [[onnx.helper.make_tensor_value_info(n, kind, None) for n in names] for names in borders]
            attributes[key] = _graph(onnx, value.tape, value.tape.prefix.strip("/"), *ends)
        elif isinstance(value, np.dtype):
            attributes[key] = onnx.helper.np_dtype_to_tensor_dtype(value)
        else:
            attributes[key] = list(value) if isinstance(value, tuple) else value
    names = {"name": op.outputs[0], "domain": op.domain}
    return onnx.helper.make_node(op.kind, list(op.inputs), list(op.outputs), **names, **attributes)


@dataclass(frozen=True)
class Body:
    """The body of a loop: its tape, and the names that go in and come out."""

    tape: Tape
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parameter_table(values: npt.NDArray[Any], dims: int) -> npt.NDArray[Any]:
    """Reshape [1 or T, 1 or C] to [1 or T, 1 or C, 1, ...]: a row per step, which broadcasts against [N, C, ...].

    Example:
        >>> parameter_table(np.zeros((5, 8), np.int64), dims=3).shape
        (5, 8, 1, 1)
    """
    return values.reshape(*values.shape, *[1] * (dims - 1))
