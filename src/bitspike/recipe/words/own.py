"""A class or function of the user's own in a recipe: where it is, and with which arguments it is called."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from bitspike.recipe.words.value import Value

OWN = "factory"
"""The kind of a word for something of the user's own."""


class Own(Value):
    """Something that a class or function of the user's makes; ``makes`` names the class of what it has to return.

    ``factory`` is ``module:name`` or ``file.py:name``; modules and files are looked for next to the recipe (``folder``,
    filled in on load), then in the working directory, then among the installed ones. It is called with ``arguments``
    and with what the section adds to them.
    """

    section: ClassVar[str]
    """Where the word stands in a recipe, for messages."""

    kind: Literal["factory"]
    factory: str
    folder: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)

    @property
    def added(self) -> dict[str, Any]:
        """What the section adds to the arguments."""
        return {}

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not re.fullmatch(r"[^:]+:[A-Za-z_][A-Za-z0-9_.]*", value):
            raise ValueError(f"found {value!r}, needed is module:function or file.py:function")
        return value
