"""Trained low-bit networks that come with the package, each with the record of the run that made it.

bs.zoo.names()                      what there is
bs.zoo.about("quickstart")          accuracy, bits, certificate, licence, and how it is made again
bs.zoo.load("quickstart")           the integers
bs.zoo.module("quickstart")         the trained network of torch, to go on from
bs.zoo.unpack("quickstart", DIR)    a finished run, on which every verb works
"""

from bitspike.zoo.entry import Entry
from bitspike.zoo.shelf import about, load, module, names, unpack

__all__ = ["Entry", "about", "load", "module", "names", "unpack"]
