"""Every command that a page shows is one that the command line understands, with recipes and keys that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from bitspike.cli import app
from bitspike.recipe import load, shipped
from pages import blocks_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_in(page: Path) -> list[list[str]]:
    """Return the words of each command in the code blocks of a page; what stands after many blanks explains it."""
    blocks = [text for _, text in blocks_of(page.read_text(encoding="utf-8"))]
    lines = [re.split(r" {3,}| #", line)[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [re.match(r"(?:torchrun \S+ -m )?bitspike (.*)", line) for line in lines]
    return [shlex.split(match[1]) for match in commands if match and "..." not in match[1]]


@pytest.mark.parametrize("page", [p for p in PAGES if commands_in(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_command_line_understands_every_command_of_a_page(page: Path) -> None:
    group = typer.main.get_command(app)
    for words in commands_in(page):
        if words[0].startswith("--"):
            continue
        context = group.make_context("bitspike", list(words), resilient_parsing=True)
        verb = group.get_command(context, words[0])
        assert verb is not None, words
        values = verb.make_context(words[0], words[1:], parent=context).params
        if words[0] == "run" and values["recipe"] in shipped():
            load(values["recipe"], values["set"] or ())


def test_pages_show_commands() -> None:
    assert len([words for page in PAGES for words in commands_in(page)]) > 100


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [str(p.relative_to(ROOT)) for p in PAGES[1:] if p.parent.name != "adr"]
    assert [page for page in pages if f"({page}" not in readme] == []
