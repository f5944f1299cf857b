"""What a quantized network has learned that a conversion would choose or measure otherwise: T and the thresholds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from bitspike.conversion.settings import Settings
from bitspike.errors import ConstraintError, some
from bitspike.graph.ir import Graph
from bitspike.nn import SignedIF

OPTIONS: dict[str, Any] = {"neuron": SignedIF, "tolerance": 2.0**-12, "max_fraction_bits": 16}
"""Options of a quantized network's conversion where they are left open. What was trained is not to be moved again, so
thresholds and biases are rounded less than those that were measured."""


def with_levels(graph: Graph, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a conversion, those included that follow from the levels of quantized relus.

    Args:
        graph: as captured or folded.
        choices: of :class:`~bitspike.conversion.settings.Settings`, as they were given.

    Raises:
        ConstraintError: relus have different levels, or ``steps`` is given and is not their number of levels.
    """
    levels = {op.id: int(op.attrs["levels"]) for op in graph if "levels" in op.attrs}
    if not levels:
        return dict(choices)
    steps = next(iter(levels.values()))
    if len(set(levels.values())) > 1:
        bits = {n: [id for id, own in levels.items() if own == n] for n in dict.fromkeys(levels.values())}
        said = "; ".join(f"{(n + 1).bit_length() - 1} bits at {some(ids, most=3)}" for n, ids in bits.items())
        raise ConstraintError(
            f"convert: the activations have different bits: {said}; a spiking network has one T = 2**bits - 1 for all",
            fix="bs.quantize(network, example, bits=...) gives all of them the same bits, to be trained once more",
        )
    _need_steps(steps, choices.get("steps", steps))
    return {**OPTIONS, "steps": steps, **choices}


def _need_steps(trained: int, steps: int) -> None:
    """Refuse another number of steps than the levels that the activations were trained with."""
    if steps == trained:
        return
    bits = (trained + 1).bit_length() - 1
    near = next((b for b in range(1, 9) if 2**b - 1 == steps), None)
    raise ConstraintError(
        f"convert(steps={steps!r}): the activations were trained with {bits} bits, whose levels are the counts of "
        f"T = {trained} steps",
        fix=f"leave steps out, or steps={trained}"
        + (f"; for T = {steps} train bs.quantize(network, example, bits={near}) first" if near else ""),
    )


def learned_clips(core: Graph, at: Iterable[str]) -> dict[str, Tensor]:
    """Return the clips of the neurons that are quantized relus, float64 [1], exactly as they were trained."""
    ops = {op.id: op for op in core}
    return {id: torch.full((1,), ops[id].attrs["clip"], dtype=torch.float64) for id in at if "levels" in ops[id].attrs}


def refuse_other_rules(clips: Mapping[str, Tensor], at: Collection[str], rule: object) -> None:
    """Refuse a rule for thresholds where all of them are learned already."""
    if rule is not None and len(clips) == len(at):
        raise ConstraintError(
            f"convert(threshold={rule!r}): all thresholds are the learned clips of quantized activations",
            fix="leave threshold out",
        )


def refuse_unequal_ties(clips: Mapping[str, Tensor], tied: Iterable[Collection[str]], settings: Settings) -> None:
    """Refuse concatenated neurons whose learned clips differ where they would get one value of a spike."""
    for group in tied:
        own = {id: float(clips[id]) for id in clips if id in group}
        if settings.concat == "tie" and len(set(own.values())) > 1:
            said = ", ".join(f"{id}: {clip:.4g}" for id, clip in own.items())
            raise ConstraintError(
                f"convert(concat='tie'): concatenated neurons have one value of a spike, and learned clips differ: "
                f"{said}",
                fix="bs.quantize(network, example), which gives them one clip to train; or concat='fold', which rounds "
                "the weights of the layer after them once more",
            )


def notes_on_plain(clips: Mapping[str, Tensor], plain: Collection[str]) -> tuple[str, ...]:
    """Return the note N307 where some thresholds were learned and others were not."""
    if not (clips and plain):
        return ()
    whose = "their thresholds are" if len(plain) > 1 else "its threshold is"
    which = f"{some(list(plain), most=3)}: not quantized, so {whose}"
    return (f"N307: {which} calibrated; {len(clips)} are learned clips",)


def notes_on_codes(kept: Collection[str], lost: Collection[str]) -> tuple[str, ...]:
    """Return the note N306 where weights are codes already, and W211 where they do not stay these codes."""
    notes = []
    if kept:
        which = some(list(kept), most=3)
        notes.append(f"N306: the weights of {which} keep the codes of their schemes, which bits= does not reach")
    if lost:
        which = some(list(lost), most=3)
        notes.append(
            f"W211: the weights of {which} are rounded again to the bits of the conversion: a norm or constant before "
            "them, or after the groups of a transposed convolution, makes their codes worth different values, or they "
            "are those of a chip without resolution=, whose cells hold real numbers"
        )
    return tuple(notes)
