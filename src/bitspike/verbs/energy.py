"""What a network costs in energy, by the spikes that it sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import overload

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, PackageError, command
from bitspike.hardware.energy.activity import HasSpikes, Numbers
from bitspike.hardware.energy.operations import MemoryModel
from bitspike.hardware.energy.operations import energy as bill
from bitspike.hardware.energy.report import EnergyReport
from bitspike.hardware.energy.technology import Technology
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.folder import read_tensors
from bitspike.integer.saved.manifest import VECTORS
from bitspike.integer.simulate import Trace
from bitspike.runs.folder import RECIPE
from bitspike.runs.job import finished
from bitspike.runs.saved import read_network, refuse_module, saved
from bitspike.runs.spikes import of_test_images


@overload
def energy(
    network: IntegerNetwork,
    activity: Mapping[str, Numbers] | HasSpikes,
    *,
    table: str | Path | Technology = "horowitz-45nm",
    memory: MemoryModel | None = None,
    codes: Numbers | None = None,
    samples: int | None = None,
    data: str = "",
) -> EnergyReport: ...


@overload
def energy(
    network: str | Path,
    *,
    table: str | Path | Technology = "horowitz-45nm",
    memory: MemoryModel | None = None,
    samples: int | None = None,
    set: Iterable[str] = (),
) -> EnergyReport: ...


@checked
def energy(
    network: IntegerNetwork | str | Path,
    activity: Mapping[str, Numbers] | HasSpikes | None = None,
    *,
    table: str | Path | Technology = "horowitz-45nm",
    memory: MemoryModel | None = None,
    codes: Numbers | None = None,
    samples: int | None = None,
    data: str = "",
    set: Iterable[str] = (),
) -> EnergyReport:
    """Bill a network for one inference, operation by operation, next to the same network without spikes.

    A network in memory is billed by the spikes that are given. A saved one by those of the images among its golden
    vectors, which are few; or, in a run, by those of ``samples`` test images. The report says which.

    Args:
        network: an integer network, or the folder of a saved one, or of a run.
        activity: spikes of every neuron of a network in memory: the result of ``bs.simulate`` or anything else with
            ``.spikes`` by node id, [T, N, ...]; or mean counts by node id, the spikes of one sample summed over its
            steps, each of its node's shape (``bitspike.hardware.energy.counts`` makes them; average over batches).
        table: technology: the name of a shipped table, a TOML file, or a :class:`Technology`.
        memory: bill memory accesses as well; None leaves them out.
        codes: the input codes that made ``activity``; needed with ``.spikes`` where the input carries spikes.
        samples: of a run, the test images to run; with ``activity``, how many samples it is the mean of, for the
            report (read from ``.spikes`` where it can be).
        data: the data set and split that ``activity`` was measured on, for the report.
        set: changes to the run's recipe, such as ``data.root=FOLDER``.

    Returns:
        all counts and energies per sample; energies in pJ.

    Raises:
        ConstraintError: the table is unknown, there are no images to count the spikes of, or the activity does not fit
            the network. DataError: the activity is of no sample. PackageError: there is no network, or it cannot be
            read. RunError: the run has none yet.

    Example:
        >>> import numpy as np
        >>> from bitspike.integer.examples import convolution_and_pool
        >>> net = convolution_and_pool(steps=4)
        >>> report = energy(net, {"neuron": np.full((1, 4, 4), 2.0), "pooled": np.full((1, 2, 2), 1.0)})
        >>> [(line.path, line.kind, line.operations) for line in report.layers]
        [('conv', 'mac', 144.0), ('pool', 'pool', 32.0)]
    """
    if isinstance(network, IntegerNetwork):
        if activity is None:
            raise ConstraintError(
                "energy(net): a network in memory is billed by its spikes, and none were given",
                fix="bs.energy(net, bs.simulate(net, bs.encode(net, images)))",
            )
        return bill(network, activity, table=table, memory=memory, codes=codes, samples=samples, data=data)
    refuse_module(network)
    if activity is not None:
        raise ConstraintError(
            f"energy({str(network)!r}, activity): a saved network is billed by its own vectors or test images",
            fix="bs.energy(bs.load(folder), activity)",
        )
    if samples is None:
        return _of_golden_vectors(saved(network), table=table, memory=memory)
    if samples < 1:
        raise ConstraintError(f"samples={samples}: at least one is needed", fix="samples=100 (--samples 100)")
    net = read_network(network)
    if not (Path(network) / RECIPE).is_file():
        raise ConstraintError(
            f"{network} is a network, and test images are known of runs only",
            fix="the folder of a run, or no --samples",
        )
    job, report = finished(Path(network), set)
    whole = not report.get("conversion", {}).get("partial", False)
    means, ran, data = of_test_images(job, net, samples, whole=whole)
    return bill(net, means, table=table, memory=memory, samples=ran, data=data)


def _of_golden_vectors(folder: Path, *, table: str | Path | Technology, memory: MemoryModel | None) -> EnergyReport:
    """Bill a saved network by the spikes of the real images among its golden vectors."""
    net, vectors = read_network(folder), read_tensors(folder, VECTORS)
    run = folder.parent if (folder.parent / RECIPE).is_file() else "RUN"
    labels = vectors.get("labels")
    if labels is None or not (labels >= 0).any():
        raise ConstraintError(
            f"{folder}: its golden vectors hold made inputs only, whose spikes say nothing about real ones",
            fix=f"{command('energy', run, '--samples', 100)}, or bs.energy(net, bs.simulate(net, codes)) with codes "
            "of your own",
        )
    real = np.flatnonzero(labels >= 0)
    try:
        trace = Trace({n.id: vectors[f"{n.id}.spikes"][:, real] for n in net.neurons}, {}, {})
        codes = vectors["input_codes"][:, real].astype(np.int64)
    except KeyError as error:
        raise PackageError(
            f"{folder / VECTORS} lacks {error.args[0]!r}",
            fix="bitspike energy RUN --samples 100 counts the spikes of test images instead",
        ) from error
    return bill(net, trace, table=table, memory=memory, codes=codes, data="the test images among the golden vectors")
