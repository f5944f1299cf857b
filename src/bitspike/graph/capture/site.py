"""What a handler sees of one call in a trace, and what it may return or raise."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec

from bitspike.graph.capture.observe import Seen, name_of
from bitspike.graph.ir import Kind, Op, Shape


@dataclass(frozen=True)
class Ref:
    """A tensor of the graph that is built; ``shape`` is that of one sample, None where it has no row per sample."""

    id: str
    shape: Shape | None

    @property
    def inside(self) -> Shape:
        """The shape of one sample, channels first."""
        assert self.shape is not None, self.id
        return self.shape


@dataclass(frozen=True)
class Split:
    """The results of a split along the channels, cut out where they are read."""

    source: Ref
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Scalar:
    """A number that depends on the size of the batch; handlers that need a constant must refuse it."""

    value: Any


class NotUnderstood(Exception):
    """No operation of the canonical graph says this; the message is the cause.

    Args:
        cause: why.
        code: of the rule that such an operation breaks inside a region.
    """

    def __init__(self, cause: str, code: str = "E106") -> None:
        super().__init__(cause)
        self.code = code


@dataclass(frozen=True)
class Place:
    """Where a node comes from: the path of its module, whether the node is that module, the line of the user's code."""

    path: str
    is_module: bool
    line: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a front end hands over.

    Args:
        graph: the traced nodes.
        root: the module that they refer to.
        place: where a node comes from.
        structure: how the leaves of the trace's output are put together.
        model: class name of the network.
        inplace: paths of the modules that overwrite their input.
        kept: paths of modules that the user keeps real.
    """

    graph: fx.Graph
    root: nn.Module
    place: Callable[[fx.Node], Place]
    structure: TreeSpec
    model: str
    inplace: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


class Walk(Protocol):
    """What a call needs of the walk over the trace that it belongs to."""

    trace: Trace
    modules: dict[str, nn.Module]

    def add(self, op: Op, *, of_module: bool) -> Ref:
        """Append an operation under an id that is not taken yet."""

    def layer(self, site: Site, weight: Tensor, make: Callable[[], nn.Module]) -> str:
        """Return the key of the module that holds a functional layer's parameters."""


class Site:
    """One call in the trace, as a handler sees it.

    Args:
        name: the plain name of what is called.
        shape: of the result for one sample; () where it is no single tensor.
        parts: the shapes of the results, batch included, where they are a tuple.
    """

    def __init__(self, walk: Walk, node: fx.Node, seen: Seen) -> None:
        self._walk = walk
        self.node = node
        self.name = name_of(node)
        self.place = walk.trace.place(node)
        self.shape: Shape = seen.shape[1:] if seen.shape is not None and seen.rows else ()
        self.parts: tuple[Shape | None, ...] = seen.value if isinstance(seen.value, tuple) else ()

    def take_first(self) -> None:
        """Let the first of several results be the one result of the call; the others are not understood."""
        first = self.parts[0]
        assert first is not None, self.name
        self.shape = first[1:]

    @property
    def module(self) -> nn.Module:
        """The module that is called."""
        return self._walk.trace.root.get_submodule(str(self.node.target))

    def emit(
        self,
        kind: Kind,
        *inputs: Ref,
        shape: Shape | None = None,
        name: str = "",
        module: str | None = None,
        **attrs: Any,
    ) -> Ref:
        """Add an operation and return its result; shape and name are the call's where they are not given."""
        place = self.place
        base = place.path if place.is_module and not name else ".".join(filter(None, [place.path, name or self.name]))
        return self._walk.add(
            Op(
                id=base,
                kind=kind,
                path=place.path,
                inputs=tuple(r.id for r in inputs),
                shape=self.shape if shape is None else shape,
                attrs=attrs,
                module=module,
                line=place.line,
            ),
            of_module=place.is_module and not name,
        )

    def layer(self, weight: Tensor, make: Callable[[], nn.Module]) -> str:
        """Return the key of the module that holds a functional layer's parameters; make it at the first call.

        Where the weight is a module's parameter, the layer takes that module's path.
        """
        return self._walk.layer(self, weight, make)

    def own(self, **changes: Any) -> str:
        """Keep the called module and return its key; with other attributes it is a copy that shares the parameters."""
        key = str(self.node.target)
        if key not in self._walk.modules:
            module = copy(self.module) if changes else self.module
            vars(module).update(changes)
            self._walk.modules[key] = module
        return key
