"""What the site is made of, without building it: every page is led to, every public name and verb has its place.

``make docs`` builds it, with every warning of Sphinx as an error.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bitspike
from pages import links_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def site() -> Iterator[dict[str, ModuleType]]:
    """Return the modules that gather the pages and write those of the reference."""
    names = ("gather", "reference")
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(FOLDER))
    for name in names:
        del sys.modules[name]


def test_the_start_page_leads_to_every_document(site: dict[str, ModuleType]) -> None:
    gather = site["gather"]
    start, decisions = ROOT / "docs" / "README.md", ROOT / "docs" / "adr" / "README.md"
    led = {path for page in (start, decisions) for path in gather.links_in(page.read_text("utf-8"), page)}
    missing = [str(path.relative_to(ROOT)) for path in gather.documents() if path not in {*led, start}]
    assert missing == [], "list them in docs/README.md"
    assert len(led) > 60


def test_the_start_page_lists_no_page_twice() -> None:
    lines = (ROOT / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    listed = [link for line in lines if line.startswith("* ") for link in links_of(line)]
    assert [link for link, times in Counter(listed).items() if times > 1] == []
    assert len(listed) > 30


def test_every_public_name_has_a_topic_and_stands_there_once(site: dict[str, ModuleType]) -> None:
    pages = site["reference"].public()
    listed = [name for names in pages.values() for name in names]
    assert len(listed) == len(set(listed)) > 200
    values = [site["reference"].resolve(name) for name in listed]
    for name in bitspike.__all__:
        if name != "__version__":
            assert any(getattr(bitspike, name) is value for value in values), name
    for room in bitspike._ROOMS:
        module = getattr(bitspike, room)
        for name in module.__all__:
            assert any(getattr(module, name) is value for value in values), f"{room}.{name}"


def test_a_name_without_a_topic_stops_the_build(site: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(site["reference"].TOPICS, "Errors")
    with pytest.raises(LookupError, match=r"bs\.BitspikeError has no topic"):
        site["reference"].public()


def test_every_verb_is_shown_with_its_help(site: dict[str, ModuleType]) -> None:
    page = site["reference"].commands()
    for words in site["reference"].verbs():
        assert f"\n## bitspike {' '.join(words)}\n" in page
    assert "## bitspike recipes show\n" in page
    assert "--set KEY=VALUE" in page
    assert "\x1b" not in page


def test_links_lead_to_the_same_files_from_their_new_place(site: dict[str, ModuleType], tmp_path: Path) -> None:
    gather = site["gather"]
    gather.gather(tmp_path / "source")
    copied = sorted((tmp_path / "source").rglob("*.md"))
    assert len(copied) == len(gather.documents())
    links = 0
    for page in copied:
        for link in links_of(page.read_text("utf-8")):
            assert (page.parent / link).is_file(), f"{page}: {link}"
            links += 1
    assert links > 200


def test_the_glossary_says_what_reports_say() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reference"))
    assert script["GLOSSARY"].read_text(encoding="utf-8") == script["glossary"](), "run scripts/reference"
