"""Potentials of few bits on their integers: what one code is worth, and the proof of those that do not saturate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from bitspike.errors import LoweringError, some
from bitspike.integer.bounds.widths import bits_of, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Integers, Reals, multipliers
from bitspike.ops.dynamics import Law
from bitspike.ops.membrane import MOST, Membrane

_WIDE = 62
"""Bits at which no network that can be run saturates."""
_LONGEST_SHIFT = 40
"""Bits that a code of a node may lie above a count of its potential."""


@dataclass(frozen=True, eq=False)
class Keeping:
    """How a neuron keeps its potential.

    Args:
        path: of the neuron.
        membrane: its bits, and whether it saturates.
        step: real value of one code, [1] or [C].
        fraction_bits: of the potential below one code, where a declared resolution says how many; else None.
    """

    path: str
    membrane: Membrane
    step: Reals
    fraction_bits: int | None

    def first(self, initial: Reals, fraction_bits: int) -> Reals:
        """Return what is kept of the potential before the first step, both in counts: a code has 2**fraction_bits.

        Raises:
            LoweringError: no code stands for it, and the potential does not saturate.
        """
        codes: Reals = np.floor(initial / 2.0**fraction_bits + 0.5)
        inside: Reals = np.clip(codes, self.membrane.low, self.membrane.high)
        if not self.membrane.saturate and (inside != codes).any():
            low, high, bits = int(codes.min()), int(codes.max()), self.membrane.bits
            raise LoweringError(
                f"{self.path}: its potential begins with codes from {low} to {high}, and is kept in {bits} bits "
                f"without saturation, {self.membrane.low} to {self.membrane.high}",
                fix=_wider({self.path: (bits_of(low, high), self.step)}),
            )
        return inside * 2.0**fraction_bits

    def most_fraction_bits(self, most: int, unit: Reals) -> int:
        """Return how many bits below a code have to be tried so that ``most`` lie below a unit of what arrives."""
        above = max(0, math.ceil(float(np.log2((self.step / unit).max()))))
        return max(most, min(most + above, _LONGEST_SHIFT))

    def fields(self, fraction_bits: int) -> dict[str, int]:
        """Return the fields of the node."""
        return {"kept_bits": self.membrane.bits, "kept_shift": fraction_bits}

    def notes(self, gains: tuple[Integers, ...]) -> Iterator[str]:
        """Yield that the potential shares no scale with the weights, where what arrives has to be multiplied."""
        if odd := multipliers(gains):
            shown = ", ".join(map(str, odd[:4])) + ", ..." * (len(odd) > 4)
            yield (
                f"{self.path}: the code of its potential is no power of two times what a weight is worth: what arrives "
                f"is multiplied, by {shown}; Dyadic scales and ShiftBatchNorm need no multiplier"
            )


def keeping_of(law: Law, path: str) -> Keeping | None:
    """Return how a law keeps its potential, or None where it keeps it as it is.

    Raises:
        LoweringError: its step and its resolution are not a power of two apart.
    """
    if law.membrane is None:
        return None
    step = torch.as_tensor(law.membrane.step, dtype=torch.float64).detach().reshape(-1).cpu().numpy()
    fraction_bits = None
    if law.rule.resolution is not None:
        ratio = step / law.rule.resolution
        fraction_bits = int(np.log2(ratio[0]))
        if (ratio != 2.0**fraction_bits).any() or fraction_bits < 0:
            raise LoweringError(
                f"{path}: its potential is kept in steps of {step[0]:g} and leaks in steps of {law.rule.resolution:g}; "
                "needed is a step that is a power of two times the resolution, for all channels the same",
                fix="resolution=None, or the step divided by a power of two, no coarser than what arrives",
            )
    return Keeping(path, law.membrane, step, fraction_bits)


def prove_kept(net: IntegerNetwork, proven: Mapping[str, int]) -> None:
    """Show that no input lets a potential leave the bits in which it is kept without saturation.

    Args:
        proven: bits by neuron id.

    Raises:
        LoweringError: an input may; every such neuron is named with the bits that suffice.
    """
    if not proven:
        return
    free = replace(
        net,
        nodes=tuple(
            replace(n, kept_bits=_WIDE) if isinstance(n, FewBitNeuron) and n.id in proven else n for n in net.nodes
        ),
    )
    known = survey(free)
    needed = {id: bits_of(*known[id].state) for id in proven}
    if wide := [net[id] for id, bits in needed.items() if bits > proven[id]]:
        lines = [
            f"{n.path}: its potential may need {needed[n.id]} bits (codes from {known[n.id].state[0]} to "
            f"{known[n.id].state[1]}), and is kept in {proven[n.id]} without saturation"
            for n in wide
        ]
        steps = {n.path: n.unit * 2.0**n.kept_shift for n in wide if isinstance(n, FewBitNeuron)}
        raise LoweringError("\n".join(lines), fix=_wider({n.path: (needed[n.id], steps[n.path]) for n in wide}))


def _wider(needed: Mapping[str, tuple[int, Reals]]) -> str:
    """Say with which membranes neurons would be lowered, by path: the bits that suffice, of codes of the same worth.

    The step has to be named: one that follows from the threshold becomes finer with more bits, and needs still more.

    Example:
        >>> _wider({"2": (6, np.array([0.5]))})
        'bs.Membrane(bits=6, step=0.5, saturate=False), or saturate=True'
    """
    if max(bits for bits, _ in needed.values()) > MOST:
        return f"saturate=True, or a coarser step: codes have at most {MOST} bits"
    places: dict[str, list[str]] = {}
    for path, (bits, step) in needed.items():
        worth = repr(step.item()) if step.size == 1 else f"torch.tensor({step.tolist()})"
        places.setdefault(f"bs.Membrane(bits={bits}, step={worth}, saturate=False)", []).append(path)
    single = len(places) == 1
    ways = [membrane if single else f"{membrane} at {some(paths)}" for membrane, paths in places.items()]
    return f"{'; '.join(ways)}, or saturate=True"
