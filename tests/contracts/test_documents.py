"""The documents say what is there: the drawing, the commands, the links."""

from __future__ import annotations

import ast
import os
import re
import runpy
import tomllib
from pathlib import Path

import pytest

from bitspike.formats.c.bench import makefile_text
from bitspike.formats.c.boards.board import board_of
from bitspike.formats.c.boards.folder import board_files
from bitspike.formats.c.program import program
from bitspike.integer.examples import one_convolution
from pages import blocks_of, links_of, prose_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "bitspike"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.md")])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def drawing() -> list[tuple[list[str], bool, int]]:
    """Read the rooms of docs/architecture.md: (names, marked as later, floor) per row, from the top down."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"```\nsrc/bitspike/\n(.*?)```", text, re.DOTALL)
    assert block
    rows = []
    for line in block[1].splitlines():
        row = re.fullmatch(r"  (\S.*?)\s+L(\d+) +(\S.*)", line)
        assert row, f"not a row of the drawing: {line!r}"
        rooms, floor, _ = row.groups()
        rows.append((rooms.replace("(later)", "").split(), "(later)" in rooms, int(floor)))
    return rows


def contract_rows() -> list[list[str]]:
    """Read the rows of the layers contract, from high to low, without ``__main__``."""
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    return [[name.strip(" ()") for name in re.split(r"[|:]", row)] for row in layers if row != "__main__"]


def exists(room: str) -> bool:
    path = SOURCE / room
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_every_room_of_the_drawing_exists_or_is_marked_as_later() -> None:
    for rooms, later, _ in drawing():
        for room in rooms:
            assert exists(room.rstrip("/")) != later, f"{room}: {'exists' if later else 'is missing'}"


def test_the_drawing_shows_the_rooms_and_floors_of_the_import_contract() -> None:
    floors = {room.rstrip("/").replace("/", "."): floor for rooms, _, floor in drawing() for room in rooms}
    del floors["recipes"]  # values, not code
    rows = contract_rows()
    assert set(floors) == {room for row in rows for room in row}
    heights = [{floors[room] for room in row} for row in rows]
    assert all(len(height) == 1 for height in heights), "a row of the contract stands on one floor"
    descent = [height.pop() for height in heights]
    assert descent == sorted(descent, reverse=True)


def test_the_list_of_files_says_what_each_file_says_of_itself() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "drawing"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["put"](page, script["drawing"](), script["BEGIN"], script["END"]) == page, "run scripts/drawing"
    said = [row for room in sorted(SOURCE.glob("*/__init__.py")) for row in script["files_in"](room.parent)]
    assert len(said) > 300
    assert [name for name, purpose in said if not purpose] == []


def names_in(path: Path) -> set[str]:
    """Return the functions, classes, methods and constants of a Python file, methods as ``Class.method``."""
    names = set()
    for item in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(item, ast.FunctionDef | ast.ClassDef):
            names.add(item.name)
        if isinstance(item, ast.ClassDef):
            names |= {f"{item.name}.{part.name}" for part in item.body if isinstance(part, ast.FunctionDef)}
        if isinstance(item, ast.Assign | ast.AnnAssign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("page", "least"), [("docs/architecture.md", 80), ("CONTRIBUTING.md", 8)])
def test_files_and_functions_that_a_page_names_exist(page: str, least: int) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", text)
    assert len(named) >= least
    for path, name in named:
        place = next((root / path for root in (SOURCE, ROOT) if (root / path).is_file()), None)
        assert place, f"there is no {path}"
        assert not name or name in names_in(place), f"{path} has no {name}"
    for folder in re.findall(r"`([\w/]+/)`", text):
        assert (SOURCE / folder).is_dir() or (ROOT / folder).is_dir(), f"there is no folder {folder}"


def targets() -> set[str]:
    """Return the targets of our Makefile, and of those that go with every C program, for a board too, and Verilog."""
    net = one_convolution()
    written = makefile_text(program(net, "network"), bench=True)
    of_a_board = board_files(board_of("avr"), net, program(net, "network"))["Makefile"]
    of_verilog = (SOURCE / "formats" / "verilog" / "bench" / "Makefile").read_text(encoding="utf-8")
    texts = ((ROOT / "Makefile").read_text(encoding="utf-8"), written, of_a_board, of_verilog)
    lines = [line for text in texts for line in re.findall(r"^([a-z0-9 -]+):", text, re.MULTILINE)]
    return {target for line in lines for target in line.split()}


def code_in(text: str) -> list[str]:
    """Return the lines of code blocks and the inline code of a document; prose may say "make" as well."""
    lines = [line for _, block in blocks_of(text) for line in block.splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", prose_of(text))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_make_command_is_a_target(path: Path) -> None:
    commands = [
        re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*make ([\w-]+)", line) for line in code_in(path.read_text(encoding="utf-8"))
    ]
    assert {command[1] for command in commands if command} <= targets()


def test_the_first_screen_of_the_readme_names_the_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:60])
    assert "make quickstart" in screen
    assert "make test" in screen


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_document_holds_two_versions_of_a_line(path: Path) -> None:
    assert not re.search(r"^(<<<<<<<|=======|>>>>>>>)( |$)", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_internal_link_resolves(path: Path) -> None:
    for link in links_of(path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), f"{link} does not exist"


def test_documents_and_records_that_the_source_names_exist() -> None:
    named = {
        (path, name)
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r"(?<![\w/.-])(?:docs|tests|benchmarks)/[\w/.-]*\w", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    missing = [f"{name_of(path)}: {name}" for path, name in sorted(named) if not list(ROOT.glob(f"{name}*"))]
    assert missing == []


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    machine = re.compile(r"(?<![\w.~])/(?:home|root|work|tmp|Users)/\w")
    kinds = {".md", ".py", ".yaml", ".toml", ".cff", ".html", ".css", ".js", ""}
    files = [path for folder in ("src", "tests", "docs", "scripts", ".ci") for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.glob("*.*") if path.name != ".git"]  # a file in a second working tree
    read = [p for p in files if p.is_file() and p.suffix in kinds and not re.search(r"egg-info|__pycache__", str(p))]
    assert len(read) > 20
    naming = [name_of(path) for path in read if machine.search(path.read_text(encoding="utf-8"))]
    assert naming == []


def test_every_decision_is_listed_and_whole() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    decisions = sorted(folder.glob("0*.md"))
    assert len(decisions) >= 6
    for path in decisions:
        assert f"({path.name})" in index
        text = path.read_text(encoding="utf-8")
        for part in ("Status", "Context", "Decision", "Alternatives", "Consequences", "Evidence"):
            assert f"**{part}" in text, f"{path.name} has no {part}"


def test_every_surprise_of_another_tool_is_listed_and_can_be_run() -> None:
    folder = ROOT / "findings"
    scripts = sorted(path.name for path in folder.glob("*.sh"))
    listed = re.findall(
        r"^\| \[([\w-]+\.sh)\]\(\1\) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == scripts
    assert [name for name in scripts if not os.access(folder / name, os.X_OK)] == []


def test_one_version_and_a_heading_for_results_affected() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "### Results affected" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
