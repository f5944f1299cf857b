"""The rules that a region must keep to become spiking, checked all at once; ``violations.CODES`` lists them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import Tensor

from bitspike.conversion.region.choose import both_sides, detour, in_one_piece
from bitspike.errors import ConversionError
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.wires import Wire, wires
from bitspike.violations import CODES, Violation


def violations(graph: Graph, region: Collection[str]) -> list[Violation]:
    """Return all that keeps a region of a folded graph from becoming spiking, in the order of data flow.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> from bitspike.conversion.region.choose import region
        >>> graph = capture(nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 2)), torch.zeros(1, 2))
        >>> [(v.code, v.path) for v in violations(graph, region(graph))]
        [('E101', '1')]
    """
    check = _Check(graph, region)
    return [*check.whole(), *(violation for op in graph if op.id in region for violation in check.of(op))]


def raise_if(broken: Sequence[Violation]) -> None:
    """Raise one error that lists every violation that is an error.

    Raises:
        ConversionError: there is one.

    Example:
        >>> raise_if([Violation(code="W203", found="codes reach 3 of 127")])
    """
    errors = [violation for violation in broken if violation.severity == "error"]
    if not errors:
        return
    count = "1 rule is" if len(errors) == 1 else f"{len(errors)} rules are"
    message = "\n  ".join([f"the network cannot become spiking: {count} broken", *map(_said, errors)])
    raise ConversionError(
        message, fix=f"take one of the ways out under {'it' if len(errors) == 1 else 'each of them'}, and convert again"
    )


def _said(violation: Violation) -> str:
    """Return a violation as a message says it: its place and line, what was found and is allowed, the ways out."""
    at = f" ({violation.line})" if violation.line else ""
    allowed = f"; {violation.allowed}" if violation.allowed else ""
    ways = f"\n        {'; or '.join(violation.fixes)}" if violation.fixes else ""
    return f"{violation.code}  {violation.where or '(the network)'}{at}: {violation.found}{allowed}{ways}"


class _Check:
    """The rules, one method each."""

    def __init__(self, graph: Graph, region: Collection[str]) -> None:
        self.graph = graph
        self.region = region
        self.wires: dict[str, Wire] = wires(graph)
        self.readers = graph.readers()

    def whole(self) -> Iterator[Violation]:
        """Rules on the region as a whole."""
        way, complete = detour(self.graph, self.region)
        if way:
            missing = [op.id for op in self.graph if op.id in complete and op.id not in self.region]
            yield Violation(
                code="E107",
                path=self.graph[way[1]].path,
                line=self.graph[way[1]].line,
                rule=CODES["E107"].meaning,
                found=f"the way {' -> '.join(way)} leaves the region and comes back",
                allowed="no way may",
                fixes=(f"take in {', '.join(map(repr, missing))} too", "convert one side of it only"),
            )
        if any(op.kind == "relu" and op.id in self.region for op in self.graph):
            return
        others = [
            op for op in self.graph if op.id not in self.region and op.kind == "host" and self._could_have_spiked(op)
        ]
        yield from (self._host(op) for op in others)
        if not others and not any(op.kind == "host" and op.id in self.region for op in self.graph):
            yield Violation(
                code="E101",
                rule=CODES["E101"].meaning,
                found="there is no relu between weights that could become a neuron",
                fixes=(
                    "take in more: include=None, exclude=()"
                    if in_one_piece(self.graph, {op.id for op in self.graph})
                    else "put nn.ReLU after the weighted layers and train again",
                ),
            )

    def of(self, op: Op) -> Iterator[Violation]:
        """Rules on one operation of the region."""
        if op.kind == "host":
            yield self._host(op)
        elif op.kind in ("norm", "affine"):
            yield self._unfolded(op)
        elif op.kind in ("avg_pool", "max_pool"):
            yield from self._pool(op)
        elif op.kind == "upsample" and op.attrs["mode"] != "nearest":
            corners = op.attrs["align_corners"]
            yield self._violation(
                "E106",
                op,
                f"it grows in mode {op.attrs['mode']!r} "
                + ("with aligned corners" if corners else "values that may be negative"),
                "allowed are 'nearest', and 'bilinear' of rectified values with align_corners=False",
                "align_corners=False and finetune" if corners else "put a relu before it and finetune",
                'mode="nearest" and finetune',
            )
        if op.kind in WEIGHTED:
            yield from self._feeds_one_relu(op)
        yield from self._signed(op)

    def _could_have_spiked(self, op: Op) -> bool:
        """Tell whether an operation that is not understood stands where a neuron or its weights would."""
        module = self.graph.modules.get(op.module or "")
        weight = getattr(module, "weight", None)
        if op.attrs["code"] == "E101" or (isinstance(weight, Tensor) and weight.ndim > 1):
            return True
        # A product or a shape that no layer has, before a relu that could have become a neuron.
        return any(other.kind == "relu" for other in self.graph if other.id in self.graph.reach({op.id}))

    def _violation(self, code: str, op: Op, fact: str, allowed: str, *fixes: str) -> Violation:
        stay = self._stay_real(op)
        fixes = fixes if stay is None else (*fixes, stay)
        return Violation(
            code=code,
            path=op.path or op.id,
            call=op.call,
            line=op.line,
            rule=CODES[code].meaning,
            found=fact,
            allowed=allowed,
            fixes=fixes or ("replace it with layers that convert: weights and ReLU, pools, sums, concatenations",),
        )

    def _stay_real(self, op: Op) -> str | None:
        """Return which layers can stay real, with this one, so that the others still convert; None where none can."""
        for side, names in sorted(both_sides(self.graph, op.id).items(), key=lambda pair: len(pair[1])):
            rest = {o.id for o in self.graph if o.id in self.region and o.id not in names and o.path not in names}
            if in_one_piece(self.graph, rest):
                more = f" (this layer and every layer {side} it)" if len(names) > 1 else ""
                return f"keep it in floating point: exclude={list(names)!r}{more}"
        return None

    def _host(self, op: Op) -> Violation:
        code = str(op.attrs["code"])
        fixes = {
            "E101": ("put nn.ReLU in its place and finetune",),
            "E104": ("choose an image size or a pool with whole windows",),
            "E109": ("reshape with x.flatten(1) or x.view(x.size(0), -1)",),
        }.get(code, ())
        what = f"{op.attrs['what']}: {op.attrs['cause']}"
        return self._violation(code, op, what, "" if code == "E109" else _LIMITS.get(code, ""), *fixes)

    def _unfolded(self, op: Op) -> Violation:
        source = self.graph[op.inputs[0]]
        what = "norm" if op.kind == "norm" else "constant"
        reason = f"the {what} after {source.id!r} ({source.kind}) can be folded into no weights"
        if len(self.readers[source.id]) > 1:
            reason += f", since {source.id!r} is read {len(self.readers[source.id])} times"
        allowed = "it must follow a weighted operation alone, or stand before one that pads nothing"
        return self._violation("E105", op, reason, allowed, "put it right after the weighted layer and train again")

    def _pool(self, op: Op) -> Iterator[Violation]:
        fixes: dict[str, str] = {}  # by what is wrong
        if op.attrs["ceil_mode"]:
            fixes["ceil_mode makes windows that lie partly outside"] = "ceil_mode=False"
        if op.kind == "avg_pool" and any(op.attrs["padding"]) and not op.attrs["count_include_pad"]:
            fixes["count_include_pad=False makes windows of several sizes"] = "count_include_pad=True"
        if op.kind == "max_pool" and set(op.attrs["dilation"]) != {1}:
            fixes[f"dilation {op.attrs['dilation']}"] = "dilation=1"
        if fixes:
            allowed = "windows are whole, of one size and dense"
            yield self._violation("E104", op, " and ".join(fixes), allowed, ", ".join(fixes.values()))

    def _feeds_one_relu(self, op: Op) -> Iterator[Violation]:
        readers = self.readers[op.id]
        if len(readers) > 1 and any(reader.id in self.region for reader in readers):
            names = ", ".join(repr(reader.id) for reader in readers)
            yield self._violation(
                "E101",
                op,
                f"its result is read {len(readers)} times, by {names}",
                "it feeds one relu, or leaves the region",
                "read the result of the relu after it instead",
            )

    def _signed(self, op: Op) -> Iterator[Violation]:
        """Signed values may go from weights to a relu, alone or as a sum, and nowhere else."""
        currents = [s for s in op.inputs if self.wires[s] == "current" and s in self.region]
        if op.kind == "add" and self.wires[op.id] != "rectified":
            readers = self.readers[op.id]
            fused = len(readers) == 1 and readers[0].id in self.region and readers[0].kind in ("relu", "add")
            if not fused:
                names = ", ".join(repr(reader.id) for reader in readers)
                yield self._violation(
                    "E103",
                    op,
                    f"a sum of signed values is read by {names}",
                    "one relu reads it, and nothing else",
                    "put a relu after the sum",
                    "put a relu after each of its parts",
                )
        elif currents and op.kind not in ("relu", "add", "host", "norm", "affine"):
            yield self._violation(
                "E103",
                op,
                f"it reads the signed values of {', '.join(map(repr, currents))}",
                "spikes are 0 or 1",
                f"put a relu between {currents[0]!r} and {op.id!r}",
            )


_LIMITS = {
    "E101": "a neuron computes ReLU, ReLU6 or a clip between 0 and a constant",
    "E104": "windows are whole and of one size",
    "E106": "the integer form has no such operation",
}
