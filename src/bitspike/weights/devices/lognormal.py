"""Log-normal variation of resistive memory: each programmed weight differs a little from what was asked for."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.weights.devices.variation import Variation

SIGMA_OF_BITS = {1: 0.08164, 2: 0.12542, 3: 0.2062, 4: 0.34597, 8: 0.369039}
"""Deviation of ln(conductance) at a precision of so many bits (code of R. Kuang 2022, hybrid RRAM/SRAM networks)."""

SIGMAS_OF_LEVELS = {
    1: (0.5,),
    2: (0.276, 0.1035),
    3: (0.3549, 0.2259, 0.1898, 0.1898),
    4: (0.2015, 0.0643, 0.0513, 0.0513, 0.0513, 0.0442, 0.0442, 0.0442),
}
"""The same by level, from the smallest magnitude to the largest. The original's branch for 4 bits leaves out some
levels and changes others twice; here every level has one entry: 5/15 to 9/15 are its middle, 11/15 to 15/15 its top."""


@checked
@dataclass(frozen=True, repr=False)
class Lognormal(Variation):
    """Vary each weight by a log-normal factor, clipped at the largest magnitude of the layer.

        W~ = sign(W) * min(|W| * exp(n), max|W|),   n ~ N(0, sigma**2), one draw per weight

    A fresh draw is made in every forward call of a layer and serves all its time steps; in training mode only, unless
    ``active_in_eval``. ``fixed`` draws once, from the seed and the layer's name: one chip, the same on every
    device, and active in evaluation too. The gradient reaches the weight unchanged. ``codes`` tells the ideal codes.

    Args:
        sigma: deviation of n, a finite number >= 0.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: ``sigma`` is negative or not finite, ``seed`` and ``generator`` are both given, or ``fixed``
            comes without a seed.

    Example:
        >>> stage = Lognormal(sigma=0.1, seed=0).build("conv1", torch.empty(4))
        >>> stage(torch.tensor([1.0, -1.0, 0.0, 0.5])).abs().max().item() <= 1
        True
    """

    sigma: float
    _: KW_ONLY

    def __post_init__(self) -> None:
        _check_sigma("Lognormal", "sigma", self.sigma)
        super().__post_init__()

    @classmethod
    @checked
    def for_bits(
        cls,
        bits: int,
        scale: float = 1.0,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        fixed: bool = False,
        active_in_eval: bool | None = None,
        resolution: int | None = None,
    ) -> Lognormal:
        """Return the variation measured for cells of 1, 2, 3, 4 or 8 bits, its sigma times ``scale``; 0 means none.

        Raises:
            ConstraintError: nothing was measured for this number of bits.

        Example:
            >>> Lognormal.for_bits(2, scale=2)
            Lognormal(sigma=0.25084)
        """
        return cls(
            _of_bits("Lognormal", SIGMA_OF_BITS, bits) * scale,
            seed=seed,
            generator=generator,
            fixed=fixed,
            active_in_eval=active_in_eval,
            resolution=resolution,
        )

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        return lognormal(w, draws[0] * self.sigma)


@checked
@dataclass(frozen=True, repr=False)
class LevelLognormal(Variation):
    """Vary each weight as :class:`Lognormal` does, by a sigma that belongs to its level.

        level = ceil(|W| / max|W| * levels - 1/4),   n ~ N(0, sigma[level]**2)
        W~ = sign(W) * min(|W| * exp(n), max|W|)

    which finds the levels of ``Midrise`` (k of so many) and of ``DoReFa`` (odd numbers) alike.

    Args:
        sigmas: of the levels, from the smallest magnitude to the largest; finite numbers >= 0.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: there is no sigma, or one is negative or not finite.

    Example:
        >>> LevelLognormal((0.3, 0.1)).deviations(torch.tensor([1.0, -0.5, -1/3, 0.0])).tolist()
        [0.10000000149011612, 0.30000001192092896, 0.30000001192092896, 0.30000001192092896]
    """

    sigmas: tuple[float, ...]
    _: KW_ONLY

    def __post_init__(self) -> None:
        if not self.sigmas:
            raise ConstraintError("LevelLognormal(sigmas=()): at least one level is needed", fix="Lognormal(sigma=0.1)")
        for sigma in self.sigmas:
            _check_sigma("LevelLognormal", "sigmas", sigma)
        super().__post_init__()

    @classmethod
    @checked
    def for_bits(
        cls,
        bits: int,
        scale: float = 1.0,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        fixed: bool = False,
        active_in_eval: bool | None = None,
        resolution: int | None = None,
    ) -> LevelLognormal:
        """Return the table of 1, 2, 3 or 4 bits, its sigmas times ``scale``.

        Raises:
            ConstraintError: there is no table for this number of bits.

        Example:
            >>> LevelLognormal.for_bits(2, scale=0)
            LevelLognormal(sigmas=(0.0, 0.0))
        """
        return cls(
            tuple(s * scale for s in _of_bits("LevelLognormal", SIGMAS_OF_LEVELS, bits)),
            seed=seed,
            generator=generator,
            fixed=fixed,
            active_in_eval=active_in_eval,
            resolution=resolution,
        )

    def deviations(self, w: Tensor) -> Tensor:
        """Return the sigma of each weight."""
        magnitude, levels = w.abs(), len(self.sigmas)
        largest = magnitude.amax() if w.numel() else w.new_ones(())
        index = (magnitude / torch.where(largest > 0, largest, 1) * levels - 0.25).ceil_() - 1
        return w.new_tensor(self.sigmas)[index.clamp_(0, levels - 1).long()]

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        return lognormal(w, draws[0] * self.deviations(w))


def lognormal(w: Tensor, n: Tensor) -> Tensor:
    """Return ``sign(w) * min(|w| * exp(n), max|w|)``.

    Example:
        >>> lognormal(torch.tensor([0.5, -1.0]), torch.tensor([0.6931472, 5.0])).tolist()
        [1.0, -1.0]
    """
    if not w.numel():
        return w
    largest = w.abs().amax()
    return (w * n.exp()).clamp(-largest, largest)


def _check_sigma(owner: str, name: str, sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma >= 0):
        value = "(sigma=0.1)" if owner == "Lognormal" else "((0.3, 0.1))"
        raise ConstraintError(f"{owner}({name}={sigma}): a finite number >= 0 is needed", fix=f"{owner}{value}")


def _of_bits(owner: str, table: dict[int, Any], bits: int) -> Any:
    if bits not in table:
        own = "(sigma=...) with a sigma" if owner == "Lognormal" else "(sigmas=...) with sigmas"
        raise ConstraintError(
            f"{owner}.for_bits({bits}): measured are {', '.join(map(str, table))} bits", fix=f"{owner}{own} of your own"
        )
    return table[bits]
