"""Device variation of resistive memory: each programmed weight differs a little from what was asked for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.ops.rounding import straight_through

SIGMA_OF_BITS = {1: 0.08164, 2: 0.12542, 3: 0.2062, 4: 0.34597, 8: 0.369039}
"""Deviation of ln(conductance) at a precision of so many bits (code of R. Kuang 2022, hybrid RRAM/SRAM networks)."""


@dataclass(frozen=True)
class Lognormal:
    """Vary each weight by a log-normal factor, clipped at the largest magnitude of the layer.

        W~ = sign(W) * min(|W| * exp(n), max|W|),   n ~ N(0, sigma**2), one draw per weight

    A fresh draw is made in every forward call of a layer and serves all its time steps; in training mode only, unless
    ``active_in_eval``. ``fixed`` draws once, from the seed and the layer's name: one chip, the same on every
    device, and active in evaluation too. The gradient reaches the weight unchanged. ``codes`` tells the ideal codes.

    Args:
        sigma: deviation of n, a finite number >= 0.
        seed: makes the draws reproducible by themselves; each layer draws its own numbers. Without it the global
            generator of the weight's device is used.
        generator: draws from this one instead, in the order in which layers are called.
        fixed: one chip instead of fresh draws; needs ``seed``.
        active_in_eval: vary in evaluation mode as well; None means as ``fixed`` does.

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
    seed: int | None = None
    generator: torch.Generator | None = None
    fixed: bool = False
    active_in_eval: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ConstraintError(
                f"Lognormal(sigma={self.sigma}): a finite number >= 0 is needed", fix="Lognormal(sigma=0.1)"
            )
        if self.seed is not None and self.generator is not None:
            raise ConstraintError("Lognormal: seed and generator are both given", fix="leave one of them out")
        if self.fixed and self.seed is None:
            raise ConstraintError(
                "Lognormal(fixed=True): a chip needs its seed", fix=f"Lognormal({self.sigma}, seed=0, fixed=True)"
            )

    @classmethod
    def for_bits(
        cls,
        bits: int,
        scale: float = 1.0,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        fixed: bool = False,
        active_in_eval: bool | None = None,
    ) -> Lognormal:
        """Return the variation measured for cells of 1, 2, 3, 4 or 8 bits, its sigma times ``scale``.

        Raises:
            ConstraintError: nothing was measured for this number of bits.

        Example:
            >>> Lognormal.for_bits(2, scale=2).sigma
            0.25084
        """
        if bits not in SIGMA_OF_BITS:
            raise ConstraintError(
                f"Lognormal.for_bits({bits}): measured are {', '.join(map(str, SIGMA_OF_BITS))} bits",
                fix="Lognormal(sigma=...) with a sigma of your own",
            )
        sigma = SIGMA_OF_BITS[bits] * scale
        return cls(sigma, seed=seed, generator=generator, fixed=fixed, active_in_eval=active_in_eval)

    def build(self, name: str, weight: Tensor) -> FreshNoise | ChipNoise:
        """Return the stage of the layer called ``name``; its numbers depend on the seed and on that name only."""
        active = self.fixed if self.active_in_eval is None else self.active_in_eval
        if self.seed is None:
            return FreshNoise(self.sigma, self.generator, active)
        # Drawn on the CPU whatever the device of the weight is: a seed means the same chip everywhere. The generator
        # looks at 32 bits of its seed only, so seed and name are mixed by a hash instead of standing side by side.
        mixed = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(mixed, "little"))
        if self.fixed:
            return ChipNoise(self.sigma, generator, active, weight)
        return SeededNoise(self.sigma, generator, active)


class FreshNoise(nn.Module):
    """Draw new factors in every call."""

    def __init__(self, sigma: float, generator: torch.Generator | None, active_in_eval: bool) -> None:
        super().__init__()
        self.sigma, self.generator, self.active_in_eval = sigma, generator, active_in_eval

    def draw(self, w: Tensor) -> Tensor:
        """Return n for each weight."""
        if self.generator is None:
            return torch.randn_like(w).mul_(self.sigma)
        device = self.generator.device
        return torch.randn(w.shape, generator=self.generator, device=device, dtype=w.dtype).to(w.device) * self.sigma

    def forward(self, w: Tensor) -> Tensor:
        if not (self.training or self.active_in_eval):
            return w
        with torch.no_grad():
            magnitude = w.abs()
            varied = w.sign() * torch.minimum(magnitude * self.draw(w).exp_(), magnitude.amax())
        return straight_through(varied, w)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}, active_in_eval={self.active_in_eval}"


class SeededNoise(FreshNoise):
    """Draw new factors from a generator of its own; its state is part of the state_dict, so a resumed run goes on."""

    generator: torch.Generator

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a saved state of the generator."""
        self.generator.set_state(state.cpu())


class ChipNoise(FreshNoise):
    """Keep one draw for good: one chip."""

    noise: Tensor

    def __init__(self, sigma: float, generator: torch.Generator, active_in_eval: bool, weight: Tensor) -> None:
        super().__init__(sigma, None, active_in_eval)
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32) * sigma
        # Not persistent: the seed is enough to make it again, and a checkpoint is about the network, not about a chip.
        self.register_buffer("noise", noise.to(weight.device), persistent=False)

    def draw(self, w: Tensor) -> Tensor:
        return self.noise.to(w.dtype, copy=True)
