"""How one training step of VGG9 grows with T, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.cases.training import Network, Step, timed, weighed
from bitspike.train.launch import choose_precision

STEPS = (1, 2, 4, 8, 16, 32, 64)
BATCH = 16
PEER = "SpikingJelly"


def groups(tiny: bool) -> list[Group]:
    """Return time and memory at every T."""
    steps, samples = ((4, 16), 2) if tiny else (STEPS, BATCH)
    shape = f"VGG9, batch {samples}, 32x32"
    targets = {"time": 3.5, "memory": 2.5}
    return [
        Group(
            name=name,
            shape=shape,
            unit="s" if name == "time" else "MB",
            variants=[v for t in steps for v in _at(t, samples, tiny, call)],
            targets=[Target(variant="Bitspike T=16", against="Bitspike T=4", bound=targets[name], sense="at most")],
        )
        for name, call in (("time", timed), ("memory", weighed))
    ]


def _at(
    steps: int, samples: int, tiny: bool, call: Callable[[Network, Callable[[], Step], int], Call]
) -> list[Variant]:
    network = Network(name="vgg9", steps=steps, width=1 / 16 if tiny else 1.0)
    return [
        Variant(
            name=f"Bitspike T={steps}",
            dtype=choose_precision("auto", "cpu"),
            build=lambda: call(network, network.bitspike, samples),
        ),
        Variant(
            name=f"{PEER} T={steps}",
            needs="SpikingJelly",
            build=lambda: call(network, network.spikingjelly, samples),
        ),
    ]


CASE = Case(
    name="growth",
    title="Growth of a training step with T",
    about=(
        "The training step of VGG9 as above with a smaller batch, for T from 1 to 64. Wanted is that time and memory "
        "from T = 4 to T = 16 grow by less than the number of steps."
    ),
    groups=groups,
)
