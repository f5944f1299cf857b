"""What can be wrong with a network, as one table of codes: the rules of conversion and those of chips.

A fault has the same code wherever it is met. The first letter says what it does: E stops a conversion or fails a check,
W warns, N is a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: dict[str, Severity] = {"E": "error", "W": "warning", "N": "note"}


@dataclass(frozen=True)
class Code:
    """One fault.

    Args:
        meaning: in a few words; the documents show exactly these.
        verbs: who reports it, of ``convert`` and ``check``.
    """

    meaning: str
    verbs: tuple[str, ...]


_CONVERT, _CHECK, _BOTH = ("convert",), ("check",), ("convert", "check")

CODES: dict[str, Code] = {
    "E101": Code("an activation that spikes cannot carry, weights read more than once, or no ReLU at all", _CONVERT),
    "E102": Code("more fan-in than the neurons of the chip have", _CHECK),
    "E103": Code("a signed value, or one of several bits, where spikes are needed: two layers in a row", _BOTH),
    "E104": Code("a pool whose windows differ in size", _CONVERT),
    "E105": Code("a batch norm or constant that can be folded into no weights", _CONVERT),
    "E106": Code("an operation that the integer form or the chip does not have", _BOTH),
    "E107": Code("a region with a hole; the smallest region without one is proposed", _CONVERT),
    "E108": Code("a weight, threshold, bias, potential, shift or input with more bits than the chip has", _CHECK),
    "E109": Code("an operation that mixes or moves the batch", _CONVERT),
    "E110": Code("a neuron that the chip does not have: its comparison, reset, leak, clamp, start or gain", _CHECK),
    "E111": Code("another limit of the chip", _CHECK),
    "W201": Code("a layer or channel that is never active", _CONVERT),
    "W202": Code("a threshold or bias rounded by more than 1 %", _CONVERT),
    "W203": Code("a branch of an addition that uses fewer than half of its levels", _BOTH),
    "W204": Code("a ReLU6 whose limit was lifted, because it shares its threshold with a larger layer", _CONVERT),
    "W205": Code("a reset to zero, with which rates never converge to the activations", _CONVERT),
    "W206": Code(
        "a grid or a correction that was measured on one example, one value, or before a fine-tuning", _CONVERT
    ),
    "W207": Code("whole numbers that the bits of the input do not hold exactly", _CONVERT),
    "W208": Code("input counts, or input rates that do not tell how large counts may be", _CONVERT),
    "W209": Code("no correction, because there are too few samples or the network is too large", _CONVERT),
    "W210": Code("a linear layer that breaks a rule which the chip states for convolutions only", _CHECK),
    "W211": Code(
        "weights that were codes and are rounded again, as a norm comes before them or a chip has them as real numbers",
        _CONVERT,
    ),
    "N301": Code("a linear layer that only feeds the read-out, which the host computes", _CHECK),
    "N302": Code("weights in half precision, which are read in float32", _CONVERT),
    "N303": Code("a wrapper around the network, which is left out", _CONVERT),
    "N304": Code("layers that torch quantizes, which are read as float layers", _CONVERT),
    "N305": Code("neurons that fire or stay silent by their bias alone at the start of a run", _CHECK),
    "N306": Code("weights that are codes of a scheme already and keep them", _CONVERT),
    "N307": Code("neurons without learned clips next to others that have them; theirs are calibrated", _CONVERT),
    "N308": Code("variation of memory devices, which the converted weights do not have", _CONVERT),
}
"""What each code means. Rules of a chip's own profile may use other numbers after E and W."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One rule that one place of a network breaks.

    Args:
        code: of :data:`CODES`, or of a rule in a chip's profile.
        path: of the module, or of the module whose forward makes the call; empty is the network.
        call: which call of it, from 0.
        node: id of the integer node, from ``check``.
        line: file and line of the user's code, from ``convert`` where known.
        found: what stands there, in words.
        rule: what must hold.
        allowed: what would fit at this place, in words, where the rule does not say it.
        measured, limit: as numbers, where there are numbers.
        fixes: ways out; each of them satisfies the rule.
    """

    code: str
    path: str = ""
    call: int = 0
    node: str = ""
    line: str = ""
    found: str
    rule: str = ""
    allowed: str = ""
    measured: float | None = None
    limit: float | None = None
    fixes: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """``error``, ``warning`` or ``note``, by the first letter of the code.

        Example:
            >>> Violation(code="W203", found="codes reach 3 of 127").severity
            'warning'
        """
        return SEVERITIES[self.code[0]]

    @property
    def where(self) -> str:
        """The module, and the call where there are several."""
        return self.path if self.call == 0 else f"{self.path}#{self.call}"

    def __str__(self) -> str:
        at = f" ({self.line})" if self.line else ""
        return f"{self.code} {self.where}{at}  {self.found}"
