"""How one training step of VGG9 grows with T, in time and in memory."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.cases.training import BITS, INPUTS, Keep, Network, Step, timed, weighed
from bitspike.devices import choose_precision

STEPS = (1, 2, 4, 8, 16, 32, 64)
SAVING = (4, 16, 64)
"""Where the ways to save memory are measured too."""
BATCH = 16
PEER = "SpikingJelly"
OURS = ("Bitspike", BITS, INPUTS)


def groups(tiny: bool) -> list[Group]:
    """Return time and memory at every T."""
    steps, samples = ((4, 16), 2) if tiny else (STEPS, BATCH)
    shape = f"VGG9, batch {samples}, 32x32"
    bounds = {"time": 3.5, "memory": 2.5}
    return [
        Group(
            name=name,
            shape=shape,
            unit="s" if name == "time" else "MB",
            variants=[v for t in steps for v in _at(t, samples, tiny, call)],
            targets=[
                Target(variant=f"{ours} T=16", against=f"{ours} T=4", bound=bounds[name], sense="at most")
                for ours in OURS
            ],
        )
        for name, call in (("time", timed), ("memory", weighed))
    ]


def _at(
    steps: int, samples: int, tiny: bool, call: Callable[[Network, Callable[[], Step], int], Call]
) -> list[Variant]:
    network = Network(name="vgg9", steps=steps, width=1 / 16 if tiny else 1.0)
    keeps: tuple[Keep, ...] = ("all", "bits", "inputs")
    half = choose_precision("auto", "cpu")
    ours = [
        Variant(
            name=f"{name} T={steps}",
            dtype=half,
            build=lambda keep=keep: call(network, lambda: network.bitspike(keep=keep), samples),
        )
        for name, keep in zip(OURS, keeps, strict=True)
        if keep == "all" or steps in SAVING
    ]
    build = lambda: call(network, network.spikingjelly, samples)  # noqa: E731
    return [*ours, Variant(name=f"{PEER} T={steps}", needs="SpikingJelly", build=build)]


CASE = Case(
    name="growth",
    title="Growth of a training step with T",
    about=(
        "The training step of VGG9 as above with a smaller batch, for T from 1 to 64. Wanted is that time and memory "
        "from T = 4 to T = 16 grow by less than the number of steps. `bs.checkpoint_layers` keeps spikes as bits, or "
        "nothing but the inputs of layers, which are then run again in the backward pass."
    ),
    groups=groups,
)
