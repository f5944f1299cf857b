"""The page of all keys is what the source says, and no key is without a meaning."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

from bitspike.recipe.meanings import MEANINGS

ROOT = Path(__file__).parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "reference"))
MODELS = [model for models in SCRIPT["words"]().values() for model in models]


def keys_of(model: Any) -> list[str]:
    return [key for key in model.model_fields if key not in ("kind", *getattr(model, "noted", ()))]


def test_the_page_is_current() -> None:
    page = (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8")
    assert page == SCRIPT["page"](), "run scripts/reference"
    assert len(page.splitlines()) > 1000


def test_every_key_has_a_meaning() -> None:
    silent = [
        f"{model.__name__}.{key}" for model in MODELS for key in keys_of(model) if not SCRIPT["meaning"](model, key)
    ]
    assert silent == [], "say in bitspike.recipe.meanings what they mean"
    assert sum(len(keys_of(model)) for model in MODELS) > 500


def test_no_meaning_is_of_a_key_that_there_is_not() -> None:
    keys = {key for model in MODELS for key in keys_of(model)}
    named = {
        f"{base.__name__.lstrip('_')}.{key}" for model in MODELS for base in model.__mro__ for key in keys_of(model)
    }
    assert [name for name in MEANINGS if name not in (named if "." in name else keys)] == []


def test_links_lead_to_words_of_the_page_and_each_place_is_one() -> None:
    page = (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8")
    places = re.findall(r'<a id="([^"]+)">', page)
    assert len(places) == len(set(places))
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= set(places)
