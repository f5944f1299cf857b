"""Trained low-bit networks that come with the package, each with the record of the run that made it.

bs.zoo.names()                      what there is
bs.zoo.about("quickstart")          accuracy, bits, certificate, licence, and how it is made again
bs.zoo.load("quickstart")           the integers
bs.zoo.module("quickstart")         the trained network of torch, to go on from
bs.zoo.unpack("quickstart", DIR)    a finished run, on which every verb works

What there is is listed without torch; what takes a network down is loaded on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from bitspike.zoo.catalog import about, names
from bitspike.zoo.entry import Entry

if TYPE_CHECKING:
    from bitspike.zoo.shelf import load, module, unpack

__all__ = ["Entry", "about", "load", "module", "names", "unpack"]


def __getattr__(name: str) -> Any:
    if name not in ("load", "module", "unpack"):
        raise AttributeError(f"module 'bitspike.zoo' has no attribute {name!r}")
    return getattr(importlib.import_module("bitspike.zoo.shelf"), name)
