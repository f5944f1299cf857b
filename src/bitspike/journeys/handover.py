"""A saved network in the format of somebody else, and the energy that it would take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch

from bitspike.errors import ConstraintError, PackageError
from bitspike.export.c import write_c
from bitspike.export.nir import Units, write_nir
from bitspike.export.onnx import Mode, write_onnx
from bitspike.hardware.activity import counts
from bitspike.hardware.bill import EnergyReport
from bitspike.hardware.energy import energy as bill
from bitspike.integer.engine import TorchEngine
from bitspike.integer.host import encode
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.package import VECTORS, read_tensors
from bitspike.integer.simulate import Trace
from bitspike.journeys import build as b
from bitspike.journeys.folder import RECIPE, opened
from bitspike.journeys.networks import read_network, saved
from bitspike.recipe import load

Format = Literal["c", "nir", "onnx"]

FORMS: dict[str, tuple[str, ...]] = {"c": (), "nir": get_args(Units), "onnx": get_args(Mode)}
"""What a format can hold, the usual form first."""


def export(network: str | Path, format: str, out: str | Path, *, form: str | None = None) -> Path:
    """Write a saved network as C, NIR or ONNX.

    C is a folder with a test bench of the golden vectors; NIR and ONNX are files, ONNX one that computes a time step.

    Args:
        network: the folder of a network, or of a run that holds one.
        format: which.
        out: the folder or file.
        form: of ONNX ``step``, ``sequence``, ``count`` or ``qonnx``; of NIR ``integer`` or ``real`` units; None is the
            first of them.

    Raises:
        ConstraintError: an unknown format or form.
        ExportError: the format cannot hold the network, or nothing can be written.
        PackageError: there is no network, or it cannot be read.
    """
    if format not in get_args(Format):
        raise ConstraintError(f"format {format!r}: allowed are {', '.join(get_args(Format))}", fix="--format c")
    if form is not None and form not in FORMS[format]:
        if not FORMS[format]:
            raise ConstraintError(f"format {format!r} has one form", fix="no --form")
        raise ConstraintError(f"form {form!r} of format {format!r}: allowed are {', '.join(FORMS[format])}")
    folder = saved(network)
    net = read_network(folder)
    if format == "c":
        return write_c(net, out, vectors=read_tensors(folder, VECTORS))
    form = form or FORMS[format][0]
    if format == "nir":
        return write_nir(net, out, units=cast(Units, form))
    return write_onnx(net, out, mode=cast(Mode, form))


def energy(
    network: str | Path,
    *,
    table: str | Path = "horowitz-45nm",
    samples: int | None = None,
    set: Iterable[str] = (),
) -> EnergyReport:
    """Bill a saved network for one inference, by the spikes that it sends.

    The spikes are those of the images among the golden vectors, which are few; or of ``samples`` test images of the
    run. The report says which.

    Args:
        network: the folder of a network, or of a run that holds one.
        table: technology: the name of a shipped table, or a TOML file.
        samples: test images to run instead; needs the folder of a run.
        set: changes to the run's recipe, such as ``data.root=FOLDER``.

    Raises:
        ConstraintError: the table is unknown, or there are no images to count the spikes of.
        PackageError: there is no network, or it cannot be read.
    """
    folder = saved(network)
    net = read_network(folder)
    if samples is None:
        return _of_vectors(net, folder, table)
    if samples < 1:
        raise ConstraintError(f"samples={samples}: at least one is needed", fix="--samples 100")
    if not (Path(network) / RECIPE).is_file():
        raise ConstraintError(
            f"{network} is a network, and test images are known of runs only",
            fix="the folder of a run, or no --samples",
        )
    recipe, _ = opened(Path(network))
    recipe = load(recipe, set)
    data = b.build_data(recipe)
    some = data.test.subset(range(min(samples, len(data.test))))
    engine, total = TorchEngine(net), dict[str, npt.NDArray[np.float64]]()
    for number, (x, y) in enumerate(b.evaluation_batches(recipe, data, some)):
        codes = encode(net, x, generator=torch.Generator().manual_seed(recipe.seed + number))
        for id, mean in counts(net, engine.run(codes), codes=codes).items():
            total[id] = total.get(id, np.zeros(())) + mean * len(y)
    means = {id: value / len(some) for id, value in total.items()}
    said = f"{data.test.name}, test split"
    return bill(net, means, table=table, samples=len(some), data=said)


def _of_vectors(net: IntegerNetwork, folder: Path, table: str | Path) -> EnergyReport:
    vectors = read_tensors(folder, VECTORS)
    labels = vectors.get("labels")
    if labels is None or not (labels >= 0).any():
        raise ConstraintError(
            f"{folder}: its golden vectors hold made inputs only, whose spikes say nothing about real ones",
            fix="bitspike energy RUN --samples 100, or bs.energy(net, bs.simulate(net, codes)) with codes of your own",
        )
    real = np.flatnonzero(labels >= 0)
    try:
        trace = Trace({n.id: vectors[f"{n.id}.spikes"][:, real] for n in net.neurons}, {}, {})
        codes = vectors["input_codes"][:, real].astype(np.int64)
    except KeyError as error:
        raise PackageError(f"{folder / VECTORS} lacks {error.args[0]!r}") from error
    return bill(net, trace, table=table, codes=codes, data="the test images among the golden vectors")
