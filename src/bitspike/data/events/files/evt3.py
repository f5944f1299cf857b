"""EVT 3.0, words of 16 bits, as Prophesee's cameras of the fourth generation send them.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html

A word changes a part of what is known, the row, the column or the time, or tells of pixels. Words are read many at
once: for each of them the last word before it that told the row, and so on, is found by running maxima. A file is read
in parts; what is known at the end of one is put before the next, in words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitspike.data.events.events import Events, Whole
from bitspike.data.events.files.source import Size, Source

_ROW, _SINGLE, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
_OTHERS = {
    0x7: "words of other kinds", 0xA: "triggers", 0xD: "samples of a gyroscope", 0xE: "words of other kinds",
    0xF: "words of other kinds",
}  # fmt: skip
_EARLY = "events before the first time and row"
PART = 1 << 15
"""Words that are read at once."""


class _Changes(NamedTuple):
    """Changes of pixels, each int64 [E]."""

    t: Whole
    x: Whole
    y: Whole
    p: Whole


@dataclass
class _Reader:
    """What is known between two parts: ``words`` that say it, and how often the time has wrapped around."""

    words: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))
    base: int = 0
    """The next column of vectors; beyond 11 bits no word could say it."""
    loops: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def read(self, new: npt.NDArray[np.uint16]) -> _Changes:
        """Return the changes of the next words."""
        before = len(self.words)
        words = np.concatenate([self.words, new])
        kind, value = (words >> 12).astype(np.uint16), (words & 0xFFF).astype(np.int64)
        # What each word knows: the position of the last word of a kind, itself included; -1 where there was none.
        row, base, high = (_last(kind == k) for k in (_ROW, _BASE, _HIGH))
        time, low = self._times(kind, value)
        # Columns of vectors: the base, and 8 or 12 for every vector since.
        steps = np.where(kind == _VECTOR12, 12, 0) + np.where(kind == _VECTOR8, 8, 0)
        gone = np.cumsum(steps) - steps
        start = value[base] & 0x7FF
        start[base < before] = self.base if before else 0
        column = start + gone - np.where(base < 0, 0, gone[base])
        # Changes of each word: one, or one for each bit of a vector.
        single, vector = kind == _SINGLE, steps > 0
        at = np.flatnonzero(vector)
        bits = (value[at, None] >> np.arange(12) & 1).astype(bool)
        bits[kind[at] == _VECTOR8, 8:] = False
        which, offset = np.nonzero(bits)
        counts = single.astype(np.int64)
        counts[at] = bits.sum(1)
        word = np.repeat(np.arange(len(words)), counts)
        x, p = value[word] & 0x7FF, value[word] >> 11
        of_vector = vector[word]
        x[of_vector] = column[at[which]] + offset
        p[of_vector] = value[base[at[which]]] >> 11
        known = (row[word] >= 0) & (high[word] >= 0) & (~of_vector | (base[word] >= 0))
        self.others[_EARLY] += int((~known).sum())
        for other, name in _OTHERS.items():
            self.others[name] += int((kind == other).sum())
        word = word[known]
        changes = _Changes(time[word], x[known], value[row[word]] & 0x7FF, p[known])
        self._keep(words, [row[-1], high[-1], low[-1], base[-1]])
        self.base = int(column[-1] + steps[-1]) if base[-1] >= 0 else 0
        return changes

    def _times(self, kind: npt.NDArray[np.uint16], value: Whole) -> tuple[Whole, Whole]:
        """Return for each word its time, and the position of the word that told the lower 12 bits, or -1.

        Where the upper 12 bits change, the lower ones are 0 until the next word tells them.
        """
        at = np.flatnonzero(kind == _HIGH)
        fell = np.zeros(len(at), np.int64)
        fell[1:] = np.diff(value[at]) <= -(1 << 11)
        changed = np.ones(len(at), bool)
        changed[1:] = np.diff(value[at]) != 0
        loops = self.loops + np.cumsum(fell)
        if len(at):
            self.loops = int(loops[-1])
        marks = np.zeros(len(kind), bool)
        marks[at[changed]] = True
        low = _last(kind == _LOW)
        low = np.where(low > _last(marks), low, -1)
        number = np.cumsum(kind == _HIGH) - 1
        upper = np.zeros(len(kind), np.int64)
        seen = number >= 0
        upper[seen] = (loops << 12 | value[at])[number[seen]] if len(at) else 0
        return upper << 12 | np.where(low < 0, 0, value[low]), low

    def _keep(self, words: npt.NDArray[np.uint16], positions: list[np.int64]) -> None:
        """Remember the last row, time and base as the words that told them, in an order that says the same."""
        self.words = np.array([words[at] for at in positions if at >= 0], np.uint16)


def read_evt3(source: Source, start: int, size: Size) -> Events:
    """Read the words from byte ``start`` on.

    The upper 4 bits of a word are its kind. The time, 24 bits of microseconds in two words, wraps around every 16.8
    seconds and is counted on. Changes of pixels before the first time, row or base have no place: they are counted in
    ``others``, as are triggers.

    Raises:
        DataError: the last word is not whole, a word is of an unknown kind, or an event lies outside the sensor.
    """
    words = source.words("<u2", start, "a word").astype(np.uint16, copy=False)
    known = np.zeros(16, bool)
    known[[_ROW, _SINGLE, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH, *_OTHERS]] = True
    reader, parts = _Reader(), [_Changes(*np.zeros((4, 0), np.int64))]
    for at in range(0, len(words), PART):
        part = words[at : at + PART]
        strange = np.flatnonzero(~known[part >> 12])
        if len(strange):
            byte = start + 2 * int(at + strange[0])
            raise source.damaged(
                f"the word at byte {byte:,} is of kind {part[strange[0]] >> 12:#x}, which EVT 3.0 has not"
            )
        parts.append(reader.read(part))
    t, x, y, p = (np.concatenate(values) for values in zip(*parts, strict=True))
    return source.events(t, x, y, p, size, reader.others)


def _last(mask: npt.NDArray[np.bool_]) -> Whole:
    """Return for every position the last one up to it where the mask is true; -1 where there is none."""
    return np.maximum.accumulate(np.where(mask, np.arange(len(mask)), -1))
