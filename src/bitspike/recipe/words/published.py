"""The figure that was published, with its source and setting."""

from __future__ import annotations

from bitspike.recipe.words.value import Fraction, Value


class Published(Value):
    """The figure that was published, as a fraction, with its source and setting."""

    value: Fraction
    source: str
    setting: str
