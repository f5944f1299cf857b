"""The contract of a scheme: integers in, integers out, and a forward value that *is* their decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bitspike.errors import ConstraintError, short
from bitspike.ops.rounding import straight_through
from bitspike.weights.codes import along
from bitspike.weights.scales import Dyadic, MeanAbs, ScaleRule


class Scheme(ABC):
    """Base of all quantization schemes: ``quantize(w) == decode(*encode(w))``, exactly, with a gradient by rule.

    A subclass is a frozen dataclass and gives ``project`` and ``high``, and ``low`` where it is not ``-high``; ``bits``
    is the width of one code. ``axis`` is the channel axis along which a per-channel scale runs: 0 for convolution and
    linear weights, 1 for those of a transposed convolution, [C_in, C_out, ...].
    """

    bits: int
    per_channel: bool = False

    @property
    @abstractmethod
    def high(self) -> int:
        """The largest code."""

    @property
    def low(self) -> int:
        """The smallest code: here the grid is its own mirror image."""
        return -self.high

    @property
    def levels(self) -> tuple[int, ...] | None:
        """All codes, ascending; None where every integer from ``low`` to ``high`` is one."""
        return None

    @property
    def symmetric(self) -> bool:
        """Tell whether the grid is its own mirror image."""
        return self.low == -self.high

    @abstractmethod
    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Return the codes as whole floats of the shape of ``w``, and the step, which broadcasts against them.

        ``w`` is float32 or float64 and carries no gradient.
        """

    def pass_gradient(self, value: Tensor, w: Tensor, step: Tensor) -> Tensor:
        """Return ``value`` exactly, connected to ``w`` by the scheme's gradient; here the identity."""
        return straight_through(value, w)

    def encode(self, w: Tensor, axis: int = 0) -> tuple[Tensor, Tensor]:
        """Return the codes and the scale of the weights.

        Args:
            w: floating weights of any shape; half precision is widened to float32 first.
            axis: the channel axis.

        Returns:
            codes int64 of the shape of ``w``; scale [1], or [channels] where the scheme is per channel.

        Raises:
            ConstraintError: a weight is NaN or infinite.
        """
        with torch.no_grad():
            need_finite(w)
            codes, step = self.project(wide(w), axis)
        return codes.to(torch.int64), step.reshape(-1)

    def decode(self, codes: Tensor, scale: Tensor, axis: int = 0) -> Tensor:
        """Return ``codes * scale`` in the dtype of the scale; the scale runs along ``axis``."""
        return codes.to(scale.dtype) * along(scale, axis, codes.dim())

    def quantize(self, w: Tensor, axis: int = 0) -> Tensor:
        """Return ``decode(*encode(w))`` in the dtype of ``w``, with the gradient of the scheme."""
        with torch.no_grad():
            # The codes stay floats here: two conversions less, and whole floats below 2**24 multiply the same.
            codes, step = self.project(wide(w), axis)
            value = codes.mul_(step).to(w.dtype)
        return self.pass_gradient(value, w, step)

    def shared_dims(self, w: Tensor, axis: int) -> tuple[int, ...]:
        """Return the axes of ``w`` that share one step."""
        return tuple(d for d in range(w.dim()) if not (self.per_channel and d == axis))


def need_finite(w: Tensor, what: str = "a weight") -> None:
    """Refuse weights that have no code; ``what`` says whose they are."""
    if not torch.isfinite(w).all():
        raise ConstraintError(
            f"{what} is NaN or infinite and has no code: the training has diverged",
            fix="a smaller learning rate, or gradient clipping",
        )


def wide(w: Tensor) -> Tensor:
    """Return weights in at least single precision, without a gradient."""
    w = w.detach()
    return w if w.dtype in (torch.float32, torch.float64) else w.float()


def check_bits(scheme: str, bits: int, highest: int, *, lowest: int = 1, fix: str | None = None) -> None:
    """Raise ConstraintError unless ``bits`` is a whole number from ``lowest`` to ``highest``."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not lowest <= bits <= highest:
        float_weight = isinstance(bits, int) and bits >= 32
        usual = "quantize=None keeps the float weight" if float_weight else f"{scheme}(bits={min(highest, 4)})"
        allowed = f"a whole number from {lowest} to {highest} is allowed"
        raise ConstraintError(f"{scheme}(bits={bits!r}): {allowed}", fix=fix or usual)


def check_rule(scheme: str, rule: object) -> None:
    """Raise ConstraintError unless what reads the scale of a scheme is a scale rule."""
    if not isinstance(rule, ScaleRule):
        word = rule if isinstance(rule, str) else getattr(rule, "__name__", "")
        known = {"max": "Max()", "meanabs": "MeanAbs(1.5)", "mean_abs": "MeanAbs(1.5)", "mean": "MeanAbs(1.5)"}
        known |= {"mse": "MSE()", "percentile": "Percentile(99)", "normal": "Normal()"}
        way = "bs.Dyadic()" if word.lower() == "dyadic" else f"bs.weights.{known.get(word.lower(), 'Max()')}"
        raise ConstraintError(f"{scheme}(scale={short(rule)}): a scale rule is needed", fix=f"scale={way}")


def sign_codes(w: Tensor) -> Tensor:
    """Return -1 where w < 0 and +1 elsewhere: zero has a sign here, because a 1-bit memory has no third state.

    Example:
        >>> sign_codes(torch.tensor([-0.2, 0.0, 0.3])).tolist()
        [-1.0, 1.0, 1.0]
    """
    return w.sign().add_(0.5).sign_()


def binary(w: Tensor, dims: tuple[int, ...], rule: ScaleRule) -> tuple[Tensor, Tensor]:
    """Return sign(w) and mean|w|; of ``rule`` only the wish for a power of two counts.

    A 1-bit grid made from max|w| would be all outlier, and Qmax = 2**0 - 1 = 0 is no grid at all. The mean
    magnitude has the least squared error of all 1-bit scales.
    """
    mean: ScaleRule = Dyadic(MeanAbs()) if isinstance(rule, Dyadic) else MeanAbs()
    return sign_codes(w), mean.step(w, dims, 1, torch.ones_like)


def exact_step(step: Tensor, high: int) -> Tensor:
    """Shorten the mantissa of a step so that its product with every code up to ``high`` is exact.

    A float32 mantissa has 24 bits. With the last ``high.bit_length()`` of the step cleared, ``code * step`` needs no
    rounding; decoding is exact, and quantizing a quantized weight finds the very same step again. The step shrinks by
    less than 2**(bit_length - 23) of itself, which leaves max|w| on the outermost level up to 10-bit magnitudes. Wider
    ones keep the step as it is; their product rounds once, in training and decoding alike.

    Example:
        >>> step = exact_step(torch.tensor([1 / 3]), high=7)
        >>> (7 * step).double().item() == 7 * step.double().item()
        True
    """
    digits = high.bit_length()
    if not 1 < digits <= 10:  # a single digit is exact already
        return step
    integer = torch.int32 if step.dtype == torch.float32 else torch.int64
    return step.view(integer).bitwise_and(-1 << digits).view(step.dtype)


def inside(w: Tensor, step: Tensor, high: int) -> Tensor:
    """Tell which weights lie within the outermost level, where a gradient that respects the clipping passes.

    The margin of 2**-10 keeps the largest weight inside, which ``exact_step`` may have put just beyond.
    """
    return w.detach().abs() <= step * (high * (1 + 2**-10))
