"""Several effects on the same cells, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.weights.devices.variation import Variation


@checked
@dataclass(frozen=True, repr=False, init=False)
class Combined(Variation):
    """Apply several models of variation in turn, for example what programming does, then defects, then time.

    Seed, chip and resolution are those of the whole; the parts have none of their own.

    Args:
        parts: the models, in the order in which they act.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: there is no part, one of them is no variation, or has a seed, a generator or a chip itself.

    Example:
        >>> from bitspike.weights import Drift, Lognormal
        >>> Combined(Lognormal(0.1), Drift(3600), seed=1, fixed=True)
        Combined(Lognormal(sigma=0.1), Drift(seconds=3600), seed=1, fixed=True)
    """

    parts: tuple[Variation, ...]

    def __init__(
        self,
        *parts: Variation,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        fixed: bool = False,
        active_in_eval: bool | None = None,
        resolution: int | None = None,
    ) -> None:
        values = {"parts": parts, "seed": seed, "generator": generator, "fixed": fixed}
        for name, value in {**values, "active_in_eval": active_in_eval, "resolution": resolution}.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConstraintError("Combined(): at least one part is needed", fix="Combined(Lognormal(0.1))")
        for part in self.parts:
            if not isinstance(part, Variation):
                raise ConstraintError(
                    f"Combined({part!r}): a model of variation is needed", fix="Combined(Lognormal(0.1), StuckAt(0.01))"
                )
            if part.seed is not None or part.generator is not None or part.active_in_eval is not None:
                raise ConstraintError(
                    f"Combined({part!r}): the part has draws of its own, and those of the whole count",
                    fix=f"Combined({part._with()}, seed=0)",
                )
        super().__post_init__()

    @property
    def numbers(self) -> int:
        return sum(part.numbers for part in self.parts)

    def draw(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.cat([part.draw(like, generator) for part in self.parts])

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        start = 0
        for part in self.parts:
            w = part.vary(w, draws[start : start + part.numbers])
            start += part.numbers
        return w

    def _with(self, more: str = "") -> str:
        return f"Combined({', '.join([*map(repr, self.parts), *[more] * bool(more)])})"

    def __repr__(self) -> str:
        plain = Variation.__repr__(self)
        inner = ", ".join(map(repr, self.parts))
        return plain.replace(f"parts={self.parts!r}", inner, 1)


def combined(
    parts: tuple[Variation, ...],
    *,
    seed: int | None = None,
    fixed: bool = False,
    active_in_eval: bool | None = None,
    resolution: int | None = None,
) -> Combined:
    """Return :class:`Combined` of a list of parts, as recipes name it."""
    return Combined(*parts, seed=seed, fixed=fixed, active_in_eval=active_in_eval, resolution=resolution)
