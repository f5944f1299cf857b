"""Words that the command line does not take are answered as all else is: what was found, and a line that works."""

from __future__ import annotations

import pytest

from bitspike.cli import main
from bitspike.formats.table import FORMATS

CASES = {
    "an option": (
        "export runs/x --format c",
        "error: bitspike export: --out is missing (the folder (c",
        "bitspike export runs/x --format c --out PATH",
    ),
    "two options": (
        "export runs/x",
        "error: bitspike export: --format is missing (what to write); --out is missing (",
        f"bitspike export runs/x --format {'|'.join(FORMATS)} --out PATH",
    ),
    "an argument": (
        "check --chip fanin1024-v1",
        "error: bitspike check: NETWORK|RECIPE is missing",
        "bitspike check --chip fanin1024-v1 NETWORK|RECIPE",
    ),
    "both": ("check", "NETWORK|RECIPE is missing (", "bitspike check NETWORK|RECIPE --chip NAME|FILE"),
    "several": ("compare", "error: bitspike compare: RUN is missing", "bitspike compare RUN"),
    "below another": (
        "recipes show",
        "error: bitspike recipes show: RECIPE is missing",
        "bitspike recipes show RECIPE",
    ),
    "a verb": ("evalute runs/x", "error: bitspike: no such command 'evalute'", "bitspike evaluate"),
    "no verb at all": ("xyzzy", "error: bitspike: no such command 'xyzzy'", "bitspike --help"),
    "another option": ("run quickstart --sed 3", "error: bitspike run: no such option: --sed\n", "--seeds, or --set"),
    "no whole number": ("cost runs/x --samples many", "cost: --samples many: needed is a whole number", "--samples 4"),
    "no number": ("evaluate x --exit-confidence=q", "--exit-confidence q: needed is a number", "--exit-confidence 0.5"),
    "no such word": (
        "compare a b --format latx",
        "error: bitspike compare: --format latx: allowed are text, csv, markdown, latex",
        "--format latex",
    ),
    "an option without a value": (
        "run quickstart --seeds",
        "error: bitspike run: --seeds is without a value",
        "bitspike run quickstart --seeds VALUE",
    ),
    "a flag with one": ("run quickstart --json=3", "bitspike run: option '--json' does not", "bitspike run --help"),
    "before the verb": ("--versio", "error: bitspike: no such option: --versio", "--version"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_use_is_answered_with_the_way_out(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, said, way = CASES[case]
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.endswith(f"\n  fix: {way}\n")
    assert err.startswith("error: bitspike")
    assert "Usage" not in err


def test_words_with_blanks_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "my runs/x", "--format=c"]) == 2
    assert capsys.readouterr().err.endswith("  fix: bitspike export 'my runs/x' --format=c --out PATH\n")
