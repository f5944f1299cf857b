"""The pages that only the site has: every public name by topic, and every verb of the command line."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gather import targets, toctree
from typer.testing import CliRunner

import bitspike
from bitspike.cli import app

TOPICS = {
    "Verbs": ("What the command line does, as functions of a run, a recipe, or a network in memory.", ["verbs"]),
    "Layers and neurons": ("Modules over tensors of shape [T, N, ...], time first.", ["nn"]),
    "Surrogates, grids and membranes": ("Derivatives of the spike, and the grids of integers.", ["ops"]),
    "Weights": ("Schemes that make codes of weights, constraints, devices, and what attaches them.", ["weights"]),
    "Training": ("The loop, its settings, and what it remembers.", ["train"]),
    "Conversion": ("An ordinary network becomes a spiking one.", ["conversion"]),
    "Integers and their proof": ("The integer network, its runs, and how it is proven.", ["integer", "lowering"]),
    "Other programs": ("C, NIR, ONNX, Verilog and Loihi.", ["formats"]),
    "Looking": ("Tables, figures and early exit.", ["analysis"]),
    "Data": ("Images and events.", ["data"]),
    "Networks": ("Networks of papers, as functions that return a module.", ["models"]),
    "Trained networks": ("Networks that come with the package.", ["zoo"]),
    "Errors": ("Every error says what was found, what is allowed, and a way out.", ["errors"]),
}
"""Topic -> what it holds, and the rooms whose public names belong to it."""


def public() -> dict[str, list[str]]:
    """Return the public names by topic, as they are written after ``bitspike.``; each once, by its shortest name.

    Raises:
        LookupError: a public name has no topic.
    """
    topic_of = {room: topic for topic, (_, rooms) in TOPICS.items() for room in rooms}
    names_of: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    seen: list[Any] = []
    for name, home in [*_top(), *_rooms()]:
        value = resolve(name)
        if any(value is other for other in seen):
            continue
        seen.append(value)
        room = home.removeprefix("bitspike.").partition(".")[0]
        if room not in topic_of:
            raise LookupError(f"bs.{name} has no topic: name the room {room!r} in docs/site/reference.py")
        names_of[topic_of[room]].append(name)
    return names_of


def _top() -> Iterator[tuple[str, str]]:
    for module, names in bitspike._HOMES.items():
        yield from ((name, module) for name in sorted(names, key=str.lower))


def _rooms() -> Iterator[tuple[str, str]]:
    for room, module in bitspike._ROOMS.items():
        yield from ((f"{room}.{name}", module) for name in importlib.import_module(module).__all__)


def resolve(name: str) -> Any:
    """Return what a public name stands for, ``nn.Pad`` as well as ``lower``."""
    value: Any = bitspike
    for part in name.split("."):
        value = getattr(value, part)
    return value


def write(source: Path) -> list[tuple[str, str]]:
    """Write all pages into the source of the site; return the title and the file of those the start page lists."""
    folder = source / "api"
    folder.mkdir(parents=True)
    rows = []
    for topic, names in public().items():
        file = topic.lower().replace(" ", "-").replace(",", "")
        (folder / f"{file}.rst").write_text(_page(topic, names), encoding="utf-8")
        rows.append(f"* [{topic}]({file}.rst): {TOPICS[topic][0]} {', '.join(f'`{name}`' for name in names)}")
    (folder / "index.md").write_text(_index(rows), encoding="utf-8")
    (source / "command-line.md").write_text(commands(), encoding="utf-8")
    return [("The Python interface", "api/index.md"), ("The command line", "command-line.md")]


def _index(rows: list[str]) -> str:
    page = "\n".join(
        ["# The Python interface", "", "`import bitspike as bs`: names are loaded on first use.", "", *rows]
    )
    return f"{page}\n\n{toctree(targets(page))}"


def _page(topic: str, names: list[str]) -> str:
    parts = [topic, "=" * len(topic), "", TOPICS[topic][0], ""]
    for name in names:
        value = resolve(name)
        if isinstance(value, Mapping):
            parts += [f".. py:data:: bitspike.{name}", "", f"   Has {', '.join(f'``{key}``' for key in value)}.", ""]
        elif inspect.isclass(value):
            parts += [f".. autoclass:: bitspike.{name}", "   :members:", ""]
        else:
            parts += [f".. autofunction:: bitspike.{name}", ""]
    return "\n".join(parts)


def commands() -> str:
    """Return the page of the command line: what ``--help`` says of every verb."""
    lines = ["# The command line", "", "Written from the program itself: what each verb says after `--help`.", ""]
    for words in [[], *verbs()]:
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="bitspike", terminal_width=100)
        assert result.exit_code == 0, result.output
        lines += [f"## {' '.join(['bitspike', *words])}", "", "```text", result.output.strip(), "```", ""]
    return "\n".join(lines)


def verbs() -> list[list[str]]:
    """Return the words of every verb, those of groups with their own verbs after them."""
    import typer.main

    words = []
    for name, command in sorted(typer.main.get_command(app).commands.items()):  # type: ignore[attr-defined]
        words.append([name])
        words += [[name, inner] for inner in getattr(command, "commands", {})]
    return words
