"""Spiking neurons as modules over time: [T, N, ...] currents in, [T, N, ...] spikes out.

``forward`` starts every call from rest, so nothing has to be reset and two calls never leak into each other.
``scan`` is for streams: it takes the state of the last call and returns the new one. The equations live in
:mod:`bitspike.ops.dynamics`; a module holds the numbers, and its ``law`` says which equation they belong to. The loop
here, the fused kernels and lowering all read the law, so a neuron is one class with one law.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.kernels import fused_neuron
from bitspike.nn.declared import still_holds
from bitspike.nn.steps import need_steps
from bitspike.ops.dynamics import Law, Rule, State, rest, step
from bitspike.ops.grids import Fire, Leak, Reset, Rounding
from bitspike.ops.membrane import Membrane
from bitspike.ops.precision import single
from bitspike.ops.surrogate import ArcTan, Surrogate

Observer = Callable[[Tensor, Tensor], None]
_EQUATIONS = ("_rest", "_step", "scan")
"""The methods that compute a neuron's equation; a class that changes one of them is no longer described by its law."""


@checked
class Neuron(nn.Module):
    """The base of all neurons; use :class:`IF`, :class:`LIF`, :class:`PLIF` or :class:`SignedIF`.

    Args:
        threshold: potential at which a spike is sent, above 0; a number, or one per channel as a tensor [C].
        surrogate: stands in for the derivative of the spike.
        reset: ``soft`` subtracts the threshold, ``hard`` sets the potential to ``v_reset``.
        fire: ``ge`` fires at potential >= threshold, ``gt`` at potential > threshold.
        detach_reset: keep the reset out of the gradient.
        v_reset: potential after a hard reset.
        initial: potential before the first step, one number or one per channel [C]; ``threshold / 2`` turns truncation
            into rounding.
        resolution: smallest step of the potential; None for a real-valued membrane. See :mod:`bitspike.ops.dynamics`.
        rounding: of a leak, in steps of the resolution and in integers: ``floor`` rounds down, ``zero`` toward zero.
        potential_bits: 2 to 24 bits at which the potential saturates, in steps of the resolution; None never does.
        membrane: keep the potential from step to step in few bits, ``bs.Membrane(bits=2)``; None keeps it as it is.

    Shape: input [T, N, ...], output the same. Channels, where thresholds have them, are axis 2.

    Raises:
        ConstraintError: a value outside what is allowed.
    """

    threshold: Tensor | float
    initial: Tensor | float
    counts: ClassVar[bool] = False
    """Whether its spike count stands for a real value, so that ``bs.convert`` and ``bs.over_time`` can use it."""
    signed: ClassVar[bool] = False
    """Whether it sends spikes of -1 too, which take back earlier ones."""

    def __init__(
        self,
        threshold: float | Tensor = 1.0,
        *,
        surrogate: Surrogate = ArcTan(),
        reset: Reset = "soft",
        fire: Fire = "ge",
        leak: Leak = "before",
        decay_input: bool = False,
        detach_reset: bool = False,
        v_reset: float = 0.0,
        initial: float | Tensor = 0.0,
        resolution: float | None = None,
        potential_bits: int | None = None,
        rounding: Rounding = "floor",
        membrane: Membrane | None = None,
    ) -> None:
        super().__init__()
        if membrane is not None and not isinstance(membrane, Membrane):
            raise ConstraintError(f"membrane={membrane!r} is no membrane", fix="membrane=bs.Membrane(bits=2)")
        self.membrane = membrane
        self.rule = Rule(
            reset=reset,
            fire=fire,
            leak=leak,
            decay_input=decay_input,
            detach_reset=detach_reset,
            v_reset=v_reset,
            resolution=resolution,
            surrogate=surrogate,
            potential_bits=potential_bits,
            rounding=rounding,
        )
        values = torch.as_tensor(threshold, dtype=torch.float64, device="cpu")  # whatever the default device is
        if values.dim() > 1 or values.numel() == 0 or not bool(((values > 0) & values.isfinite()).all()):
            raise ConstraintError(
                f"threshold={threshold}: needed is a number above 0, or one per channel as [C]", fix="threshold=1.0"
            )
        limits = self.rule.limits
        if limits is not None and float(values.max()) > limits[1]:
            raise ConstraintError(
                f"threshold={float(values.max()):g}: with {potential_bits} bits in steps of {resolution:g} a potential "
                f"reaches {limits[1]:g} at most, so the neuron never fires",
                fix=f"potential_bits={_bits_for(float(values.max()), resolution)}, or a coarser resolution",
            )
        if values.dim() == 1:
            self.register_buffer("threshold", torch.as_tensor(threshold).detach().clone())
        else:
            self.threshold = float(threshold)
        start = torch.as_tensor(initial, dtype=torch.float64, device="cpu")
        if start.dim() > 1 or start.numel() == 0 or not bool(start.isfinite().all()):
            raise ConstraintError(
                f"initial={initial}: must be finite, one number or one per channel as [C]", fix="initial=0.0"
            )
        begins = (start, torch.as_tensor(v_reset, dtype=torch.float64))
        if limits is not None and any(float(v.min()) < limits[0] or float(v.max()) > limits[1] for v in begins):
            raise ConstraintError(
                f"initial={initial}, v_reset={v_reset}: with {potential_bits} bits in steps of {resolution:g} "
                f"potentials lie from {limits[0]:g} to {limits[1]:g}",
                fix="values inside, more potential_bits or a coarser resolution",
            )
        if start.dim() == 1:
            self.register_buffer("initial", torch.as_tensor(initial).detach().clone())
        else:
            self.initial = float(initial)

    def forward(self, x: Tensor) -> Tensor:
        """Run T steps from rest.

        Args:
            x: [T, N, ...] input currents.

        Returns:
            [T, N, ...] spikes in the dtype of ``x``.
        """
        fused = self.fused(x)
        return self.scan(x)[0] if fused is None else fused

    def fused(self, x: Tensor, **more: Any) -> Tensor | None:
        """Run T steps from rest in one pass over memory where there is a kernel for it, or return None.

        With ``norm`` and ``residual`` the neuron reads ``norm(x) + residual``; see ``kernels.fused_neuron``.
        """
        law = self._check(x, None)
        # A compiler cannot follow a call into a native library.
        if torch.compiler.is_compiling() or not still_holds(type(self), "law", *_EQUATIONS):
            return None
        if law.membrane is not None or law.rule.limits is not None:  # no kernel rounds what it keeps, or saturates
            return None
        numbers = {field.name: getattr(law, field.name) for field in fields(law) if field.name != "membrane"}
        return fused_neuron(x, **numbers, **more)

    def law(self) -> Law:
        """Return the equation of the neuron with its numbers, from which it is run, fused and lowered to integers.

        A neuron of your own whose equation is one of :class:`~bitspike.ops.dynamics.Law` gives this method alone.
        """
        return Law(self.threshold, self.rule, self.initial, membrane=self.membrane)

    def law_in_integers(self) -> Law:
        """Return the law for lowering.

        Raises:
            ConstraintError: the class has equations of its own (``_rest``, ``_step``, ``scan`` or ``forward``) without
                a law that belongs to them.
        """
        kind = type(self)
        if still_holds(kind, "law", *_EQUATIONS, "forward"):
            return self.law()
        raise ConstraintError(
            f"{kind.__name__} has equations of its own, and the law that its base class gives is not theirs",
            fix=f"give {kind.__name__} a method law() too, if its equation is one of bitspike.ops.dynamics.Law; "
            "with any other equation the network trains, and has no integers",
        )

    def scan(self, x: Tensor, state: State | None = None, *, observe: Observer | None = None) -> tuple[Tensor, State]:
        """Run T steps from a given state and return spikes and the state after them.

        Args:
            x: [T, N, ...] input currents.
            state: what an earlier ``scan`` returned; None starts from rest.
            observe: called at every step with the potential before reset and the spikes, each [N, ...].

        Returns:
            spikes [T, N, ...], state.

        Raises:
            ConstraintError: ``x`` is not floating, has no time and batch axis, no steps, or other channels than the
                thresholds; or the state belongs to another shape.
        """
        _, wide, threshold, state = self._begin(x, state)
        spikes = []
        for x_t in wide.unbind(0):
            s, state, h = self._step(state, x_t, threshold)
            if observe is not None:
                observe(h, s)
            spikes.append(s.to(x.dtype))
        return torch.stack(spikes), state

    def _begin(self, x: Tensor, state: State | None) -> tuple[Law, Tensor, float | Tensor, State]:
        """Return the law, the currents, the threshold in a shape that broadcasts against a step, and the first state.

        The membrane is kept in at least single precision: half-precision sums would decide spikes by rounding.
        """
        law, wide = self._check(x, state), single(x)
        threshold = law.threshold
        if isinstance(threshold, Tensor):
            threshold = threshold.to(wide.dtype).view(-1, *[1] * (x.dim() - 3))
        return law, wide, threshold, self._rest(wide[0]) if state is None else state

    def _check(self, x: Tensor, state: State | None) -> Law:
        """Refuse shapes that would silently broadcast to another shape; return the law."""
        name, law = type(self).__name__, self.law()
        need_steps(x, name, "currents")
        if self.membrane is not None and law.membrane is None:
            raise ConstraintError(
                f"{name}(membrane={self.membrane}): its law has none, so its potential would be kept as it is",
                fix=f"Law(..., membrane=self.membrane) in {name}.law",
            )
        by_channel = [("thresholds", law.threshold), ("initial potentials", law.initial)]
        if law.membrane is not None and law.membrane.step is not None:
            by_channel.append(("steps of its potential", law.membrane.step))
        for what, values in by_channel:
            if isinstance(values, Tensor) and values.numel() > 1 and x.shape[2:3] != values.shape:
                raise ConstraintError(
                    f"{name} has {values.numel()} {what} and got {list(x.shape)}: needed is [T, N, C, ...] "
                    f"with C = {values.numel()}",
                    fix="one number for all channels, or a tensor of as many as the layer before it has channels",
                )
        for part in (state,) if isinstance(state, Tensor) else state or ():
            if part.shape != x.shape[1:]:
                raise ConstraintError(
                    f"{name} got a state of {list(part.shape)} for input {list(x.shape)}: needed is a state of "
                    f"{list(x.shape[1:])}, or None to start from rest",
                    fix="state=None where a new batch begins",
                )
        return law

    def _rest(self, like: Tensor) -> State:
        return rest(self.law(), like)

    def _step(self, state: State, x: Tensor, threshold: float | Tensor) -> tuple[Tensor, State, Tensor]:
        return step(self.law(), state, x, threshold)

    def extra_repr(self) -> str:
        threshold = self.threshold
        shown = f"[{threshold.numel()}]" if isinstance(threshold, Tensor) else f"{threshold:g}"
        kept = "" if self.membrane is None else f", membrane={self.membrane}"
        bits = self.rule.potential_bits
        width = "" if bits is None else f", potential_bits={bits}, resolution={self.rule.resolution:g}"
        return f"threshold={shown}, reset={self.rule.reset!r}, fire={self.rule.fire!r}{width}{kept}"


def _bits_for(threshold: float, resolution: float | None) -> int:
    """Return the bits of a potential that reaches twice a threshold."""
    return math.ceil(math.log2(threshold / (resolution or threshold))) + 2
