"""EVT 3.0, words of 16 bits, as Prophesee's cameras of the fourth generation send them.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html

A word changes a part of what is known, the row, the column or the time, or tells of pixels. A table says how many of
these a word tells. What a word says of the row holds until the next such word: it is repeated as often as there are
changes between the two; likewise the time. A file is read in parts; what is known at the end of one is put before the
next, in words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitspike.data.events.events import Events, Whole
from bitspike.data.events.files.source import Size, Source

Words = npt.NDArray[np.uint16]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_ROW, _SINGLE, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
_OTHERS = {
    0x7: "words of other kinds", 0xA: "triggers", 0xD: "samples of a gyroscope", 0xE: "words of other kinds",
    0xF: "words of other kinds",
}  # fmt: skip
_EARLY = "events before the first time and row"
PART = 1 << 16
"""Words that are read at once."""


def _changes() -> Bytes:
    """Return how many changes of pixels every possible word tells: one, or one for each bit of a vector."""
    counts = np.zeros((16, 1 << 12), np.uint8)
    ones = np.unpackbits(np.arange(1 << 12, dtype="<u2").view(np.uint8)).reshape(-1, 16).sum(1)
    counts[_SINGLE] = 1
    counts[_VECTOR12] = ones
    counts[_VECTOR8] = ones[np.arange(1 << 12) & 0xFF]
    return counts.reshape(-1)


_CHANGES = _changes()
_BITS = np.zeros(16, np.uint16)
_BITS[_VECTOR12], _BITS[_VECTOR8] = 0xFFF, 0xFF
_STEP = np.zeros(16, np.int64)
_STEP[_VECTOR12], _STEP[_VECTOR8] = 12, 8
"""Bits of a vector, and the columns by which it moves the next one on."""
_KNOWN = np.zeros(16, bool)
_KNOWN[[_ROW, _SINGLE, _BASE, _VECTOR12, _VECTOR8, _LOW, _HIGH, *_OTHERS]] = True


@dataclass
class _Reader:
    """What is known between two parts: ``words`` that say it, and how often the time has wrapped around."""

    words: Words = field(default_factory=lambda: np.zeros(0, np.uint16))
    base: int = 0
    """The next column of vectors; beyond 11 bits no word could say it."""
    loops: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def read(self, new: Words, out: Whole) -> int:
        """Write the changes of the next words into ``out``, int64 [4, E]: times, columns, rows, polarities.

        Returns:
            how many there are; ``out`` has room for all of which the words tell.
        """
        words, before = np.concatenate([self.words, new]), len(self.words)
        kind = (words >> 12).astype(np.uint8)
        for other, name in _OTHERS.items():
            self.others[name] += int(np.count_nonzero(kind == other))
        rows = np.flatnonzero(kind == _ROW)
        clock = np.flatnonzero((kind == _LOW) | (kind == _HIGH))
        spans = np.flatnonzero((kind >= _BASE) & (kind <= _VECTOR8))
        highs, bases = clock[kind[clock] == _HIGH], spans[kind[spans] == _BASE]
        counts = _CHANGES[words]
        self._leave_out_early(counts, rows, highs, spans, bases)

        done = np.cumsum(counts, dtype=np.int64)
        total = int(done[-1])
        t, x, y, p = out[:, :total]
        times, low = self._times(kind[clock] == _HIGH, (words[clock] & 0xFFF).astype(np.int64))
        t[:] = np.repeat(times, np.diff(done[clock], append=total))
        y[:] = np.repeat(words[rows] & 0x7FF, np.diff(done[rows], append=total))
        column, polarity = (words & 0x7FF).astype(np.int64), words >> 11 & 1
        if len(bases):
            first = self.base if bases[0] < before else int(column[bases[0]])
            column[spans], base = self._columns(kind[spans], column[spans], first)
            polarity[spans] = polarity[bases][base]
        x[:], p[:] = np.repeat(column, counts), np.repeat(polarity, counts)
        bits = words[spans] & _BITS[kind[spans]]
        bits[counts[spans] == 0] = 0
        x[np.repeat(kind != _SINGLE, counts)] += _offsets(bits)
        told = [rows[-1:], highs[-1:], clock[low], bases[-1:]]  # in an order that says the same
        self.words = words[np.concatenate(told)]
        return total

    def _leave_out_early(self, counts: Bytes, rows: Whole, highs: Whole, spans: Whole, bases: Whole) -> None:
        """Take the changes out of the counts that come before the first row, time or base."""
        row, high, base = (int(at[0]) if len(at) else len(counts) for at in (rows, highs, bases))
        lost = spans[spans < base]
        for early in (slice(max(row, high)), lost):
            self.others[_EARLY] += int(counts[early].sum())
            counts[early] = 0

    def _times(self, is_high: Mask, value: Whole) -> tuple[Whole, Whole]:
        """Return the time after each word about it, and the position of the last lower half that holds.

        Where the upper 12 bits change, the lower ones are 0 until the next word tells them.

        Returns:
            int64 [words], and a position among them, int64 [1], or [0] where there is none.
        """
        high = value[is_high]
        steps = np.diff(high, prepend=-1)  # the first one is a change
        steps[:1] = 1
        loops = self.loops + np.cumsum(steps <= -(1 << 11))
        self.loops = int(loops[-1]) if len(high) else self.loops
        holds = ~is_high
        holds[is_high] = steps != 0
        last = np.maximum.accumulate(np.where(holds, np.arange(len(value)), 0))
        upper = np.concatenate([[0], loops << 12 | high])[np.cumsum(is_high)]
        return upper << 12 | np.where(is_high, 0, value)[last], last[-1:][~is_high[last[-1:]]]

    def _columns(self, kind: Bytes, column: Whole, first: int) -> tuple[Whole, Whole]:
        """Return the columns at which bases and vectors begin: that of the base, moved on by every vector since.

        Args:
            kind: of each, uint8 [words], with a base among them.
            column: of each base its own, int64 [words].
            first: the column of the first base.

        Returns:
            the columns, int64 [words], and of each word the number of its base; before the first one that is 0, too.
        """
        is_base = kind == _BASE
        gone = np.cumsum(_STEP[kind]) - _STEP[kind]
        starts = np.concatenate([[first], column[is_base][1:]]) - gone[is_base]
        base = np.maximum(np.cumsum(is_base) - 1, 0)
        columns = starts[base] + gone
        self.base = int(columns[-1] + _STEP[kind[-1]])
        return columns, base


def read_evt3(source: Source, start: int, size: Size) -> Events:
    """Read the words from byte ``start`` on.

    The upper 4 bits of a word are its kind. The time, 24 bits of microseconds in two words, wraps around every 16.8
    seconds and is counted on. Changes of pixels before the first time, row or base have no place: they are counted in
    ``others``, as are triggers.

    Raises:
        DataError: the last word is not whole, a word is of an unknown kind, or an event lies outside the sensor.
    """
    words = source.words("<u2", start, "a word").astype(np.uint16, copy=False)
    reader, ends = _Reader(), range(0, len(words), PART)
    counts = [int(_CHANGES[words[at : at + PART]].sum()) for at in ends]
    out, done = np.empty((4, sum(counts)), np.int64), 0
    for at in ends:
        part = words[at : at + PART]
        strange = np.flatnonzero(~_KNOWN[part >> 12])
        if len(strange):
            byte = start + 2 * int(at + strange[0])
            raise source.damaged(
                f"the word at byte {byte:,} is of kind {part[strange[0]] >> 12:#x}, which EVT 3.0 has not"
            )
        done += reader.read(part, out[:, done:])
    t, x, y, p = out[:, :done]
    return source.events(t, x, y, p, size, reader.others)


def _offsets(bits: Words) -> Whole:
    """Return the numbers of the bits that are set, of one word after the other.

    Example:
        >>> _offsets(np.array([0b101, 0, 0b1000], np.uint16)).tolist()
        [0, 2, 3]
    """
    spread = np.unpackbits(bits.astype("<u2").view(np.uint8), bitorder="little")
    return np.flatnonzero(spread) & 15
