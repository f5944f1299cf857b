"""The formats that a network can be written in: one line each. A new format is a folder here and a line in the table.

The table is made of words, so that the command line can list them without loading a writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast


@dataclass(frozen=True)
class Format:
    """What the verb ``export`` has to know about a format.

    Args:
        home: of the writer, ``module:function``; the function takes a network and a path, and what follows by keyword.
        form: the writer's keyword for the form, where there are several.
        forms: what it may be, the usual one first.
        readers: programs for which a file can be written, the writer's keyword ``reader``.
        vectors: whether the writer takes golden vectors, its keyword ``vectors``.
        lanes: whether it takes how many channels are computed at once, its keyword ``lanes``.
        boards: boards that a program can be written for, the usual one first, the writer's keyword ``board``.
    """

    home: str
    form: str = ""
    forms: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    vectors: bool = False
    lanes: bool = False
    boards: tuple[str, ...] = ()

    def writer(self) -> Callable[..., Path]:
        """Load the writer."""
        module, _, name = self.home.partition(":")
        return cast(Callable[..., Path], getattr(import_module(module), name))


FORMATS: Mapping[str, Format] = {
    "c": Format(
        "bitspike.formats.c.write:write_c", vectors=True,
        boards=("host", "avr", "cortex-m0", "cortex-m4", "riscv32"),
    ),
    "loihi": Format("bitspike.formats.loihi.write:write_loihi", vectors=True),
    "nir": Format(
        "bitspike.formats.nir.write:write_nir", form="units", forms=("integer", "real"),
        readers=("norse", "sinabs", "snntorch", "spikingjelly"),
    ),
    "onnx": Format(
        "bitspike.formats.onnx.write:write_onnx", form="mode",
        forms=("step", "count", "sequence", "qonnx", "qonnx-readouts"),
    ),
    "verilog": Format("bitspike.formats.verilog.write:write_verilog", vectors=True, lanes=True),
}  # fmt: skip
"""Every format by the word for it in ``bs.export`` and ``bitspike export --format``."""
