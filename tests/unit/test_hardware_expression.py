from __future__ import annotations

from fractions import Fraction

import pytest

from bitspike.errors import ConstraintError
from bitspike.hardware.chips.expression import Expression


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("bits * inputs / groups", Fraction(20, 3)),
        ("inputs // groups % 2", 1),
        ("-bits ** 2", -16),
        ("ceil(inputs / groups)", 2),
        ("floor(inputs / groups)", 1),
        ("max(bits, inputs, groups) - min(bits, 9)", 1),
        ("abs(bits - inputs)", 1),
        ("log2(bits)", 2),
        ("1 if bits < inputs <= 5 else 2", 1),
        ("bits if bits > 8 and inputs or groups == 3 else 0", 4),
        ("not bits", 0),
        ("0.5 * bits", 2),
    ],
)
def test_arithmetic(text: str, value: Fraction | int) -> None:
    assert Expression(text)(bits=4, inputs=5, groups=3) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "bits.real",
        "[bits for bits in range(3)]",
        "open('x')",
        "max(bits, key=abs)",
        "lambda: 1",
        "'a' * 3",
        "bits[0]",
        "f'{bits}'",
        "(bits := 3)",
        "bits is inputs",
        "bits in (1, 2)",
        "{1: 2}",
        "1j",
        "None",
        "x()()",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ConstraintError, match="is not allowed"):
        Expression(text)


@pytest.mark.parametrize("text", ["", "1 +", "a = 3", "import os", "1\x00"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ConstraintError, match="is no expression"):
        Expression(text)


def test_names_are_checked_and_listed() -> None:
    with pytest.raises(ConstraintError, match="unknown bytes; there are bits, inputs"):
        Expression("bytes * inputs", names=("inputs", "bits"))
    with pytest.raises(ConstraintError, match="no value for inputs"):
        Expression("bits * inputs")(bits=1)


@pytest.mark.parametrize("text", ["1 / bits", "2 ** (10 ** 9)", "log2(bits)", "bits % 0", "(-1) ** 0.5"])
def test_a_value_that_does_not_exist_is_an_error(text: str) -> None:
    with pytest.raises(ConstraintError, match="has no value"):
        Expression(text)(bits=0)


def test_length_is_limited() -> None:
    with pytest.raises(ConstraintError, match="at most 400"):
        Expression("1+" * 300 + "1")
    with pytest.raises(ConstraintError, match=r"is no expression|is not allowed|at most"):
        Expression("(" * 390)
