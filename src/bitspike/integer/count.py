"""The network evaluated once on spike counts, at a cost that does not depend on the number of steps.

A neuron that integrates, keeps what is left after a spike and fires at most once per step sends

    N = clip(floor((v0 + Z) / threshold), 0, T)                                                              (*)

spikes for the charge Z of all steps, exactly, if that charge is there at the first step or is the same at every step:
the schedule layer by layer. Everything else in the network is linear in the sums over time, or takes their maximum. So
one step that carries the sums of all steps, with (*) for the neurons, is the whole run: a rate-quantized network in
integers. Where charge arrives unevenly, a run step by step can differ; the final potential tells it, without a second
run, because v_T = v0 + Z - threshold * N:

    over-fired    v_T < 0          and N > 0   spikes were spent on charge that was cancelled later
    under-fired   v_T >= threshold and N < T   charge came too late to be spent

A neuron that compares by ">" is one that compares by ">=" with one count less of potential. Source: reset by
subtraction as in Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682; (*) is checked over random cases in the tests.
"""

from __future__ import annotations

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Whole, sum_over_time
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Gained, Input, Integers, Neuron, Readout, per_channel
from bitspike.integer.schedule import timings
from bitspike.integer.simulate import check_run


@checked
def count(net: IntegerNetwork, codes: Integers, *, steps: int | None = None) -> dict[str, Integers]:
    """Return what every neuron would send if its whole charge were there from the start.

    Args:
        net: a network of integrate-and-fire neurons with soft reset.
        codes: [1, N, ...] for an input that is constant in time, or [T, N, ...].
        steps: of a shorter run, 1 to T; None takes all.

    Returns:
        spike counts by neuron id and outputs by read-out id, int64 [N, ...].

    Raises:
        ConstraintError: the codes are not the input's, a number leaves 64 bits, or nodes have no count mode; each of
            them is named with what it would need.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> count(one_convolution(threshold=8), np.full((1, 1, 1, 4, 4), 5))["readout"][0, :3]  # floor(4 * 5 / 8)
        array([2, 2, 2])
    """
    _refuse_uncounted(net)
    steps = check_run(net, codes, steps)
    counted: dict[str, Integers] = {}
    totals: dict[str, Whole] = {}
    for node in net.nodes:
        inputs = [totals[s] for s in node.sources]
        match node:
            case Input():
                totals[node.id] = sum_over_time(codes, steps)[None]
            case Neuron():
                charge = _charge(node, inputs, steps)
                counted[node.id] = _spikes(node, charge, steps)
                totals[node.id] = counted[node.id][None]
            case Readout():
                counted[node.id] = _charge(node, inputs, steps)
            case Add():
                _refuse_overflow(node, inputs, 0)
                totals[node.id] = node.run(inputs, 1)
            case _:
                totals[node.id] = node.run(inputs, 1)
    return counted


def _charge(node: Neuron | Readout, inputs: list[Whole], steps: int) -> Integers:
    """Return the sum over all steps of the gained sources and the bias, [N, ...]."""
    dims = len(node.shape)
    bias = sum_over_time(node.bias[:steps], steps)
    _refuse_overflow(node, inputs, int(np.abs(bias).max()))
    charge: Integers = node.combined(inputs, 1)[0] + per_channel(bias, dims)[0]
    return charge


def _spikes(node: Neuron, charge: Integers, steps: int) -> Integers:
    dims = len(node.shape)
    charged = charge + per_channel(node.initial, dims)[0] - (node.fire == "gt")
    spikes: Integers = np.clip(charged // per_channel(node.threshold[:1], dims)[0], 0, steps)
    return spikes


def _refuse_uncounted(net: IntegerNetwork) -> None:
    """Refuse a network for which (*), or the sum over time of another node, does not hold."""
    wires = timings(net)
    lines = []
    for node in net.nodes:
        changing = net.steps > 1 and any(wires[s] == "changing" for s in node.sources)
        if reasons := list(node.uncounted(changing=changing)):
            lines.append(f"  {node.path} ({type(node).__name__} {node.id!r}) {'; '.join(reasons)}")
    if lines:
        raise ConstraintError(
            "\n".join(["count mode, N = clip(floor((v0 + Z) / threshold), 0, T), does not hold here:", *lines]),
            fix="change what is named, or run every step: bs.simulate(net, codes)",
        )


def _refuse_overflow(node: Gained, inputs: list[Whole], offset: int) -> None:
    """Refuse sums that may leave 64 bits; Python's own integers cannot overflow."""
    if isinstance(node, Neuron):
        offset += int(np.abs(node.initial).max())
    for gain, x in zip(node.gains, inputs, strict=True):
        if x.size:
            offset += int(np.abs(gain).max()) * max(int(x.max()), -int(x.min()))
    if offset >= 2**63:
        raise ConstraintError(f"{node.path}: a charge may reach {offset}, more than 64 bits hold", fix="fewer steps")
