"""A chip as a value: what its neurons, weights and wires can hold, read from a TOML file.

What a profile leaves out is not limited. docs/chips.md explains every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from bitspike.errors import ConstraintError, short
from bitspike.hardware.chips.expression import Expression
from bitspike.hardware.toml_file import find, names_in, read_toml
from bitspike.integer.nodes import KINDS as NODES

FORMAT = 1
MOST_BITS, LARGEST_LIMIT = 1024, 1e300
_TOLD = 20
PROFILES = Path(__file__).parent / "profiles"
_COPY = f"a copy of {PROFILES / 'fanin1024-v1.toml'}, changed line by line"

Kind = Literal["convolution", "transposed_convolution", "linear", "average_pool", "skip", "bias"]
"""What a neuron reads through one branch; ``skip`` is a spike that arrives with an integer gain and no weight layer."""
KINDS: tuple[Kind, ...] = ("convolution", "transposed_convolution", "linear", "average_pool", "skip", "bias")
OPS = tuple(kind.operation for kind in NODES.values() if kind.operation)
"""Operations that a network may hold."""

Per = Literal["neuron", "layer", "network"]
_OF_BRANCH = ("bits", "taps", "inputs", "groups", "outputs", "kernel", "stride", "dilation", "padding")
VARIABLES: dict[Per, tuple[str, ...]] = {
    "neuron": _OF_BRANCH,
    "layer": (*_OF_BRANCH, "neurons", "size", "input_size", "weights"),
    "network": ("layers", "neurons", "weights", "weight_bits", "steps"),
}
"""The variables of a rule; docs/chips.md says what each one counts."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A formula and its limit.

    Args:
        name: in plain words, such as ``fan-in memory``.
        cost: an expression over ``VARIABLES[per]``.
        limit: the largest cost that fits; None where ``allowed`` lists the costs that do.
        allowed: the costs that fit.
        per: ``neuron`` adds the cost up over all branches of one neuron, ``layer`` looks at each layer with weights,
            ``network`` at the whole.
        applies_to: the kinds of branch or layer that count.
        code: of the violation.

    Raises:
        ConstraintError: the expression cannot be read, or there is not exactly one of ``limit`` and ``allowed``.

    Example:
        >>> rule = Rule(name="fan-in memory", cost="bits * taps * inputs / groups", limit=1024)
        >>> print(rule)
        fan-in memory: bits * taps * inputs / groups <= 1024
    """

    name: str
    cost: str
    limit: float | None = None
    allowed: tuple[float, ...] | None = None
    per: Per = "neuron"
    applies_to: tuple[Kind, ...] = KINDS
    code: str = "E102"

    def __post_init__(self) -> None:
        if self.per not in VARIABLES:
            raise self._wrong(f"per={self.per!r}; allowed are {', '.join(VARIABLES)}", fix='per = "neuron"')
        if (self.limit is None) == (self.allowed is None):
            raise self._wrong("exactly one of limit and allowed is needed", fix="limit = 1024, or allowed = [1, 2]")
        if unknown := [kind for kind in self.applies_to if kind not in KINDS]:
            raise self._wrong(
                f"applies_to={unknown}; allowed are {', '.join(KINDS)}", fix='applies_to = ["convolution"]'
            )
        if not (self.code[:1] in ("E", "W") and self.code[1:].isdigit()):
            raise self._wrong(f"code={self.code!r}; E and digits, or W and digits, are needed", fix='code = "E111"')
        for value in (*(() if self.limit is None else (self.limit,)), *(self.allowed or ())):
            if not -LARGEST_LIMIT <= value <= LARGEST_LIMIT:
                raise self._wrong(
                    f"{short(value)} is no limit; finite numbers up to {LARGEST_LIMIT:g} are",
                    fix="leave the rule out, if the chip has no such limit",
                )
        self.expression()

    def expression(self) -> Expression:
        """Return the formula, ready to be evaluated."""
        try:
            return Expression(self.cost, names=VARIABLES[self.per])
        except ConstraintError as error:
            raise self._wrong(error.message, fix=error.fix) from error

    def _wrong(self, what: str, *, fix: str | None) -> ConstraintError:
        return ConstraintError(f"rule {self.name!r}: {what}", fix=fix)

    def fits(self, cost: Fraction) -> bool:
        """Tell whether a cost is within the limit."""
        if self.limit is not None:
            return cost <= Fraction(self.limit)
        assert self.allowed is not None
        return cost in [Fraction(a) for a in self.allowed]

    def __str__(self) -> str:
        allowed = None if self.allowed is None else ", ".join(f"{a:g}" for a in self.allowed)
        return f"{self.name}: {self.cost} " + (f"<= {self.limit:g}" if allowed is None else f"in {{{allowed}}}")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """The profile of a chip. Every limit that is None, and every empty list, is no limit.

    Args:
        name: of the chip.
        description: one line.
        sources: where the limits come from.
        weight_bits: widths that a stored weight may have.
        wire_bits: width of what travels between neurons; 1 is a spike. An average pool without a neuron is then merged
            into the layer after it, and the wider window counts.
        input_bits: width of an input code.
        theta_bits: width of a threshold.
        theta_per_channel: every channel may have a threshold of its own.
        theta_over_time: a threshold may change from step to step.
        bias: ``per_step`` adds a constant at every step, ``axon`` spends weight cells on an input that is always on,
            ``none`` has no bias.
        bias_bits: width of a bias, with its sign.
        bias_over_time: a bias may change from step to step.
        potential_bits: width of the potential, with its sign, in the worst case.
        k_max: most fraction bits of the potential below one count of the synaptic sum.
        right_shift: most bits by which a synaptic sum is shifted right.
        multipliers: a branch may be multiplied by any integer; otherwise only by a power of two.
        fire: comparisons of potential and threshold that exist: ``ge``, ``gt``.
        reset: ``soft`` (subtract the threshold), ``hard`` (set a value).
        leak: the potential may leak.
        leak_bits: most k of a leak of m / 2**k.
        leak_order: where it may leak: ``before`` the input is added, ``after``.
        rounding: what a leak may do where it leaves a fraction: ``floor`` rounds down, ``zero`` toward zero.
        v_reset: values of a hard reset that exist: ``zero``, ``any``.
        saturating: the potential may saturate at a width of the neuron's own.
        aligned_bits: what arrives, and the threshold, are multiples of 2**aligned_bits. Where the leak never rounds, a
            neuron is counted in units that are finer by a power of two until they are.
        floor: the potential may have a lower clamp.
        few_bit_potentials: a neuron may round its potential to a code of few bits from step to step.
        signed_spikes: a neuron may send -1.
        v0: potentials at the start that exist: ``zero``, ``half`` (of the threshold, rounded either way), ``any``.
        ops: operations that the chip has, of ``OPS``.
        linear_checked: a linear layer that breaks a rule is an error; otherwise it is the warning W210.
        rules: formulas with limits.

    Raises:
        ConstraintError: a value is not one of those that are allowed.
    """

    name: str
    description: str = ""
    sources: tuple[str, ...] = ()
    weight_bits: tuple[int, ...] = ()
    wire_bits: int | None = None
    input_bits: int | None = None
    theta_bits: int | None = None
    theta_per_channel: bool = True
    theta_over_time: bool = True
    bias: Literal["per_step", "axon", "none"] = "per_step"
    bias_bits: int | None = None
    bias_over_time: bool = True
    potential_bits: int | None = None
    k_max: int | None = None
    right_shift: int | None = None
    multipliers: bool = True
    fire: tuple[str, ...] = ("ge", "gt")
    reset: tuple[str, ...] = ("soft", "hard")
    leak: bool = True
    leak_bits: int | None = None
    leak_order: tuple[str, ...] = ("before", "after")
    rounding: tuple[str, ...] = ("floor", "zero")
    v_reset: tuple[str, ...] = ("any",)
    saturating: bool = True
    aligned_bits: int | None = None
    floor: bool = True
    few_bit_potentials: bool = True
    signed_spikes: bool = True
    v0: tuple[str, ...] = ("any",)
    ops: tuple[str, ...] = OPS
    linear_checked: bool = False
    rules: tuple[Rule, ...] = field(default=())

    def __post_init__(self) -> None:
        words = {
            "bias": ((self.bias,), ("per_step", "axon", "none")),
            "fire": (self.fire, ("ge", "gt")),
            "reset": (self.reset, ("soft", "hard")),
            "v0": (self.v0, ("zero", "half", "any")),
            "v_reset": (self.v_reset, ("zero", "any")),
            "leak_order": (self.leak_order, ("before", "after")),
            "rounding": (self.rounding, ("floor", "zero")),
            "ops": (self.ops, OPS),
        }
        problems = [
            f"{key} = {', '.join(map(repr, wrong))}: allowed are {', '.join(allowed)}"
            for key, (values, allowed) in words.items()
            if (wrong := [value for value in values if value not in allowed])
        ]
        whole = dict.fromkeys(("wire_bits", "input_bits", "theta_bits", "bias_bits", "potential_bits"), 1)
        whole |= {"k_max": 0, "right_shift": 0, "leak_bits": 0, "aligned_bits": 0}
        problems += [
            f"{key} = {short(value)}: {least} to {MOST_BITS} are possible"
            for key, least in whole.items()
            if (value := getattr(self, key)) is not None and not least <= value <= MOST_BITS
        ]
        if any(not 1 <= bits <= MOST_BITS for bits in self.weight_bits):
            problems.append(f"weight_bits = {short(list(self.weight_bits))}: 1 to {MOST_BITS} are possible")
        if problems:
            raise ConstraintError(
                "\n  ".join([f"chip {self.name!r}:", *problems]),
                fix=f"leave {problems[0].split()[0]} out: it is then not limited",
            )


def names() -> list[str]:
    """Return the names of the profiles that ship.

    Example:
        >>> names()
        ['dynapcnn-speck', 'fanin1024-v1', 'generic-int', 'loihi']
    """
    return names_in(PROFILES)


def load(chip: str | Path | Chip) -> Chip:
    """Return a chip by the name of a shipped profile, or from a TOML file of the same form.

    Raises:
        ConstraintError: there is no such profile or file, it is no TOML, or it has an unknown key or a wrong value.

    Example:
        >>> load("fanin1024-v1").rules[0].limit
        1024
    """
    if isinstance(chip, Chip):
        return chip
    path = find(chip, PROFILES, "chip")
    return parse(read_toml(path, "chip"), where=str(path))


def parse(values: Mapping[str, Any], *, where: str = "profile") -> Chip:
    """Return the chip that a table of keys and values describes.

    Raises:
        ConstraintError: a key is unknown or missing, or a value has the wrong type; all of them are listed.
    """
    values = dict(values)
    if (version := values.pop("format", None)) != FORMAT:
        raise ConstraintError(
            f"chip {where}: format = {short(version)}; this version reads format = {FORMAT}", fix=f"format = {FORMAT}"
        )
    problems: list[str] = []
    fields_of_chip = _checked(Chip, {k: v for k, v in values.items() if k != "rules"}, problems, "")
    rules = values.get("rules", [])
    if not (isinstance(rules, list) and all(isinstance(r, dict) for r in rules)):
        problems.append("rules: a list of tables [[rules]] is needed")
        rules = []
    tables = [_checked(Rule, rule, problems, f"rules[{i}].") for i, rule in enumerate(rules)]
    if problems:
        more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        raise ConstraintError("\n  ".join([f"chip {where}:", *problems[:_TOLD], *more]), fix=_COPY)
    try:
        return Chip(**fields_of_chip, rules=tuple(Rule(**table) for table in tables))
    except ConstraintError as error:
        raise ConstraintError(f"{where}: {error.message}", fix=error.fix) from error


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "int | None": ((int,), "a whole number"),
    "float | None": ((int, float), "a number"),
}


def _checked(into: type[Chip] | type[Rule], values: Mapping[str, Any], problems: list[str], at: str) -> dict[str, Any]:
    """Return the values as the fields of ``into`` take them; note every unknown key, missing key and wrong type."""
    known = {f.name: str(f.type) for f in fields(into) if f.name != "rules"}
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            problems.append(f"{at}{key}: unknown; allowed are {', '.join(known)}" + (", rules" if into is Chip else ""))
            continue
        kind = known[key]
        if kind.startswith("tuple"):
            inner: tuple[type, ...] = (int, float) if "float" in kind else (int,) if "int" in kind else (str,)
            fits = isinstance(value, list) and all(isinstance(v, inner) and not isinstance(v, bool) for v in value)
            wanted = f"a list of {'text' if inner == (str,) else 'numbers'}"
        else:
            types, wanted = _TYPES.get(kind, ((str,), "text"))
            fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not fits:
            problems.append(f"{at}{key} = {short(value)}: {wanted} is needed")
        else:
            result[key] = tuple(value) if isinstance(value, list) else value
    missing = [n for n in (("name",) if into is Chip else ("name", "cost")) if n not in values]
    problems.extend(f"{at}{name}: is missing" for name in missing)
    return result
