"""The proof of a network: one in memory, a saved one, or that of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.formats.verilog.proof import VerilogRun
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.replay import Certificate
from bitspike.integer.verify import Batch
from bitspike.integer.verify import verify as prove
from bitspike.runs.saved import saved


@checked
def verify(
    network: IntegerNetwork | str | Path,
    images: Tensor | Iterable[Batch] | None = None,
    *,
    batch_size: int | None = None,
    folder: str | Path | None = None,
    engine: bool = False,
    rtl: bool = False,
    lanes: int | None = None,
    expect: str | None = None,
) -> Certificate:
    """Prove a network: every spike and every membrane, by integers only.

    Args:
        network: an integer network, or the folder of a saved one, or of a run that holds one.
        images: inputs [N, ...], or batches of them (labels are ignored). Given, every spike and membrane of torch is
            compared with NumPy int64 reading the saved folder alone. Not given, the folder's golden vectors are
            replayed.
        batch_size: samples that are run at once; None takes as many as keep their spikes and membranes within 1 GiB, at
            most 250.
        folder: where a network in memory has been saved, so that this very package is proved; None saves it for the
            moment.
        engine: prove the fast engine instead: it takes the place of torch, or of NumPy in the replay of golden vectors,
            and runs every method that it has besides those that it would choose.
        rtl: prove the Verilog instead: what ``write_verilog`` writes takes that place, in Verilator or Icarus Verilog.
        lanes: of the Verilog, how many channels of a layer are computed at once, at most; None is 16.
        expect: the digest of the package that is meant, as an earlier certificate had it: any other is a difference.

    Returns:
        the certificate; its ``digest`` names the package, ``raise_if_failed()`` turns a difference into an error.
        ``inputs_clipped`` counts the input values beyond the grid, whose codes were run clipped; see ``bs.encode``.

    Raises:
        PackageError: there is no network, or it cannot be read. RunError: the run has none yet.
        DataError: there is no sample, so that nothing would be proven. ConstraintError: ``expect`` is no digest, or the
            images are no inputs of the network, as of ``bs.encode``; engine and rtl at once, or lanes without rtl.
        ExportError: Verilog cannot hold the network, or no simulator is installed.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(verify(one_convolution()))
        certificate: 100% equal (384 spikes, 142 of them fired, and 384 membranes of 6 samples)
    """
    subject = network if isinstance(network, IntegerNetwork) else saved(network)
    if rtl and engine:
        raise ConstraintError("engine and rtl: one of them is proved at a time", fix="rtl=True (--rtl)")
    if lanes is not None and not rtl:
        raise ConstraintError(f"lanes={lanes}: Verilog has lanes", fix="rtl=True (--rtl)")
    run = VerilogRun(lanes) if rtl else None
    certificate = prove(subject, images, batch_size=batch_size, folder=folder, engine=engine, run=run).expecting(expect)
    return certificate if run is None else run.certificate(certificate)
