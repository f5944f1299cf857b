"""The table of readers in docs/export.md is that of the kept lines, and what we promise for a reader held in it."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks import readers
from benchmarks.nir_readers import FOR, RUNNERS
from benchmarks.reader_networks import FEATURES


def test_the_document_shows_the_kept_lines() -> None:
    lines, text = readers.kept(), readers.DOCUMENT.read_text(encoding="utf-8")
    assert readers.put(text, readers.table(lines)) == text, "run python -m benchmarks readers"
    pairs = {(line["feature"], line["reader"]) for line in lines if "feature" in line}
    assert pairs == {(feature, reader) for feature in FEATURES for reader in RUNNERS}
    assert {line["network"] for line in lines if "network" in line} == {"quickstart", "digits-convert"}


def test_a_file_for_a_reader_was_equal_in_it_or_was_not_written() -> None:
    held = set()
    for line in readers.kept():
        if "feature" in line and line["reader"] in FOR:
            assert set(line["for"]) == {"equal"} or all(text.startswith("refused: ") for text in line["for"]), line
            held |= {line["reader"]} if "equal" in line["for"] else set()
        found = line.get("for") if "network" in line else None
        if found is not None and "refused" not in found:
            assert found["equal"] == line["images"]
            assert found["accuracy"] == line["ours"]
    assert held == set(FOR)


def test_a_reader_that_gives_other_counts_or_raises_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def wrong(*_: object) -> Any:
        raise ValueError("the threshold of 12.5 is not 3\nmore")

    monkeypatch.setattr(readers, "RUNNERS", {"Norse": wrong})
    monkeypatch.setattr(readers, "FOR", {"Norse": ("norse", lambda path, codes, steps: 0 * codes[0, :, :1, 0, 0])})
    found = readers._feature("hard-gt", "Norse", 2, tmp_path / "net.nir")
    assert found == {"plain": {"refused: ValueError: the threshold of n is not n": 2}, "for": {"different": 2}}
    words: dict[str, int] = {}
    cell = readers._cell(found, words)
    assert cell == "refused (1) → 0 of 2"
    assert list(words) == ["ValueError: the threshold of n is not n"]


def test_missing_readers_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(readers, "PACKAGES", {"Nobody": "no_such_reader"})
    assert readers.main([]) == 1
    assert capsys.readouterr().out == "not installed: Nobody; docs/export.md says how\n"
