"""Cells that are stuck: whatever is written to them, their conductance is none, or the largest."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.weights.devices.variation import Variation


@checked
@dataclass(frozen=True, repr=False)
class StuckAt(Variation):
    """Hold each weight in a pair of cells, one for each sign, and let some of the cells be stuck.

        W = G+ - G-,   G+ = max(W, 0),  G- = max(-W, 0);   stuck low: G = 0,  stuck high: G = max|W| of the layer

    So a cell that is stuck high takes a weight of its sign to the largest one, and one of the other sign towards it.

    Args:
        low: probability that a cell is stuck at no conductance.
        high: probability that it is stuck at the largest.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: a probability outside [0, 1], or a sum of both above 1.

    Source: faults of RRAM arrays as in C.-Y. Chen et al., IEEE Trans. Computers 64 (2015), 180-190.

    Example:
        >>> defects = StuckAt(high=1.0, seed=0, fixed=True).build("fc", torch.empty(2))
        >>> defects(torch.tensor([0.5, -1.0])).tolist()  # both cells of both weights: 1 - 1
        [0.0, 0.0]
    """

    low: float = 0.0
    high: float = 0.0
    _: KW_ONLY

    def __post_init__(self) -> None:
        if not (self.low >= 0 and self.high >= 0 and self.low + self.high <= 1):
            raise ConstraintError(
                f"StuckAt(low={self.low}, high={self.high}): two probabilities with a sum of at most 1 are needed",
                fix="StuckAt(low=0.02, high=0.01)",
            )
        super().__post_init__()

    @property
    def numbers(self) -> int:
        return 2

    def draw(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        shape, device = (self.numbers, *like.shape), like.device if generator is None else generator.device
        return torch.rand(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        if not w.numel():
            return w
        largest, pair = w.abs().amax(), torch.stack([w, -w]).clamp_(min=0)
        pair = torch.where(draws < self.low, 0, pair)
        pair = torch.where(draws >= 1 - self.high, largest, pair) if self.high else pair
        return pair[0] - pair[1]
