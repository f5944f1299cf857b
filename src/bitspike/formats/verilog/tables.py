"""What the ROMs hold: weights, and the parameters of neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitspike.formats.verilog.wires import Wire
from bitspike.integer.bounds.widths import Bounds, Range, bits_of
from bitspike.integer.nodes import FewBitNeuron, Integers, Neuron, Readout, still

FIELDS = ("gain", "bias", "theta", "v_reset", "retract", "initially")
"""Of a row, from the highest bits to the lowest."""
WIDTHS = ("GB", "BB", "TB", "QB", "UB", "VB")
"""The parameters of ``bs_neurons`` with their bits."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of a layer of neurons.

    Args:
        numbers: of the module.
        columns: by field, [rows] integers: channel after channel, and step after step where some change over time.
    """

    numbers: dict[str, int]
    columns: dict[str, Integers]

    @property
    def rows(self) -> list[int]:
        """The words of the ROM."""
        widths = [self.numbers[width] for width in WIDTHS]
        columns = [self.columns[field].tolist() for field in FIELDS]
        return [_joined(row, widths) for row in zip(*columns, strict=True)]

    @property
    def row_bits(self) -> int:
        """Bits of a word."""
        return sum(self.numbers[width] for width in WIDTHS)


def neuron_parameters(node: Neuron, known: Bounds, steps: int, *, channels: int) -> Parameters:
    """Return the parameters of neurons; ``channels`` above those of the node are filled up with silent ones."""
    few = node if isinstance(node, FewBitNeuron) else None
    initial = few.stored(few.initial) if few else node.initial
    timed = {"gain": node.gains[0], "bias": node.bias, "theta": node.threshold}
    same = {"v_reset": node.v_reset, "retract": node.retract, "initially": initial}
    if node.reset != "hard":
        same["v_reset"] = np.zeros(1, np.int64)
    if not node.signed:
        same["retract"] = np.zeros(1, np.int64)
    limited = node.floor is not None or node.width is not None
    potential = _union(known.membrane, _span(node.threshold), _span(same["v_reset"]), _span(-same["retract"]), (0, 0))
    potential_bits = bits_of(*potential)
    numbers = {
        "HB": potential_bits,
        "RB": bits_of(*_union(known.work, potential, (node.floor or 0,) * 2)) if limited else potential_bits,
        "VB": few.kept_bits if few else bits_of(*known.state),
        "EB": steps.bit_length() if node.signed else 1,
        "RSHIFT": node.right_shift, "M": node.leak.numerator, "K": node.leak.shift,
        "ZERO": int(node.rounding == "zero"), "AFTER": int(node.leak_order == "after"),
        "HARD": int(node.reset == "hard"), "GT": int(node.fire == "gt"),
        "SIGNED": int(node.signed), "FLOORED": int(node.floor is not None), "FLOOR": node.floor or 0,
        "CLIP": node.width or 0, "FEW": int(few is not None), "KEEP": few.kept_shift if few else 0,
    }  # fmt: skip
    return _parameters(timed, same, numbers, known, node.shape[0], steps, channels, silent=potential[1])


def readout_parameters(node: Readout, known: Bounds, steps: int, *, channels: int) -> Parameters:
    """Return the parameters of a read-out: a neuron that never fires, whose potential is the sum over time."""
    nothing = np.zeros(1, np.int64)
    bits = bits_of(*_union(known.membrane, known.state))
    timed = {"gain": node.gains[0], "bias": node.bias, "theta": nothing[None]}
    same = {"v_reset": nothing, "retract": nothing, "initially": nothing}
    numbers = {"HB": bits, "RB": bits, "VB": bits, "EB": 1, "READOUT": 1}
    return _parameters(timed, same, numbers, known, node.shape[0], steps, channels, silent=0)


def _parameters(
    timed: dict[str, Integers],
    same: dict[str, Integers],
    numbers: dict[str, int],
    known: Bounds,
    own: int,
    steps: int,
    channels: int,
    *,
    silent: int,
) -> Parameters:
    """Lay the parameters out by row, and choose their widths."""
    changing = not all(map(still, timed.values()))
    rows = steps if changing else 1
    columns = {}
    for name, values in {**timed, **{name: value[None] for name, value in same.items()}}.items():
        whole = np.full((rows, channels), silent if name == "theta" else 0, np.int64)
        whole[:, :own] = values if len(values) == 1 else values[:rows]
        columns[name] = whole.reshape(-1)
    gain = timed["gain"]
    fixed = bool((gain == gain.flat[0]).all())
    if fixed:
        columns["gain"] = np.zeros_like(columns["gain"])
    widths = {width: bits_of(*_span(columns[name])) for name, width in zip(FIELDS, WIDTHS, strict=True)}
    numbers = {
        **widths, **numbers, "IB": bits_of(*known.current), "FIXED": int(fixed),
        "GAIN": int(gain.flat[0]) if fixed else 1, "TIMED": int(changing),
    }  # fmt: skip
    return Parameters(numbers, columns)


def gain_words(gains: tuple[Integers, ...], steps: int, wire: Wire) -> Integers:
    """Return gains as they are read with the words of a wire: [words of a place, all lanes of all sources].

    Where one changes from step to step, the rows of all steps follow one another.
    """
    rows = 1 if all(map(still, gains)) else steps
    whole = np.zeros((len(gains), rows, wire.groups * wire.lanes), np.int64)
    for source, gain in zip(whole, gains, strict=True):
        source[:, : wire.channels] = gain if len(gain) == 1 else gain[:rows]
    by_word = whole.reshape(len(gains), rows * wire.groups, wire.lanes)
    return np.ascontiguousarray(by_word.transpose(1, 0, 2).reshape(rows * wire.groups, -1))


def weight_words(codes: Integers, lanes: int, source_lanes: int) -> Integers:
    """Return weights in the order in which a layer reads them: group, tap, word, lane; [words, lanes of the output].

    Args:
        codes: [C_out, C_in, KH, KW]; filled up with zeros to whole words.
    """
    out, into, height, width = codes.shape
    groups, words = -(-out // lanes), -(-into // source_lanes)
    whole = np.zeros((groups * lanes, words * source_lanes, height, width), np.int64)
    whole[:out, :into] = codes
    return np.ascontiguousarray(
        whole.reshape(groups, lanes, -1, height, width).transpose(0, 3, 4, 2, 1).reshape(-1, lanes)
    )


def hex_lines(words: list[int], bits: int) -> list[str]:
    """Return words as ``$readmemh`` reads them.

    Example:
        >>> hex_lines([1, 255], 9)
        ['001', '0ff']
    """
    digits = -(-bits // 4)
    return [f"{word:0{digits}x}" for word in words]


def packed(rows: Integers, bits: int) -> list[int]:
    """Return rows of integers as words, the first integer in the lowest bits.

    Example:
        >>> packed(np.array([[1, -1]]), 2) == [0b1101]
        True
    """
    return [_joined(row[::-1], [bits] * len(row)) for row in rows.tolist()]


def _joined(values: list[int] | tuple[int, ...], widths: list[int]) -> int:
    """Return integers in two's complement as one word, the first one in the highest bits."""
    word = 0
    for value, width in zip(values, widths, strict=True):
        word = word << width | value & (1 << width) - 1
    return word


def _span(values: Integers) -> Range:
    return int(values.min()), int(values.max())


def _union(*ranges: Range) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)
