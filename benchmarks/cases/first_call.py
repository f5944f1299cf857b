"""What choosing methods costs: the first call of an engine with and without races that are kept, and later calls."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from torch import nn

import bitspike as bs
from benchmarks import codes
from benchmarks.case import Call, Case, Group, Target, Variant
from bitspike.integer.engine import Engine
from bitspike.integer.network import IntegerNetwork
from bitspike.models import vgg11
from bitspike.models.spiking.resnet import resnet

FIRST, KEPT, LATER = "Bitspike, first call, nothing kept", "Bitspike, first call, races kept", "Bitspike, later call"
BITS, VARIABLE = 4, "BITSPIKE_METHODS"


@dataclass(frozen=True)
class Setting:
    """A network of random 4-bit codes, and what enters it.

    Args:
        name: in words.
        depth: of the ResNet; None is VGG11.
        steps, samples: T and N.
        width, image_size: of the model.
    """

    name: str
    depth: int | None
    steps: int
    samples: int
    width: float = 1.0
    image_size: int = 32

    def integers(self) -> IntegerNetwork:
        """Return the integer network."""
        return _integers(self.depth, self.steps, self.width, self.image_size)

    def codes(self, samples: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the input codes [1, N, C, H, W]."""
        return bs.encode(self.integers(), codes.images(samples, self.image_size))

    def first(self, *, kept: bool) -> Call:
        """Return a call that makes an engine and runs it once, as a process does that has just started."""
        net, x = self.integers(), self.codes(self.samples)
        place = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, place, ignore_errors=True)

        def call() -> object:
            if not kept:
                shutil.rmtree(place, ignore_errors=True)
            before = os.environ.get(VARIABLE)
            os.environ[VARIABLE] = place
            try:
                return Engine(net).predict(x)
            finally:
                os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})

        return call

    def later(self) -> Call:
        """Return a call of an engine that has run before."""
        engine, x = Engine(self.integers()), self.codes(self.samples)
        return lambda: engine.predict(x)

    def agree(self) -> str:
        """Return words after comparing both first calls with the definition, on two samples.

        Raises:
            RuntimeError: an integer differs.
        """
        net, few = self.integers(), Setting(self.name, self.depth, self.steps, 2, self.width, self.image_size)
        wanted = bs.simulate(net, few.codes(2)).outputs
        for call in (few.first(kept=False), few.first(kept=True), few.later()):
            found = call()
            assert isinstance(found, dict)
            if not all(np.array_equal(found[id], value) for id, value in wanted.items()):
                raise RuntimeError(f"{self.name}: the engine's integers differ from those of the reference simulator")
        return "integers equal the reference simulator's"


@cache
def _integers(depth: int | None, steps: int, width: float, image_size: int) -> IntegerNetwork:
    build = vgg11 if depth is None else partial(_resnet, depth)
    net = codes.spiking(build, bits=BITS, steps=steps, width=width, image_size=image_size)
    return bs.lower(net, codes.images(1, image_size))


def _resnet(depth: int, **arguments: Any) -> nn.Module:
    return resnet(depth=depth, **arguments)


def groups(tiny: bool) -> list[Group]:
    """Return the networks; of the tiny one a width."""
    settings = [
        Setting("ResNet-20, T = 3", 20, 3, 100),
        Setting("ResNet-20, T = 3, one image", 20, 3, 1),
        Setting("ResNet-20, T = 32", 20, 32, 100),
        Setting("ResNet-32, T = 32", 32, 32, 100),
        Setting("VGG11, T = 3", None, 3, 50),
        Setting("VGG11, T = 3, one image", None, 3, 1),
    ]
    if tiny:
        settings = [Setting("ResNet-8, T = 3", 8, 3, 2, width=1 / 8, image_size=16)]
    return [
        Group(
            name=setting.name,
            shape=f"batch {setting.samples}, {setting.image_size}x{setting.image_size}",
            peer=LATER,
            agree=setting.agree,
            variants=[
                Variant(name=FIRST, dtype="integers", build=partial(setting.first, kept=False)),
                Variant(name=KEPT, dtype="integers", build=partial(setting.first, kept=True)),
                Variant(name=LATER, dtype="integers", build=setting.later),
            ],
            targets=[Target(variant=FIRST, against=None, bound=2.0, sense="at most")],
        )
        for setting in settings
    ]


CASE = Case(
    name="first-call",
    title="The first call of an engine",
    about=(
        "A new engine and its first batch, as in a process that has just started: methods are raced, or read from the "
        "file in which an earlier process kept its races; weights are packed, and memory is touched first. The "
        "later call is what is left of it. Random 4-bit codes as in the other cases of inference."
    ),
    groups=groups,
)
