"""Which scheme the weights of each layer of a quantized network get."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from bitspike.errors import ConstraintError
from bitspike.graph.ir import Op
from bitspike.patterns import last_match, matching
from bitspike.weights.scales import Max
from bitspike.weights.schemes import LearnedClip, Scheme, Uniform
from bitspike.weights.stage import Stage, StagePlan

FLOAT = 32
"""Bits of what is not quantized."""
Schemes = Scheme | StagePlan | Stage
Asked = Schemes | Literal["float"] | Mapping[str, Schemes | Literal["float"]] | None
End = tuple[Collection[str], int | None]
"""Ids of the layers at one end of the network, and their bits."""


def schemes_of(layers: Mapping[str, Op], weights: Asked, *, bits: int, first: End, last: End) -> dict[str, Schemes]:
    """Return the scheme of every layer that gets one, by path.

    Args:
        layers: by path, an operation that calls it.
        weights: as of :func:`bitspike.conversion.quantized.quantize.quantize`.
        bits: of the activations.
        first, last: the layers at both ends.

    Raises:
        ConstraintError: a pattern matches no layer, or a layer no pattern; a choice is no scheme.
    """
    chosen = dict(weights) if isinstance(weights, Mapping) else {"*": weights}
    matching([p for p in chosen if p != "*"], list(layers), argument="weights")
    if weights is None and bits == FLOAT:
        return {}
    schemes: dict[str, Schemes] = {}
    for path, op in layers.items():
        scheme = _scheme(path, op, chosen, bits=bits, ends=(("first_bits", *first), ("last_bits", *last)))
        if scheme is not None:
            schemes[path] = scheme
    return schemes


def _scheme(
    path: str,
    op: Op,
    chosen: Mapping[str, Schemes | Literal["float"] | None],
    *,
    bits: int,
    ends: tuple[tuple[str, Collection[str], int | None], ...],
) -> Schemes | None:
    named = last_match({pattern: scheme for pattern, scheme in chosen.items() if pattern != "*"}, path)
    if named is not None:
        return _checked(named)
    for argument, ids, width in ends:
        if op.id in ids and width is not None:
            return _uniform(argument, width)
    if "*" not in chosen:
        raise ConstraintError(
            f"quantize(weights={list(chosen)}): no pattern matches {path!r}",
            fix='a pattern "*", with "float" or a scheme',
        )
    everywhere = chosen["*"]
    return LearnedClip(bits) if everywhere is None else _checked(everywhere)


def _uniform(argument: str, bits: int) -> Schemes | None:
    if bits == FLOAT:
        return None
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 16:
        raise ConstraintError(
            f"quantize({argument}={bits!r}): 1 to 16 are allowed, 32 for float weights, None for those of all layers",
            fix=f"{argument}=8",
        )
    # A named rule: recipes say these bits, and their runs decode with it.
    return Uniform(bits, scale=Max())


def _checked(scheme: object) -> Schemes | None:
    """Return a scheme, or None for float weights."""
    if isinstance(scheme, str) and scheme == "float":
        return None
    if isinstance(scheme, type) or not isinstance(scheme, Scheme | StagePlan | Stage):
        raise ConstraintError(
            f"quantize(weights={scheme!r}): a scheme, 'float' or None is allowed, or a mapping from patterns to them",
            fix="weights=LearnedClip(4)",
        )
    return scheme
