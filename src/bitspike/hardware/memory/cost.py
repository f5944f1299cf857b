"""What the weights of a network cost where they lie: in cells that conduct, in SRAM, or in both.

Cells and bits follow from the weights alone. Energy is billed for one inference, by the spikes of a run;
docs/memory-devices.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bitspike.hardware.energy.activity import Numbers
from bitspike.hardware.energy.operations import energy
from bitspike.hardware.energy.report import LayerEnergy
from bitspike.hardware.energy.technology import Technology
from bitspike.hardware.energy.technology import load as load_table
from bitspike.hardware.memory.devices import PAIR, Devices
from bitspike.hardware.memory.devices import load as load_devices
from bitspike.hardware.memory.report import LayerMemory, MemoryCost, ReadEnergy
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Weighted


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where the weights of one layer lie.

    Args:
        path: of the layer.
        weights: how many it has.
        device_bits: of a weight in cells; 0 where none lie in cells.
        magnitude: of the weights in cells, in the mean over the largest that a cell can hold, 0 to 1.
        sram_bits: of a weight in SRAM; 0 where none lie there.
        sram_weights: those that are stored there; fewer than ``weights`` where groups are pruned.
        map_bits: that say which groups are stored, one for each; 0 where all are.
    """

    path: str
    weights: int
    device_bits: int = 0
    magnitude: float = 0.0
    sram_bits: int = 0
    sram_weights: int = 0
    map_bits: int = 0

    @property
    def cells(self) -> int:
        """Cells, a pair for each weight."""
        return PAIR * self.weights if self.device_bits else 0

    @property
    def sram_size(self) -> int:
        """Bits of SRAM, with the map."""
        return self.sram_bits * self.sram_weights + self.map_bits


def cost(
    stored: Mapping[str, Stored],
    net: IntegerNetwork | None = None,
    means: Mapping[str, Numbers] | None = None,
    *,
    devices: str | Path | Devices = "rram-1t1r",
    table: str | Path | Technology = "horowitz-45nm",
    samples: int | None = None,
    data: str = "",
) -> MemoryCost:
    """Count cells and bits, and bill the reading of weights for one sample.

    Args:
        stored: where the weights of every layer lie, by its path; a layer with several paths stands under each.
        net: the integers of the network; None bills no energy.
        means: mean counts of its spikes by node id, as :func:`bitspike.hardware.energy.counts` returns them.
        devices: figures of cells: a shipped table, a TOML file, or :class:`Devices`.
        table: figures of SRAM and of digital additions, as ``bs.energy`` takes them.
        samples, data: what ``means`` are the mean of, for the report.

    Raises:
        ConstraintError: a table is unknown or cannot be read; the activity does not fit the network.
    """
    cells, technology = load_devices(devices), load_table(table)
    spent: dict[str, ReadEnergy] = {}
    columns: dict[str, int] = {}
    layers = {layer.path: layer for layer in stored.values()}
    if net is not None and means is not None:
        lines = {(line.path, line.call): line for line in energy(net, means, table=technology).layers}
        for node in net.weighted:
            layer = stored.get(node.path) or _outside(node)
            layers.setdefault(layer.path, layer)
            line, before = lines[node.path, node.call], spent.get(layer.path, ReadEnergy())
            spent[layer.path] = before + _read(node, line, net.steps, layer, cells, technology)
            if layer.device_bits:
                rows = max(1, min(cells.rows, _window(node, line)))
                columns[layer.path] = layer.device_bits + math.ceil(math.log2(rows))
    return MemoryCost(
        devices=cells.name,
        process=cells.process,
        table=technology.name,
        sources=(*cells.sources, *technology.sources),
        cell_f2=cells.cell_f2,
        sram_f2=cells.sram_f2,
        conversion_bits=cells.conversion_bits,
        samples=samples,
        data=data,
        layers=tuple(
            LayerMemory(
                path=layer.path,
                weights=layer.weights,
                device_bits=layer.device_bits,
                cells=layer.cells,
                sram_bits=layer.sram_bits,
                sram_size=layer.sram_size,
                column_bits=columns.get(layer.path, 0),
                energy=None if net is None or means is None else spent.get(layer.path, ReadEnergy()),
            )
            for layer in layers.values()
        ),
    )


def _outside(node: Weighted) -> Stored:
    """Return a layer that no module stands for: its codes lie in SRAM."""
    size = int(node.weight.codes.size)
    return Stored(path=node.path, weights=size, sram_bits=node.weight.bits, sram_weights=size)


def _read(
    node: Weighted, line: LayerEnergy, steps: int, layer: Stored, cells: Devices, technology: Technology
) -> ReadEnergy:
    """Bill one call of a layer.

    A spike is one pulse on the pair of cells of every weight that it reaches; a code of b bits is b pulses, one after
    the other. The currents of an array's column are one sum, which is converted at every step. In SRAM every weight
    that is reached is read, with its part of the map, and added if it is stored.
    """
    coded = line.kind == "mac"
    pulses = line.input_bits if coded else 1
    # Codes that are the same at every step are multiplied once.
    sums = math.prod(node.shape) * (line.operations / max(1, line.macs) if coded else steps)
    device = conversion = sram = addition = 0.0
    if layer.device_bits:
        device = line.operations * pulses * cells.pulse_pj(layer.magnitude)
        conversion = sums * pulses * math.ceil(_window(node, line) / cells.rows) * cells.conversion_pj
    if layer.sram_size:
        added, bits = line.operations * layer.sram_weights / max(1, layer.weights), layer.sram_bits
        product = technology.multiply(bits, line.input_bits) if coded else 0.0
        read = line.operations * layer.sram_size / max(1, layer.weights)
        sram = read * technology.memory_for(layer.sram_size).bit_pj
        addition = added * (product + technology.add(bits + line.input_bits if coded else bits))
        if layer.device_bits:  # the sum of the cells joins that of the SRAM
            addition += sums * technology.add(line.sum_bits)
    return ReadEnergy(device=device, conversion=conversion, sram=sram, addition=addition)


def _window(node: Weighted, line: LayerEnergy) -> int:
    """Return how many weights meet in one output: the rows of its column."""
    return line.macs // max(1, math.prod(node.shape))
