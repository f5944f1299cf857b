"""Drift: the conductance of a cell falls with a power of the time since it was programmed."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.weights.devices.variation import Variation


@checked
@dataclass(frozen=True, repr=False)
class Drift(Variation):
    """Let each weight fall with a power of time, every cell with an exponent of its own.

        W(t) = W * (t / t0)**-nu,   nu = max(0, N(mean, spread**2))

    Args:
        seconds: t, the time since programming, at least ``reference``.
        nu: mean of the exponent, >= 0.
        spread: its deviation between cells, >= 0.
        reference: t0, the time at which weights were what they should be, in seconds.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: a number outside what is allowed.

    Source: the power law of D. Ielmini et al., IEEE Trans. Electron Devices 54 (2007), 308-315.

    Example:
        >>> day = Drift(seconds=86400, nu=0.05).build("fc", torch.empty(1))
        >>> round(day(torch.tensor([1.0])).item(), 3)  # (86400 / 20)**-0.05
        0.658
    """

    seconds: float
    nu: float = 0.05
    spread: float = 0.0
    reference: float = 20.0
    _: KW_ONLY

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.nu, self.spread, self.reference)
        if not (all(map(math.isfinite, numbers)) and min(numbers) >= 0 < self.reference <= self.seconds):
            raise ConstraintError(
                f"Drift(seconds={self.seconds}, nu={self.nu}, spread={self.spread}, reference={self.reference}): "
                "needed are finite numbers >= 0, and seconds of at least reference, which is above 0",
                fix="Drift(seconds=86400, nu=0.05)",
            )
        super().__post_init__()

    @classmethod
    def pcm(cls, seconds: float, *, scale: float = 1.0) -> PCMDrift:
        """Return the drift that was measured on phase-change memory, its exponents times ``scale``.

        Example:
            >>> Drift.pcm(3600.0)
            PCMDrift(seconds=3600.0)
        """
        return PCMDrift(seconds, scale)

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        return drifted(w, self.nu + self.spread * draws[0], self.seconds / self.reference)


@checked
@dataclass(frozen=True, repr=False)
class PCMDrift(Variation):
    """Let each weight fall with a power of time whose exponent depends on its conductance, as phase-change cells do.

        g = |W| / max|W|,   W(t) = W * (t / 20 s)**-nu,   nu = |N(m, s**2)|
        m = clip(-0.0155 ln g + 0.0244, 0.049, 0.1),   s = clip(-0.0125 ln g - 0.0059, 0.008, 0.045)

    Args:
        seconds: t, the time since programming, at least 20.
        scale: multiplies the exponents, >= 0.
        seed, generator, fixed, active_in_eval, resolution: as in
            :class:`bitspike.weights.devices.variation.Variation`.

    Raises:
        ConstraintError: a number outside what is allowed.

    Source: S. R. Nandakumar et al., ICECS 2019 (one million cells), with the constants of IBM's aihwkit.

    Example:
        >>> w = torch.tensor([1.0, -0.1])
        >>> (PCMDrift(3600.0, seed=0).build("fc", w)(w) / w < 1).tolist()
        [True, True]
    """

    seconds: float
    scale: float = 1.0
    _: KW_ONLY

    REFERENCE = 20.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= self.REFERENCE and 0 <= self.scale < math.inf):
            raise ConstraintError(
                f"PCMDrift(seconds={self.seconds}, scale={self.scale}): at least {self.REFERENCE:g} seconds and a "
                "finite scale >= 0 are needed",
                fix="PCMDrift(seconds=86400)",
            )
        super().__post_init__()

    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        if not w.numel():
            return w
        relative = (w.abs() / w.abs().amax().clamp(min=2**-100)).clamp(min=1e-7)
        mean = (-0.0155 * relative.log() + 0.0244).clamp(0.049, 0.1)
        deviation = (-0.0125 * relative.log() - 0.0059).clamp(0.008, 0.045)
        return drifted(w, (mean + deviation * draws[0]).abs() * self.scale, self.seconds / self.REFERENCE)


def drifted(w: Tensor, nu: Tensor, time: float) -> Tensor:
    """Return ``w * time**-max(nu, 0)``.

    Example:
        >>> drifted(torch.tensor([1.0, 1.0]), torch.tensor([0.5, -1.0]), 4.0).tolist()
        [0.5, 1.0]
    """
    return w * torch.exp(-math.log(time) * nu.clamp(min=0))
