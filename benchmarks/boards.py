"""What a network takes on boards: golden vectors replayed in their emulators, footprint, and the choice of -O2.

A network comes from the zoo. The tools of the boards are those of Debian; a board without its tools is an error that
names them. The lines are kept in ``records/boards.jsonl``, and the tables in docs/export-c.md are written from them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bitspike as bs
from benchmarks import machine, markers
from benchmarks.lines import add_to, held_in
from bitspike.errors import ExportError
from bitspike.formats.c.boards.board import HOST, board_of
from bitspike.integer.saved.folder import read_tensors
from bitspike.integer.saved.manifest import VECTORS
from bitspike.runs.saved import saved

ROOT = Path(__file__).resolve().parents[1]
LINES = Path(__file__).parent / "records" / "boards.jsonl"
DOCUMENT = ROOT / "docs" / "export-c.md"
BEGIN, END = "<!-- boards: scripts/prove_boards writes this -->", "<!-- /boards -->"
NETWORKS = ("digits-convert", "quickstart")
BOARDS = ("cortex-m0", "cortex-m4", "riscv32", "avr")
LEVELS = ("-Os", "-O2", "-O3")
USUAL = "-O2"
SPREAD = ("cortex-m4", "-mcpu=cortex-m0 -mthumb")
"""Where Cortex-M0 code runs that its own board has no room for: a Cortex-M4 executes all its instructions."""
BIG_ENDIAN = {"powerpc": ("powerpc-linux-gnu-gcc", "qemu-ppc"), "mips": ("mips-linux-gnu-gcc", "qemu-mips")}

Line = dict[str, Any]


def prove(network: str, *, levels: Sequence[str] = LEVELS, say: Callable[[str], None] = print) -> list[Line]:
    """Replay the golden vectors of a network of the zoo everywhere; return a line for each board and level.

    Raises:
        ExportError: a tool is missing, or a board gave another spike: what ``make`` said is in it.
    """
    about = {
        "run": datetime.now(UTC).isoformat(timespec="seconds"), "network": network, "bitspike": bs.__version__,
        "commit": machine.commit(),
    }  # fmt: skip
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        run = bs.zoo.unpack(network, Path(scratch) / "run")
        net, vectors = bs.zoo.load(network), read_tensors(saved(run), VECTORS)
        for board in BOARDS:
            folder, words = Path(scratch) / board, []
            refused = written(net, folder, board, vectors)
            if refused is not None and board == "cortex-m0":
                instead, flags = SPREAD
                folder, words = Path(scratch) / "instead", [f"BOARD={flags}"]
                written(net, folder, instead, vectors)
            elif refused is not None:
                lines.append({**about, "board": board, "refused": refused})
                say(sentence(lines[-1]))
                continue
            for level in levels:
                made = made_by_make(folder, ["footprint", f"FLAGS={level}", *words])
                tools = versions(board_of(board).compiler, board_of(board).emulator)
                lines.append({**about, "board": board, "level": level, "refused": refused, **tools, **made})
                say(sentence(lines[-1]))
        written(net, Path(scratch) / "host", HOST, vectors)
        for name, (compiler, emulator) in BIG_ENDIAN.items():
            (Path(scratch) / "host" / "network_test").unlink(missing_ok=True)
            made = made_by_make(Path(scratch) / "host", ["check", f"CC={compiler}", "FLAGS=-static", f"RUN={emulator}"])
            lines.append(
                {**about, "board": name, "level": USUAL, "refused": None, **versions(compiler, emulator), **made}
            )
            say(sentence(lines[-1]))
    return lines


def written(net: bs.IntegerNetwork, folder: Path, board: str, vectors: Any) -> str | None:
    """Write a network for a board; return why it does not fit, if it does not."""
    try:
        bs.write_c(net, folder, board=board, vectors=vectors)
    except ExportError as error:
        return error.message
    return None


def made_by_make(folder: Path, words: Sequence[str]) -> Line:
    """Build from the start, replay and read what was printed."""
    subprocess.run(["make", "-s", "-C", str(folder), "clean"], check=True)
    done = subprocess.run(["make", "-s", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(f"make {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return read(done.stdout)


def read(text: str) -> Line:
    """Return the numbers of what a bench printed.

    Example:
        >>> read("network: 8 spikes of 2 samples compared; the state is 9 bytes\\nnetwork: all equal\\n")
        {'spikes': 8, 'samples': 2, 'equal': True}
    """
    found: Line = {}
    for pattern, names in _PATTERNS:
        if match := re.search(pattern, text):
            found |= zip(names, map(int, match.groups()), strict=True)
    found["equal"] = "network: all equal" in text
    layers = re.findall(r"^network:   (\d+) (?:up to the spikes of (.*)|after them)$", text, re.MULTILINE)
    return found | ({"layers": [[name, int(count)] for count, name in layers]} if layers else {})


_PATTERNS = (
    (r"network: (\d+) spikes of (\d+) samples compared", ("spikes", "samples")),
    (r"network: (\d+) \w+ an inference in the mean, at most (\d+); (\d+) bytes", ("count", "most", "stack")),
    (r"network: (\d+) bytes of flash, (\d+) of RAM", ("flash", "ram")),
)


def versions(compiler: str, emulator: str) -> Line:
    """Return compiler and emulator, each with its version."""
    return {"compiler": version(compiler), "emulator": version(emulator)}


def version(tool: str) -> str:
    """Return the name of a program with what it says of its version, or else with that of its Debian package."""
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
    if said and re.search(r"\d+\.\d+", said[0]):
        return f"{tool} {re.findall(r'[0-9]+(?:[.][0-9]+)+', said[0])[-1]}"
    package = ["dpkg-query", "--show", "--showformat=${Version}", tool]
    return f"{tool} {subprocess.run(package, capture_output=True, text=True, check=False).stdout.partition('+')[0]}"


def sentence(line: Line) -> str:
    """Say a line in words."""
    start = f"{line['network']} on {line['board']}"
    if "samples" not in line:
        return f"{start}: refused: {line['refused']}"
    counted = f", {line['count']:,} {board_of(line['board']).counts}" if "count" in line else ""
    verdict = "equal" if line["equal"] else "DIFFERENT"
    return f"{start} {line['level']}: {line['spikes']:,} spikes of {line['samples']} samples {verdict}{counted}"


# The tables ---------------------------------------------------------------------------------------------------------


def keep(lines: Iterable[Line], path: Path = LINES) -> None:
    """Add lines to the kept ones."""
    add_to(path, *lines)


def kept(path: Path = LINES) -> list[Line]:
    """Return the lines of the last run of every network."""
    held = held_in(path)
    last = {line["network"]: line["run"] for line in held}
    return [line for line in held if line["run"] == last[line["network"]]]


def table(lines: Sequence[Line]) -> str:
    """Return two tables in Markdown: what a network takes on every board, and what the compiler's level changes."""
    rows = [
        "| network | processor | samples | spikes compared | flash | RAM | stack | one inference, mean | at most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(line) for line in lines if line.get("level", USUAL) == USUAL),
    ]
    pairs = list(dict.fromkeys((line["network"], line["board"]) for line in lines if "count" in line))
    levels = [
        f"| one inference (flash) | {' | '.join(f'`{level}`' for level in LEVELS)} |",
        "| --- " * (1 + len(LEVELS)) + "|",
        *(_levels(lines, *pair) for pair in pairs),
    ]
    reasons = dict.fromkeys((line["network"], line["refused"]) for line in lines if line["refused"])
    said = [f"Refused, `{network}`: {_in_a_line(reason)}.\n" for network, reason in reasons]
    commands = "scripts/prove_boards " + " ".join(dict.fromkeys(line["network"] for line in lines)) + " --keep"
    return "\n".join([*rows, "", *said, *levels, "", f"```\n{commands}\n```", "", _made(lines)])


def _in_a_line(reason: str) -> str:
    """Return an error of several lines as a sentence."""
    first, *rest = map(str.strip, reason.splitlines())
    return ": ".join([first, "; ".join(rest)]) if rest else first


def _row(line: Line) -> str:
    start = f"| `{line['network']}` | {_processor(line)} |"
    if "samples" not in line:
        return f"{start} refused: it does not fit | | | | | | |"
    equal = "all equal" if line["equal"] else "**different**"
    start += f" {line['samples']} | {line['spikes']:,}, {equal} |"
    if "count" not in line:
        return f"{start} | | | | |"
    sizes = " | ".join(f"{line[key]:,}" for key in ("flash", "ram", "stack"))
    return (
        f"{start} {sizes} | {_millions(line['count'])} {board_of(line['board']).counts} | {_millions(line['most'])} |"
    )


def _processor(line: Line) -> str:
    if line["board"] in BIG_ENDIAN:
        return f"{line['board']}, big-endian"
    spread = ", in the memory of `cortex-m4`" * bool(line["refused"] and "samples" in line)
    return f"`{line['board']}`{spread}"


def _levels(lines: Sequence[Line], network: str, board: str) -> str:
    of = {
        line["level"]: line
        for line in lines
        if (line["network"], line["board"]) == (network, board) and "count" in line
    }
    least = min(line["count"] for line in of.values())
    cells = []
    for level in LEVELS:
        if level not in of:
            cells.append("")
            continue
        count = _millions(of[level]["count"])
        cells.append(f"{f'**{count}**' if of[level]['count'] == least else count} ({of[level]['flash']:,})")
    return f"| `{network}`, `{board}` | {' | '.join(cells)} |"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def _made(lines: Sequence[Line]) -> str:
    tools = dict.fromkeys(line[key] for line in lines for key in ("compiler", "emulator") if key in line)
    made = dict.fromkeys(f"bitspike {line['bitspike']} at {line['commit']}, {line['run'][:10]}" for line in lines)
    return f"Flash, RAM without the stack, and stack in bytes. Made with {', '.join(tools)}; {'; '.join(made)}."


def put(text: str, content: str) -> str:
    """Return a document with the part between the markers of these tables replaced."""
    return markers.put(text, content, BEGIN, END)
