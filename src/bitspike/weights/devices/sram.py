"""Recovery: a few exact bits in SRAM add a correction to weights that lie in devices and vary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, some
from bitspike.weights.codes import WeightCodes, masked, on_grid, summed
from bitspike.weights.devices.variation import chip_generator
from bitspike.weights.schemes import FixedPoint, Midrise, Scheme
from bitspike.weights.schemes.base import check_bits

FLOAT = 32
"""The bits of an SRAM whose weights are not quantized."""
Start = Literal["rram", "zero", "xavier"]
STARTS: tuple[Start, ...] = get_args(Start)
"""Where the SRAM may begin without a state of another network."""


@checked
@dataclass(frozen=True)
class SRAM:
    """Add exact weights of a few bits to those of a memory that varies, which is frozen; for the slot ``recover``.

        W = (W~ + 2**shift * Q(S)) / 2        y = (conv(x, W~) + 2**shift * conv(x, Q(S))) / 2

    W~ is what the slots ``quantize`` and ``vary`` gave. It gets no gradient, and ``attach`` freezes its master; what
    trains is S, the master of the SRAM. With ``start="zero"`` nothing is halved: the network begins as it was.

    Args:
        bits: of an SRAM weight, 1 to 8; 32 leaves S a float.
        shift: k of the bit shifter; above 0 to the left, below to the right.
        start: where S begins. ``"rram"`` copies the master of the memory that varies; ``"zero"``; ``"xavier"`` draws
            uniformly (Glorot and Bengio 2010); or a state by layer, for example the ``state_dict()`` of another
            network of this shape, whose ``LAYER.weight`` (or master of a weight path) is taken.
        quantize: the scheme of S. None is ``Midrise(bits)``; from zero ``FixedPoint(2**(1 - bits), bits)``, which has
            a zero, because ``Midrise`` would make a constant offset of it.
        halve: whether to divide by 2; None does unless S starts from zero.
        seed: of ``"xavier"``.

    Raises:
        ConstraintError: ``bits`` outside what is allowed, a shift that is no whole number from -16 to 16, ``"zero"``
            with a scheme that has no zero; when attached, a state that lacks the layer or has another shape of it.

    Source: G. Krishnan et al., "Hybrid RRAM/SRAM in-Memory Computing for Robust DNN Acceleration", IEEE TCAD 2022.

    Example:
        >>> from bitspike.weights import Lognormal, Midrise, attach
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> layer = attach(layer, quantize=Midrise(4), vary=Lognormal.for_bits(4), recover=SRAM(2))
        >>> [name for name, p in layer.named_parameters() if p.requires_grad]
        ['parametrizations.weight.0.recover.master']
    """

    bits: int
    shift: int = 0
    _: KW_ONLY
    start: Start | Mapping[str, Tensor] = field(default="rram", repr=False)
    quantize: Scheme | None = None
    halve: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bits != FLOAT:
            check_bits("SRAM", self.bits, 8, fix="SRAM(bits=2), or SRAM(bits=32) for floats")
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or abs(self.shift) > 16:
            raise ConstraintError(
                f"SRAM(shift={self.shift!r}): a whole number from -16 to 16 is allowed",
                fix=f"SRAM({self.bits}, shift=0)",
            )
        if not (isinstance(self.start, Mapping) or self.start in STARTS):
            raise ConstraintError(
                f"SRAM(start={self.start!r}): allowed are 'rram', 'zero', 'xavier' and a state by layer",
                fix=f"SRAM({self.bits}, start='rram')",
            )
        if self.start == "zero" and (scheme := self.scheme) is not None and not holds_zero(scheme):
            raise ConstraintError(
                f"SRAM(start='zero') with {scheme!r}: it has no zero, so zeros become a constant offset",
                fix="SRAM(bits=2, start='zero'), whose grid has a zero, or start='rram'",
            )

    @property
    def scheme(self) -> Scheme | None:
        """The scheme of S; None leaves it a float."""
        if self.quantize is not None or self.bits == FLOAT:
            return self.quantize
        if self.start == "zero" and self.bits > 1:
            return FixedPoint(2.0 ** (1 - self.bits), self.bits)
        return Midrise(self.bits)

    def build(self, name: str, weight: Tensor) -> SRAMStage:
        """Return the stage of the layer called ``name``; ``weight`` is the master of the memory that varies."""
        halve = self.start != "zero" if self.halve is None else self.halve
        return SRAMStage(self.scheme, self.shift, halve, self._start(name, weight.detach()))

    def _start(self, name: str, weight: Tensor) -> Tensor:
        if self.start == "rram":
            return weight.clone()
        if self.start == "zero":
            return torch.zeros_like(weight)
        if not isinstance(self.start, Mapping):
            taps = math.prod(weight.shape[2:])
            bound = math.sqrt(6 / (max(1, taps * sum(weight.shape[:2]))))
            uniform = torch.rand(weight.shape, generator=chip_generator(self.seed, name), dtype=torch.float32)
            return (uniform * 2 - 1).mul_(bound).to(weight)
        value = _weight_in(self.start, name)
        assert value is not None, "problem() has been asked"
        return value.detach().to(weight, copy=True)

    def problem(self, name: str, weight: Tensor) -> str | None:
        """Say why S cannot start from the state that was given."""
        if not isinstance(self.start, Mapping):
            return None
        way = "SRAM(start=...) takes the state_dict() of a network of this architecture, or 'rram'"
        if (value := _weight_in(self.start, name)) is None:
            names = [key for key in self.start if key.endswith(("weight", "original", "master"))]
            return f"the state for SRAM has no weight of layer {name!r}, it has {some(names) or 'none'}; {way}"
        if value.shape != weight.shape:
            return f"it is {list(value.shape)} in the state for SRAM and {list(weight.shape)} here; {way}"
        return None


def _weight_in(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Return the weight of a layer in a state: that of its SRAM, the master of its path, or a plain one."""
    prefix = f"{name}." if name else ""
    path = f"{prefix}parametrizations.weight."
    keys = (f"{path}0.recover.master", f"{path}original", f"{prefix}weight")
    return next((state[key] for key in keys if key in state), None)


class SRAMStage(nn.Module):
    """The SRAM of one layer.

    Attributes:
        master: S, the float master that trains.
        axis: the channel axis of the weight, which ``attach`` sets.
    """

    def __init__(self, scheme: Scheme | None, shift: int, halve: bool, start: Tensor) -> None:
        super().__init__()
        self.scheme, self.shift, self.halve, self.axis = scheme, shift, halve, 0
        self.master = nn.Parameter(start)

    def cells(self) -> Tensor:
        """Return the master of the weights that train."""
        return self.master

    def forward(self, w: Tensor, mask: Tensor | None = None) -> Tensor:
        s = self.master if self.scheme is None else self.scheme.quantize(self.master, self.axis)
        if mask is not None:
            s = s * mask
        total = w.detach() + s.to(w.dtype) * 2.0**self.shift
        return total / 2 if self.halve else total

    def codes(self, mask: Tensor | None = None) -> WeightCodes | None:
        """Return the codes of what lies in the SRAM; None where it is a float."""
        if self.scheme is None:
            return None
        stored = on_grid(self.scheme, *self.scheme.encode(self.master, self.axis), self.axis)
        return stored if mask is None else masked(stored, mask)

    def recode(self, codes: WeightCodes, mask: Tensor | None = None) -> WeightCodes | None:
        """Return the codes of the sum; None where the two have no grid in common, or the SRAM holds floats."""
        own = self.codes(mask)
        return None if own is None else summed(codes, own, self.shift, self.halve)

    def extra_repr(self) -> str:
        return f"{self.scheme!r}, shift={self.shift}, halve={self.halve}"


def holds_zero(scheme: Scheme) -> bool:
    """Tell whether one of the codes of a scheme is 0.

    Example:
        >>> holds_zero(Midrise(2)), holds_zero(FixedPoint(0.5, 2))
        (False, True)
    """
    levels = scheme.levels
    return scheme.low <= 0 <= scheme.high if levels is None else 0 in levels
