"""What a check found: violations with their way out, layers with their cost, and both as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from bitspike.errors import CheckFailed
from bitspike.integer.nodes import Node
from bitspike.violations import Violation


def number(value: Fraction | float) -> str:
    """Write a whole number as one, another with three digits.

    Example:
        >>> number(Fraction(1152)), number(Fraction(1, 3))
        ('1152', '0.333')
    """
    return str(int(value)) if value == int(value) else f"{float(value):.3g}"


def say(
    node: Node,
    code: str,
    text: str,
    rule: str,
    *,
    measured: float | None = None,
    limit: float | None = None,
    fixes: tuple[str, ...] = (),
) -> Violation:
    """Return the violation of a rule by a node."""
    return Violation(
        code=code, path=node.path, call=node.call, node=node.id, found=text, rule=rule, measured=measured, limit=limit,
        fixes=fixes,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one neuron of a layer costs under one rule."""

    path: str
    call: int
    rule: str
    cost: float
    limit: float | None
    found: str


@dataclass(frozen=True, kw_only=True)
class NeuronWidths:
    """The widths that a layer of neurons needs, in the worst case, whether the chip limits them or not.

    Args:
        path, call: of the module.
        theta_bits: of the largest threshold.
        bias_bits: of the biases, with their sign; 0 without any.
        potential: smallest and largest potential that any input can cause.
        potential_bits: of both, with their sign.
    """

    path: str
    call: int
    theta_bits: int
    bias_bits: int
    potential: tuple[int, int]
    potential_bits: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What :func:`bitspike.hardware.chips.check.check` found on one chip.

    Args:
        chip: its name.
        layers: how many layers of neurons were checked.
        failed: how many of them have an error, in the neuron or in what it reads.
        violations: errors, warnings and notes, in the order of data flow.
        costs: what every neuron costs under every rule that counts neurons, whether it fits or not.
        widths: what every layer of neurons needs; of a network that is not trained yet, nothing.
        undecided: rules that were not judged, because training decides their numbers.
    """

    chip: str
    layers: int
    failed: int = 0
    violations: tuple[Violation, ...] = ()
    costs: tuple[Cost, ...] = ()
    widths: tuple[NeuronWidths, ...] = ()
    undecided: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True where there is no error; warnings and notes pass."""
        return not self.errors

    @property
    def errors(self) -> tuple[Violation, ...]:
        """The violations that fail the check."""
        return tuple(v for v in self.violations if v.severity == "error")

    @property
    def warnings(self) -> tuple[Violation, ...]:
        """The violations that do not."""
        return tuple(v for v in self.violations if v.severity == "warning")

    @property
    def notes(self) -> tuple[Violation, ...]:
        """The violations that say something worth knowing and nothing wrong."""
        return tuple(v for v in self.violations if v.severity == "note")

    def raise_if_failed(self) -> Report:
        """Return the report itself, or raise with all violations at once.

        Raises:
            CheckFailed: there is at least one error.
        """
        if not self.passed:
            raise CheckFailed(str(self), fix="one of the ways out that stand at each violation")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; ``undecided`` is there where something is."""
        return {
            "chip": self.chip,
            "passed": self.passed,
            "layers": self.layers,
            "failed": self.failed,
            "violations": [_plain(v) for v in self.violations],
            "costs": [asdict(cost) for cost in self.costs],
            "widths": [asdict(width) | {"potential": list(width.potential)} for width in self.widths],
        } | ({"undecided": list(self.undecided)} if self.undecided else {})

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        of = f"{self.layers} layer{'s' * (self.layers != 1)}"
        if self.passed:
            so_far = ", as far as it is decided before training" if self.undecided else ""
            yield f"chip {self.chip!r}: {of} fit{'s' * (self.layers == 1)}{so_far}"
        elif not self.failed:
            yield f"chip {self.chip!r}: the network does not fit"
        else:
            verb = "does" if self.failed == 1 else "do"
            yield f"chip {self.chip!r}: {self.failed} of {of} {verb} not fit"
        for severity, title in (("error", ""), ("warning", "warning, "), ("note", "note, ")):
            chosen = [v for v in self.violations if v.severity == severity]
            for rule in dict.fromkeys(v.rule for v in chosen):
                yield f"  {title}{rule}"
                group = [v for v in chosen if v.rule == rule]
                width = max(len(v.where) for v in group)
                for v in group:
                    yield f"    {v.code} {v.where:<{width}}  {v.found}"
                    if v.fixes:
                        yield f"    {'':<{len(v.code) + width + 1}}  fix: {', or '.join(v.fixes)}"
        yield from self.to_come()

    def to_come(self) -> Iterator[str]:
        """Yield lines that list the rules which were not judged."""
        if self.undecided:
            yield "  not decided before training, so check the run again"
            yield from (f"    {rule}" for rule in self.undecided)


def _plain(violation: Violation) -> dict[str, Any]:
    """Return what a check says of a violation, as plain values for JSON."""
    keys = ("severity", "code", "path", "call", "node", "found", "rule", "measured", "limit")
    return {key: getattr(violation, key) for key in keys} | {"fixes": list(violation.fixes)}
