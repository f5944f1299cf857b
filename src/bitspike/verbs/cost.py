"""What the weights of a network cost where they lie: cells, bits of SRAM, and the energy of reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.hardware.energy.technology import Technology
from bitspike.hardware.memory.cost import cost as bill
from bitspike.hardware.memory.devices import Devices
from bitspike.hardware.memory.report import MemoryCost
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.lower import lower
from bitspike.ops.grids import Grid
from bitspike.runs.job import finished
from bitspike.runs.memories import cost_of, memories
from bitspike.runs.saved import read_network
from bitspike.runs.spikes import mean_counts


@checked
def cost(
    network: nn.Module | str | Path,
    images: Tensor | None = None,
    *,
    devices: str | Path | Devices = "rram-1t1r",
    table: str | Path | Technology = "horowitz-45nm",
    samples: int = 100,
    grid: Grid | None = None,
    precision: Precision | None = None,
    set: Iterable[str] = (),
) -> MemoryCost:
    """Count the cells and bits that hold the weights of a network, and bill reading them for one inference.

    Weights that vary lie in cells, those that recover them in SRAM next to the cells, and all others in SRAM.

    Args:
        network: the folder of a finished run; or a model in memory, with weight paths or without.
        images: of a model in memory, inputs as it takes them, by whose spikes reading is billed; None counts cells and
            bits alone, of any network. A run has its test images.
        devices: figures of the cells: the name of a shipped table, a TOML file of the same form, or
            :class:`bitspike.hardware.memory.devices.Devices`.
        table: figures of SRAM and of digital additions, as ``bs.energy`` takes them.
        samples: of a run, the first so many test images.
        grid, precision: of a model in memory, as ``bs.lower`` takes them; a run has its own.
        set: changes to the recipe of a run, such as ``weights.vary.scale=2.0``.

    Returns:
        lines per layer and totals; energies per sample in pJ.

    Raises:
        ConstraintError: a table is unknown, weights vary that are not quantized, or there is nothing to count.
        LoweringError: images are given, and the model has no integers. RunError: there is no finished run.

    Example:
        >>> import bitspike as bs
        >>> model = bs.attach(nn.Linear(8, 4), quantize=bs.Midrise(4), vary=bs.Lognormal(0.3), recover=bs.SRAM(2))
        >>> bill = cost(model)
        >>> bill.cells, bill.device_size, bill.sram_size
        (64, 128, 64)
    """
    if not isinstance(network, nn.Module | str | Path):
        raise ConstraintError(
            f"cost({type(network).__name__}): a network of torch or the folder of a run is needed",
            fix="bs.cost(model, images), the model that was lowered",
        )
    if not isinstance(network, nn.Module):
        if images is not None:
            raise ConstraintError(
                f"cost({str(network)!r}, images): a run is billed by its own test images", fix="samples=100"
            )
        if samples < 1:
            raise ConstraintError(f"cost: samples is {samples!r}; at least one is needed", fix="samples=100")
        job, _ = finished(Path(network), set)
        return cost_of(job, read_network(network), samples, devices=devices, table=table)
    if images is None:
        stored = memories(network)
        if not stored:
            raise ConstraintError(
                f"cost: {type(network).__name__} has no layer with weights; those are convolutions and linear layers",
                fix="bs.cost(model) of the whole network",
            )
        return bill(stored, devices=devices, table=table)
    net = lower(network, images, grid=grid, precision=precision)
    means, ran = mean_counts(net, [images])
    return bill(memories(network, net), net, means, devices=devices, table=table, samples=ran)
