"""Figures of a ledger as SVG, each with the numbers it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitspike.analysis.drawing import marks
from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.plots import drawn
from bitspike.analysis.ledger.parts import Account, Gap, LayerErrors
from bitspike.analysis.ledger.pictures import BINS, REACH, Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design", 2008; readable on light and dark paper.
COLORS = {
    "input": "#8a93a0",
    "weights": PALETTE["accent"],
    "clipping": PALETTE["second"],
    "truncation": "#009e73",
    "correction": "#7a5195",
    "unevenness": "#cc79a7",
    "reset": "#cc79a7",
    "integer": "#e69f00",
    "saturation": "#56b4e9",
}
# Cells get their looks from the page; a lone file needs them too.
_LONE = (
    "><style>.bars rect{{fill:var(--accent,{accent})}}.bars text{{font:11px sans-serif}}"
    ".bars .ink{{fill:var(--ink,{ink})}}.bars .soft{{fill:var(--soft,{soft})}}"
    ".bars .base{{stroke:var(--line,{line})}}</style>"
).format(**PALETTE)
Row = Sequence[object]


@dataclass(frozen=True)
class Figure:
    """One figure: the name of its files without the ending, what it shows, and its numbers below a row of headings."""

    name: str
    caption: str
    svg: str
    rows: tuple[Row, ...]


def whole(ledger: Account) -> list[Figure]:
    """Return the figures of the network: parts per layer, own and with what comes before, rates, accuracy over T."""
    return [_stacked(ledger, "cumulative"), _stacked(ledger, "local"), *_rates(ledger), _curve(ledger)]


def of_layer(ledger: Account, layer: LayerErrors) -> list[Figure]:
    """Return the figures of one layer: activations with lambda, decoded against float, codes of its weights."""
    pictures, word = ledger.pictures, file_word(layer.name)
    if pictures is None:
        return []
    figures = []
    if layer.id in pictures.activations:
        figures.append(_activations(word, layer.name, pictures.activations[layer.id]))
    if layer.id in pictures.decoded:
        figures.append(_scatter(word, layer.name, pictures.decoded[layer.id]))
    return figures


def codes(ledger: Account) -> list[Figure]:
    """Return one histogram of weight codes per weighted layer."""
    counts = {} if ledger.pictures is None else ledger.pictures.codes
    return [
        Figure(
            f"codes_{file_word(name)}",
            f"{name}: {sum(histogram.values()):,} weights, {len(histogram)} codes",
            str(marks.histogram(histogram))
            .replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
            .replace(">", _LONE, 1),
            (("code", "weights"), *sorted(histogram.items())),
        )
        for name, histogram in counts.items()
    ]


def file_word(name: str) -> str:
    """Return a name that every file system takes.

    Example:
        >>> file_word("layer1.0/relu 1")
        'layer1.0_relu_1'
    """
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


def _stacked(ledger: Account, kind: str) -> Figure:
    gaps: list[tuple[str, Gap]] = [(layer.name, getattr(layer, kind)) for layer in ledger.layers]
    terms = [t for t in ledger.terms if any(gap[t].part for _, gap in gaps)]

    def draw(axes: Axes) -> None:
        bars = list(range(len(gaps)))
        above, below = [0.0] * len(gaps), [0.0] * len(gaps)
        for term in terms:
            values = [100 * gap[term].part for _, gap in gaps]
            bottoms = [a if v >= 0 else b for v, a, b in zip(values, above, below, strict=True)]
            axes.bar(bars, values, bottom=bottoms, width=0.72, color=COLORS[term], label=term)
            above = [a + max(v, 0) for v, a in zip(values, above, strict=True)]
            below = [b + min(v, 0) for v, b in zip(values, below, strict=True)]
        _name_layers(axes, [name for name, _ in gaps])
        axes.set_ylabel("gap in % of the float RMS")
        if terms:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, labelcolor=PALETTE["ink"], ncols=3)

    own = kind == "local"
    caption = "the gap of every layer and its parts" + (", with the float network's inputs" if own else "")
    rows: list[Row] = [("layer", "gap", *ledger.terms)]
    rows += [(name, gap.rms, *(gap[t].part for t in ledger.terms)) for name, gap in gaps]
    wide = max(4.6, 1.6 + 0.28 * min(len(gaps), 40))
    return Figure(f"parts_{kind}", caption, drawn(draw, caption, key=f"parts {kind}", size=(wide, 3.4)), tuple(rows))


def _name_layers(axes: Axes, names: Sequence[str]) -> None:
    """Write the names of at most 24 layers below their bars."""
    shown = range(0, len(names), -(-len(names) // 24))
    flat = len(names) * max(map(len, names)) <= 48
    axes.set_xticks(list(shown))
    axes.set_xticklabels([names[i] for i in shown], rotation=0 if flat else 90, fontsize=8)


def _rates(ledger: Account) -> list[Figure]:
    layers = [(layer.name, layer.rate) for layer in ledger.layers if layer.rate is not None]
    if not layers:
        return []

    def draw(axes: Axes) -> None:
        bars = list(range(len(layers)))
        axes.bar(bars, [100 * rate for _, rate in layers], width=0.72, color=PALETTE["accent"])
        _name_layers(axes, [name for name, _ in layers])
        axes.set_ylabel("spikes per neuron\nand step in %")

    caption = "firing rate of every layer of neurons"
    wide = max(4.6, 1.6 + 0.28 * min(len(layers), 40))
    rows = (("layer", "rate"), *layers)
    return [Figure("rates", caption, drawn(draw, caption, key="rates", size=(wide, 3.0)), rows)]


def _curve(ledger: Account) -> Figure:
    by_accuracy = all(p.accuracy is not None for p in ledger.curve) and bool(ledger.curve)

    def draw(axes: Axes) -> None:
        steps = [p.steps for p in ledger.curve]
        values = [100 * (p.accuracy or 0.0) if by_accuracy else 100 * p.error for p in ledger.curve]
        axes.set_xscale("log", base=2)
        axes.plot(steps, values, color=PALETTE["accent"], marker="o", markersize=5, label="spiking")
        if by_accuracy:
            for rung, name, dash in (("M0", "float (M0)", "--"), ("M2", "weights as codes (M2)", ":")):
                if rung in ledger.accuracy:
                    level = 100 * ledger.accuracy[rung]
                    axes.axhline(level, color=PALETTE["second"], linestyle=dash, linewidth=1.5, label=name)
        axes.set_xticks(steps)
        axes.set_xticklabels([str(t) for t in steps])
        axes.minorticks_off()
        axes.set_xlabel("time steps")
        axes.set_ylabel(f"{ledger.metric} in %" if by_accuracy else "output error in %")
        axes.legend(loc="best", fontsize=9, labelcolor=PALETTE["ink"])

    caption = f"{ledger.metric if by_accuracy else 'error of the outputs'} over time steps"
    rows = (("steps", ledger.metric, "error"), *((p.steps, p.accuracy, p.error) for p in ledger.curve))
    return Figure("steps", caption, drawn(draw, caption, key="steps"), rows)


def _activations(word: str, name: str, histogram: Histogram) -> Figure:
    width = REACH / BINS

    def draw(axes: Axes) -> None:
        axes.bar([width * (i + 0.5) for i in range(BINS)], histogram.counts, width=width, color=PALETTE["accent"])
        axes.axvline(1.0, color=PALETTE["second"], linestyle="--", linewidth=1.5, label=f"lambda = {histogram.lam}")
        if any(histogram.counts):
            axes.set_yscale("log")
        axes.set_xlabel("activation / lambda")
        axes.set_ylabel("activations")
        axes.legend(loc="best", fontsize=9, labelcolor=PALETTE["ink"])

    total = sum(histogram.counts) + histogram.zeros
    caption = f"{name}: activations above 0; {histogram.zeros / total:.0%} are 0" if total else f"{name}: activations"
    rows = [("from", "to", "activations"), (0.0, 0.0, histogram.zeros)]
    rows += [(width * i, width * (i + 1), n) for i, n in enumerate(histogram.counts)]
    return Figure(f"activations_{word}", caption, drawn(draw, caption, key=f"activations {name}"), tuple(rows))


def _scatter(word: str, name: str, pairs: Sequence[tuple[float, float]]) -> Figure:
    def draw(axes: Axes) -> None:
        x, y = [a for a, _ in pairs], [b for _, b in pairs]
        low, high = min([*x, *y, 0.0]), max([*x, *y, 1e-9])
        axes.plot([low, high], [low, high], color=PALETTE["second"], linestyle="--", linewidth=1.0)
        axes.plot(x, y, linestyle="", marker=".", markersize=3, color=PALETTE["accent"])
        axes.set_xlabel("float")
        axes.set_ylabel("decoded")

    caption = f"{name}: decoded against float activations"
    rows = (("float", "decoded"), *pairs)
    return Figure(f"decoded_{word}", caption, drawn(draw, caption, key=f"decoded {name}"), rows)
