"""The canonical graph of an ordinary network: a list of operations in the order of data flow.

Every front end makes this form, and every pass of a conversion reads and rewrites it. An operation says what it
computes on one sample; the batch is not part of its shapes. Operations with parameters name a module of
``Graph.modules``; what the conversion does not understand is kept as a ``host`` operation and runs as it is.

    kind          inputs  attrs                                             module
    input         0       index: int
    convolution   1       (all from the module)                             nn.Conv1d/2d/3d or nn.ConvTranspose1d/2d/3d
    linear        1                                                         nn.Linear
    norm          1                                                         nn.BatchNorm1d/2d/3d
    relu          1       clip: float | None (the upper limit of ReLU6 and hardtanh)
                          levels: int (of a quantized relu: how many steps there are from 0 to its clip)
    add           2       signs: (1, 1) or (1, -1)
    affine        1       gain, shift: float or Tensor [C] (a constant times, a constant added)
    concat        2+      (along the channels)
    reshape       1       (to ``shape``)
    transpose     1       axes (channels are axis 0)
    slice         1       start, stop (channels)
    avg_pool      1       kernel, stride, padding: tuples; ceil_mode, count_include_pad: bool
    max_pool      1       kernel, stride, padding, dilation: tuples; ceil_mode: bool
    upsample      1       mode: "nearest" or "bilinear"; factors: tuple of int; align_corners: bool
    pad           1       before, after: tuples (zeros; by axis after the channels, or by axis with the channels first)
                          value: Tensor [C] (instead of zeros, where values stay real)
    host          0+      call: a callable of the input tensors; what: its name; cause: why it is not understood;
                          code: of the rule that it breaks inside a region (E101, E104, E106 or E109)
    output        1+      structure: how the results are put together (a pytree spec of ``torch.utils._pytree``)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any, Literal

from torch import nn

Kind = Literal[
    "input", "convolution", "linear", "norm", "relu", "add", "affine", "concat", "reshape", "transpose", "slice",
    "avg_pool", "max_pool", "upsample", "pad", "host", "output",
]  # fmt: skip
Shape = tuple[int, ...]
WEIGHTED = ("convolution", "linear")
"""The kinds with weights; a transposed convolution is a ``convolution`` too."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One operation.

    Args:
        id: unique; the module's path, with ``#1`` for its second call, ``#2`` for the third; for a function the path of
            the module whose forward calls it and the function's name, such as ``layer1.0.add``.
        kind: what it computes; see the module's docstring.
        path: of the module it stands for, or of the module whose forward calls the function.
        call: which call of that module, from 0.
        inputs: ids of the operations it reads.
        shape: of the result for one sample; of a ``host`` operation that returns no single tensor, ().
        attrs: parameters of the kind.
        module: key of ``Graph.modules``, or None.
        line: file and line of the user's code, where known.
    """

    id: str
    kind: Kind
    path: str
    call: int = 0
    inputs: tuple[str, ...] = ()
    shape: Shape = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    module: str | None = None
    line: str = ""

    @property
    def name(self) -> str:
        """The id as the name of an argument in Python.

        Example:
            >>> Op(id="layer1.0.relu#1", kind="relu", path="").name, Op(id="0", kind="relu", path="").name
            ('layer1_0_relu_1', 'x_0')
        """
        word = "".join(c if c.isalnum() else "_" for c in self.id)
        return word if word.isidentifier() and not iskeyword(word) else f"x_{word}"

    @property
    def where(self) -> str:
        """The operation for an error message: path, call and line."""
        at = f" ({self.line})" if self.line else ""
        return f"{self.id}{at}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations in the order of data flow, and the modules that hold their parameters.

    Args:
        ops: inputs first, the one output last.
        modules: by path; several operations may share one.
        model: class name of the network, for messages and manifests.
    """

    ops: tuple[Op, ...]
    modules: Mapping[str, nn.Module]
    model: str = ""

    def __getitem__(self, id: str) -> Op:
        for op in self.ops:
            if op.id == id:
                return op
        raise KeyError(id)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def readers(self) -> dict[str, list[Op]]:
        """Return by id the operations that read it, in order."""
        by_id: dict[str, list[Op]] = {op.id: [] for op in self.ops}
        for op in self.ops:
            for source in op.inputs:
                by_id[source].append(op)
        return by_id

    def reach(self, start: Collection[str], *, backwards: bool = False) -> set[str]:
        """Return the ids that can be reached from some operations along the data flow, or against it."""
        readers = self.readers()
        reached: set[str] = set()
        for op in reversed(self.ops) if backwards else self.ops:
            before = [r.id for r in readers[op.id]] if backwards else op.inputs
            if any(id in start or id in reached for id in before):
                reached.add(op.id)
        return reached

    def module_of(self, op: Op) -> nn.Module:
        """Return the module of an operation that has one."""
        assert op.module is not None, op.id
        return self.modules[op.module]
