"""The cost of a network's weights in memory: a line for each layer, the totals, and what is not in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bitspike.hardware.text import columns, pj

EXCLUDED = (
    "programming the cells, and refreshing or repairing them",
    "drivers of rows, decoders, wires, clock and leakage; of an array only cells and converters are counted",
    "the rounding of converters that have fewer bits than a sum: sums are taken to be exact",
    "neurons, norms, biases and potentials, which bs.energy counts",
)
"""What no number of the report holds."""

ASSUMPTIONS = (
    "a weight is one pair of cells whatever its bits, as the models of variation draw one number for each weight",
    "every weight of a layer is read equally often, so cells conduct as they do in the mean of the layer",
    "a code of several bits enters cells bit after bit, and every bit is a pulse",
    "pruned weights lie in SRAM in the way that takes the fewest bits: as zeros, or not at all, with a map of one bit "
    "for each weight or group that says which are stored",
    "weights that lie in no cells lie in SRAM",
)


@dataclass(frozen=True, kw_only=True)
class ReadEnergy:
    """Energy of reading the weights of a layer for one sample, pJ.

    Args:
        device: of the pulses on cells.
        conversion: of column sums to numbers.
        sram: of bits read from SRAM.
        addition: of what is added in digital form: weights from SRAM, and the sums of both memories.
    """

    device: float = 0.0
    conversion: float = 0.0
    sram: float = 0.0
    addition: float = 0.0

    @property
    def total(self) -> float:
        """All of it, pJ."""
        return self.device + self.conversion + self.sram + self.addition

    def __add__(self, other: ReadEnergy) -> ReadEnergy:
        return ReadEnergy(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class LayerMemory:
    """The weights of one layer where they lie.

    Args:
        path: of the layer.
        weights: how many.
        device_bits: of a weight in cells, 0 where none lie there.
        cells: that hold them.
        sram_bits: of a weight in SRAM, 0 where none lie there.
        sram_size: bits of SRAM in all.
        column_bits: that the sum of one column of cells may need; 0 where none are read.
        energy: of reading them; None where no spikes were given.
    """

    path: str
    weights: int
    device_bits: int
    cells: int
    sram_bits: int
    sram_size: int
    column_bits: int
    energy: ReadEnergy | None

    @property
    def device_size(self) -> int:
        """Bits that lie in cells."""
        return self.weights * self.device_bits


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """The cost of the weights of a network, per layer and in all; energies per sample in pJ.

    Args:
        devices, process: the technology of the cells.
        table: that of SRAM and additions.
        sources: of both.
        cell_f2, sram_f2: area of a cell and of a bit of SRAM, squares of the feature size.
        conversion_bits: of a converter's result.
        samples, data: what the spikes are the mean of.
        layers: the lines.
    """

    devices: str
    process: str
    table: str
    sources: tuple[str, ...]
    cell_f2: float
    sram_f2: float
    conversion_bits: int
    samples: int | None
    data: str
    layers: tuple[LayerMemory, ...]

    @property
    def weights(self) -> int:
        """Weights of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def cells(self) -> int:
        """Cells of all layers."""
        return sum(layer.cells for layer in self.layers)

    @property
    def device_size(self) -> int:
        """Bits in cells."""
        return sum(layer.device_size for layer in self.layers)

    @property
    def sram_size(self) -> int:
        """Bits in SRAM."""
        return sum(layer.sram_size for layer in self.layers)

    @property
    def area_f2(self) -> float:
        """Area of all cells and bits of SRAM, without what is around them, squares of the feature size."""
        return self.cells * self.cell_f2 + self.sram_size * self.sram_f2

    @property
    def column_bits(self) -> int:
        """Bits that the sum of a column of cells may need, of all layers the most; 0 where no cells are read."""
        return max((layer.column_bits for layer in self.layers), default=0)

    @property
    def energy(self) -> ReadEnergy | None:
        """Energy of reading all weights for one sample; None where no spikes were given."""
        total = ReadEnergy()
        for layer in self.layers:
            if layer.energy is None:
                return None
            total += layer.energy
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; energies in pJ."""
        return {
            "devices": self.devices,
            "process": self.process,
            "table": self.table,
            "sources": list(self.sources),
            "samples": self.samples,
            "data": self.data,
            "weights": self.weights,
            "cells": self.cells,
            "device_size": self.device_size,
            "sram_size": self.sram_size,
            "area_f2": self.area_f2,
            "conversion_bits": self.conversion_bits,
            "column_bits": self.column_bits,
            "unit": "pJ per sample",
            "energy": _energy(self.energy),
            "layers": [asdict(x) | {"device_size": x.device_size, "energy": _energy(x.energy)} for x in self.layers],
            "excluded": list(EXCLUDED),
            "assumptions": list(ASSUMPTIONS),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        of = f", mean of {self.samples} samples" if self.samples and self.energy is not None else ""
        of += f" of {self.data}" if self.data and self.energy is not None else ""
        yield f"weights in memory, {self.devices} ({self.process}) and {self.table}{of}"
        named = [(x.path, x, x.device_bits, x.sram_bits) for x in self.layers] + [("in all", self, 0, 0)]
        head: tuple[str, ...] = ("layer", "weights", "in cells", "cells", "in SRAM", "bits")
        yield from columns([head, *(_places(*row) for row in named)], left=1)
        if self.energy is not None:
            head = ("per sample", "read cells", "convert", "read SRAM", "add")
            yield from columns([head, *(_reads(name, x.energy) for name, x, *_ in named)], left=1)
        yield f"{self.cells:,} cells with {self.device_size:,} bits, {self.sram_size:,} bits of SRAM, " + (
            f"area {self.area_f2 / 1e6:.3g} million squares of the feature size"
        )
        total = self.energy
        yield (
            "no spikes were given, so no energy is billed"
            if total is None
            else f"reading them takes {pj(total.total)} per sample: cells {pj(total.device)}, converters "
            f"{pj(total.conversion)}, SRAM {pj(total.sram)}, digital sums {pj(total.addition)}"
        )
        if self.column_bits > self.conversion_bits:
            yield (
                f"a column may add up to {self.column_bits} bits and converters give {self.conversion_bits}: "
                "accuracies are those of exact sums"
            )
        yield "not counted:"
        yield from (f"  {text}" for text in EXCLUDED)


def _energy(value: ReadEnergy | None) -> dict[str, float] | None:
    return None if value is None else {**asdict(value), "total": value.total}


def _places(name: str, x: LayerMemory | MemoryCost, device_bits: int, sram_bits: int) -> tuple[str, ...]:
    """Return where weights lie; how they are read is a table of its own, so that both fit a terminal."""
    return (
        name,
        f"{x.weights:,}",
        f"{device_bits}-bit" if device_bits else "",
        f"{x.cells:,}",
        f"{sram_bits}-bit" if sram_bits else "",
        f"{x.sram_size:,}",
    )


def _reads(name: str, e: ReadEnergy | None) -> tuple[str, ...]:
    return (name, *(["-"] * 4 if e is None else map(pj, (e.device, e.conversion, e.sram, e.addition))))
