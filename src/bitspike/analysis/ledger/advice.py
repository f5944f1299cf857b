"""What to change first: the argument of ``bs.convert`` that makes the largest part of a gap smaller."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bitspike.analysis.ledger.parts import Advice, Gap, LayerErrors, Part

SMALL = 0.01
"""A relative gap below which nothing needs to be done."""
WORTH = 0.2
"""A share of the gap from which on a second term is worth a line."""

Facts = Mapping[str, Any]
"""Settings of the conversion, how lambdas were found, and the layer that is meant: what advice depends on."""
Said = tuple[list[str], str]


def advise(
    output: Gap,
    layers: Sequence[LayerErrors],
    settings: Facts,
    calibration: Facts,
    *,
    steps: int,
    changed: tuple[int, int] | None = None,
) -> tuple[Advice, ...]:
    """Say what to change, the largest part of the gap first.

    Args:
        output: the gap of the network's outputs.
        layers: of the ledger; the layer with the largest part of its own is named.
        settings: of the conversion: what is set already is not advised; ``fraction_bits``, the most that a neuron uses,
            and ``corrected``, the kinds of corrections that were made.
        calibration: how lambdas were determined.
        steps: T.
        changed: where there are labels, how many answers the spiking network lost and won against the float one.

    Returns:
        nothing where the gap is below 1 %, or where the answers that were lost are no more than chance explains.
    """
    if output.rms < SMALL or (changed is not None and by_chance(*changed)):
        return ()
    ranked = sorted(_together(output.parts), key=lambda p: -p.share)
    chosen = [p for n, p in enumerate(ranked) if p.share > 0 and (n == 0 or p.share >= WORTH)]
    facts = {**settings, "steps": steps, **{f"calibration.{k}": v for k, v in calibration.items()}}
    advice: list[Advice] = []
    for part in chosen:
        worst = max(layers, key=lambda layer: _own(layer, part.term), default=None)
        where = worst.name if worst is not None and _own(worst, part.term) > 0 else ""
        paths = worst.weights if worst is not None and where else ()
        options, text = _SAYS[part.term]({**facts, "where": paths})
        said = {a.options[0] for a in advice}
        options.sort(key=said.__contains__)  # what was advised already comes last
        advice.append(Advice(term=part.term, share=part.share, layer=where, options=tuple(options), text=text))
    return tuple(advice)


def by_chance(lost: int, won: int) -> bool:
    """Tell whether so many lost and won answers are what equally good networks show: within two standard errors.

    Where either change is equally likely, lost - won has the variance lost + won (McNemar 1947).

    Example:
        >>> by_chance(5, 2), by_chance(12, 2)
        (True, False)
    """
    return lost - won <= 2 * math.sqrt(lost + won)


def _together(parts: Sequence[Part]) -> list[Part]:
    """Add what a correction costs to the unevenness, which it is there to make up for and which comes a rung later."""
    shares = {part.term: part.share for part in parts}
    cost = shares.get("correction", 0.0)
    if cost <= 0 or "unevenness" not in shares:
        return list(parts)
    return [replace(p, share=p.share + cost) if p.term == "unevenness" else p for p in parts if p.term != "correction"]


def _own(layer: LayerErrors, term: str) -> float:
    return next((p.rms for p in layer.local.parts if p.term == term), 0.0)


def _input(facts: Facts) -> Said:
    if facts.get("coding") in ("rate", "bernoulli"):
        return (
            ['coding="direct"', f"steps={2 * facts['steps']}"],
            "The input loses most as spikes; direct coding hands its codes to the first layer at every step.",
        )
    return ["input_bits=12", "input_grid=bs.Grid(...)"], "The input's grid is too coarse or does not reach far enough."


def _weights(facts: Facts) -> Said:
    bits = facts.get("bits", 8)
    widths = [b for b in bits.values() if b] if isinstance(bits, Mapping) else [bits]
    narrow = min(widths, default=8)
    tuned = "bs.prepare(model, ...), training, bs.finish(...)"
    more = [f"bits={_wider(bits, facts['where'])}"] if narrow < 16 else []
    per_channel = [] if facts.get("per_channel", True) else ["per_channel=True"]
    options = [*per_channel, tuned, *more] if narrow > 2 else [tuned, *per_channel, *more]
    return (
        options,
        "The rounding of the weights dominates: fine-tune with the rounding in the loop, or use more bits. More time "
        "steps will not help.",
    )


def _wider(bits: Any, where: Sequence[str]) -> str:
    """Return ``bits`` with twice as many for some layers, or for all where none are named.

    Example:
        >>> _wider(4, ["layer1.conv"]), _wider({"*": 4}, [])
        ("{'*': 4, 'layer1.conv': 8}", "{'*': 8}")
    """
    known = {str(k): int(v) for k, v in bits.items()} if isinstance(bits, Mapping) else {"*": int(bits)}
    more = {path: min(16, 2 * known.get(path, known.get("*", 4))) for path in where or known}
    return repr({**known, **more})


def _clipping(facts: Facts) -> Said:
    statistic, percentile = facts.get("calibration.statistic"), facts.get("calibration.percentile")
    higher = 99.99 if percentile is None else 100 - (100 - float(percentile)) / 10
    options = [f"threshold=bs.PercentileThreshold({higher:g})", "threshold=bs.MaxThreshold()"]
    if statistic == "mse":
        options = [f"steps={2 * facts['steps']}", *options]
        said = " The least squared error trades clipping for finer levels; with more steps it clips less."
    else:
        said = " A higher percentile clips less and makes the levels coarser."
    return options, f"Activations above lambda are cut off.{said}"


def _truncation(facts: Facts) -> Said:
    options = [] if facts.get("initial", 0.5) == 0.5 else ["initial=0.5"]
    if facts.get("calibration.statistic") not in ("mse", "given"):
        options.append("threshold=bs.MSEThreshold()")
    options.append(f"steps={2 * facts['steps']}")
    return options, "T steps have too few levels for the activations."


def _unevenness(facts: Facts) -> Said:
    options = [] if facts.get("schedule") == "layerwise" else ['schedule="layerwise"']
    if facts.get("neuron") != "SignedIF":
        options.append("neuron=bs.SignedIF")
    done, more = facts.get("corrected") or (), f"steps={2 * facts['steps']}"
    if not done:
        options.append('correct=("least_squares", "potential")')
    elif "weights" not in done:
        options.append('correct="advanced"')
    options.append(more)
    return (
        options,
        "Spikes arrive unevenly in time, so that neurons fire on charge that is cancelled later, or get theirs too "
        "late. Layer by layer there is no such error, at a latency of T steps per layer; signed neurons take spikes "
        "back.",
    )


def _integer(facts: Facts) -> Said:
    limit, used = int(facts.get("max_fraction_bits", 8)), int(facts.get("fraction_bits", 0))
    if used >= limit:
        return (
            [f"max_fraction_bits={max(limit + 4, 8)}"],
            "Thresholds and biases are small whole numbers and lose by rounding; more fraction bits make them larger.",
        )
    return (
        [f"bits={_wider(facts.get('bits', 8), facts['where'])}", f"steps={2 * facts['steps']}"],
        f"Thresholds and biases are rounded by less than 1 %, with {used} fraction bits of {limit}; wider weight codes "
        "make a count smaller.",
    )


_SAYS: dict[str, Callable[[Facts], Said]] = {
    "input": _input,
    "weights": _weights,
    "clipping": _clipping,
    "truncation": _truncation,
    "correction": lambda _: (
        ["correct=None"],
        "The corrections make the gap larger on these samples.",
    ),
    "unevenness": _unevenness,
    "reset": lambda _: (
        ['reset="soft"'],
        "The reset to zero throws away what exceeds the threshold; that loss does not vanish with more steps.",
    ),
    "integer": _integer,
    "saturation": lambda _: (
        ["max_fraction_bits=0", "per_channel=True"],
        "Potentials reach the limits of the chip: take a wider one, or let them use fewer bits.",
    ),
}
