"""An integer network as a folder of Verilog, with all that checks it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.folder import begins_with, write_folder
from bitspike.formats.verilog.formal import formal_text
from bitspike.formats.verilog.names import module_name
from bitspike.formats.verilog.plan import Added, Plan, Stage, plan
from bitspike.formats.verilog.readme import readme_text
from bitspike.formats.verilog.support import check
from bitspike.formats.verilog.tables import hex_lines, packed
from bitspike.formats.verilog.text import MARK, plain
from bitspike.formats.verilog.top import top_text
from bitspike.formats.verilog.vectors import sizes_text, vectors_text
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Integers
from bitspike.integer.saved.vectors import golden
from bitspike.integer.simulate import simulate

LANES = 16
"""Channels that are computed at once, unless others are asked for."""
BUILD = "build"
"""Where the Makefile puts what it makes; an export may replace it."""


@checked
def write_verilog(
    net: IntegerNetwork,
    path: str | os.PathLike[str],
    *,
    lanes: int | None = None,
    vectors: Mapping[str, npt.NDArray[Any]] | None = None,
    name: str | None = None,
) -> Path:
    """Write a network as Verilog-2005: its own module, the library that it needs, its tables, and a bench.

    Args:
        net: the network; one input.
        path: the folder. An older export in it is replaced, anything else is left alone and refused.
        lanes: how many channels of a layer are computed at once, at most; 1 to the channels of the widest layer. None
            takes 16.
        vectors: golden vectors, whose input codes the bench runs. None makes them.
        name: of the module; None takes ``network``.

    Returns:
        the folder.

    Raises:
        ExportError: Verilog cannot hold some nodes (all of them are named), the vectors do not belong to the network,
            the name is no name in Verilog, or the folder holds something else or cannot be written.
        ConstraintError: no such number of lanes; a number may leave 63 bits.

    Example:
        >>> import tempfile
        >>> from bitspike.integer.examples import one_convolution
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(p.name for p in write_verilog(one_convolution(), folder + "/v").iterdir() if p.suffix == ".v")
        ['bench.v', 'network.v']
    """
    need_integers(net, "write_verilog")
    check(net)
    planned = plan(net, resolved_lanes(net, lanes))
    bench = (resources.files("bitspike.formats.verilog") / "bench" / "bench.v").read_text(encoding="ascii")
    name = module_name("network" if name is None else name, top_text(planned, ""), bench)
    codes = _codes(golden(net) if vectors is None else vectors)
    return write_folder(Path(path).absolute(), _files(planned, name, codes), foreign=_foreign)


def _files(planned: Plan, name: str, codes: Integers) -> dict[str, str]:
    files = {
        f"{name}.v": top_text(planned, name),
        "README.md": readme_text(planned, name),
        "sizes.vh": sizes_text(planned, name, codes.shape[1]),
        "vectors.txt": vectors_text(planned, codes, simulate(planned.net, codes)),
    }
    for number, stage in enumerate(planned.stages):
        files |= _tables(stage, f"{name}_{number}")
        if stage.parameters is not None:
            files[f"formal/layer_{number}.v"] = formal_text(planned, stage, f"layer_{number}")
    here = resources.files("bitspike.formats.verilog")
    for folder in ("library", "bench"):
        for file in (here / folder).iterdir():
            if not file.name.startswith("_"):
                text = file.read_text(encoding="ascii")
                mark = "//" if file.name.endswith(".v") else "#"
                place = file.name if folder == "bench" else f"{folder}/{file.name}"
                files[place] = f"{mark} {MARK}.\n{text.replace('@NAME', name)}"
    return files


def _codes(vectors: Mapping[str, npt.NDArray[Any]]) -> Integers:
    """Return the input codes of golden vectors; their shape and range the definition checks, which runs them."""
    codes = vectors.get("input_codes") if isinstance(vectors, Mapping) else None
    said = ""
    if not isinstance(codes, np.ndarray):
        said = "input_codes, an array of integers [T or 1, N, ...], is missing"
    elif not np.issubdtype(codes.dtype, np.integer):
        said = f"input_codes is {codes.dtype}, needed are integers"
    elif codes.ndim > 1 and codes.shape[1] == 0:
        said = "there is no sample in them"
    if said or codes is None:
        raise ExportError(
            f"these are no golden vectors of the network\n  {said}",
            fix='write_verilog(net, path, vectors={"input_codes": bs.encode(net, images)})',
        )
    return codes.astype(np.int64)


def _tables(stage: Stage, prefix: str) -> dict[str, str]:
    """Return the files of a stage's ROMs."""
    files, path = {}, plain(stage.node.path)
    if stage.weights is not None:
        of = stage.weights
        lines = hex_lines(packed(of.words, of.bits), of.bits * of.numbers["P"])
        files[f"{prefix}_weights.hex"] = _hex(f"weights of {path}: group, tap, word, lane", lines)
    if isinstance(stage, Added):
        lines = hex_lines(packed(stage.gains, stage.numbers["GB"]), stage.numbers["GB"] * stage.gains.shape[1])
        files[f"{prefix}_gains.hex"] = _hex(f"gains of {path}, a row for a word of a place", lines)
    if stage.parameters is not None:
        lines = hex_lines(stage.parameters.rows, stage.parameters.row_bits)
        files[f"{prefix}_parameters.hex"] = _hex(f"parameters of {path}, a row for a channel", lines)
    return files


def _hex(note: str, lines: list[str]) -> str:
    return "\n".join([f"// {MARK}: {note}.", *lines, ""])


def resolved_lanes(net: IntegerNetwork, lanes: int | None) -> int:
    """Return how many channels are computed at once, at most.

    Raises:
        ConstraintError: no such number is possible.
    """
    widest = max(node.shape[0] for node in net.nodes)
    if lanes is None:
        return min(LANES, widest)
    if not 1 <= lanes <= widest:
        raise ConstraintError(
            f"lanes={lanes}: 1 to {widest} are possible, the channels of the widest layer",
            fix=f"lanes={min(LANES, widest)} (--lanes {min(LANES, widest)})",
        )
    return lanes


def _foreign(folder: Path) -> list[str]:
    """Return what neither this module wrote nor its Makefile built."""
    files = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    return [str(name) for name, file in files.items() if BUILD not in name.parts and not begins_with(file, MARK)]
