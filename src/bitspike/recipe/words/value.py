"""What the words of a recipe have in common: a word is its ``kind`` and its numbers, and names the class it makes.

Every union of words is told apart by ``kind``, so an unknown word fails on load. The numbers bear the names and the
defaults that the arguments of the class have, which a test compares. A new word is one class in one of these files.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


class Value(BaseModel):
    """Frozen, and closed: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    makes: ClassVar[str] = ""
    """The class or function that the word stands for, as ``module:name``; empty for a section that is no object."""
    unnamed: ClassVar[tuple[str, ...]] = ()
    """Keys that files leave out where they have their default: those that were added later."""

    @model_serializer(mode="wrap")
    def _without_unnamed(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {
            key: value
            for key, value in values.items()
            if key not in self.unnamed or value != type(self).model_fields[key].default
        }


Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixel = Annotated[int, Field(ge=0, le=255)]


def words_of(union: Any) -> dict[str, type[Value]]:
    """Return the words of a union by their kind.

    Example:
        >>> from bitspike.recipe.words.layers import Readout
        >>> {kind: word.makes for kind, word in words_of(Readout).items()}
        {'rate': 'bitspike.nn:RateReadout', 'sum': 'bitspike.nn:SumReadout'}
    """
    choices, _ = get_args(union)
    return {get_args(word.model_fields["kind"].annotation)[0]: word for word in get_args(choices)}
