"""The words of reports and ledgers, each with its meaning: pages list those that they use, docs/glossary.md all."""

from __future__ import annotations

import html as _html
import re
from collections.abc import Mapping

from bitspike.analysis.drawing.markup import Html, html, join, section

_LEDGER = "A conversion and its ledger"
"""Words of every day that mean something of their own where a page speaks of a gap."""

WORDS: Mapping[str, Mapping[str, str]] = {
    "Spikes and time": {
        "spike": "What a neuron sends when it fires: 0 or 1 at each time step; signed neurons send -1 too.",
        "time step": "One of the T steps for which the network runs on one input.",
        "T": "How many time steps the network runs for.",
        "neuron": "One unit with a membrane potential; it sends a spike when the potential reaches the threshold.",
        "signed": "Of neurons: a spike of -1 takes back one that was too many. Unsigned ones send 0 and 1 only.",
        "membrane potential": "The number that a neuron carries from step to step: what came in, less what it fired.",
        "threshold": "The potential at which a neuron fires.",
        "reset": "What a spike does to the potential: soft subtracts the threshold, hard sets a fixed value.",
        "rate": "Spikes per neuron and time step, in the mean over the images that were measured.",
        "silent": "Share of the neurons that never fired on the images that were measured.",
        "saturated": "Share of the neurons that sent the same spike at every step of every image.",
        "read-out": "The last layer, which adds up spikes of T steps to the network's result; it does not fire.",
        "early exit": "To stop before the last time step, as soon as a rule says that the answer is certain.",
        "confidence": "The softmax of the largest output: near 1 the network is sure of its answer.",
        "epsilon": "The mean gain of the norms below which later steps are said to add nothing.",
        "gain": "The factor of a norm: it computes gain * x + shift.",
    },
    "Weights and integers": {
        "code": "The whole number that is stored for a weight or an input; the real value is code * scale.",
        "scale": "The real value of a code of 1.",
        "bits": "How many binary digits a code takes: b bits have at most 2**b different codes.",
        "packed codes": "Weight codes stored next to each other, without unused bits between them.",
        "accumulator": "The sum of weighted inputs of one neuron in one time step.",
        "worst-case widths": "The bits that hold every value that any input whatever can cause.",
        "kept between steps": "The bits of the potential that are stored from one time step to the next.",
        "training graph": "The network as it was trained, computed by torch in floating point.",
        "lowering": "To write the trained network as integers: codes, integer thresholds, biases and leaks.",
        "certificate": (
            "The record of a proof: two independent programs ran the integers, and every spike and every membrane"
            " potential of every neuron at every step was compared."
        ),
        "agreement": "The share of spikes that are the same in the integers and in the training graph.",
        "miss their level": "Neurons whose spike count is not the level that the quantized network computes.",
        "float network": "The ordinary network before it was converted, with real weights and activations.",
    },
    _LEDGER: {
        "gap": "The difference between what the spiking and the float network compute, relative to the latter (RMS).",
        "RMS": "Root mean square: the square root of the mean of the squares.",
        "own gap": "The gap of a layer that reads what the same layer of the float network reads.",
        "lambda": (
            "The activation that spikes at every step stand for, so the largest one that a layer can send: N spikes in"
            " T steps mean lambda * N / T."
        ),
        "(*)": (
            "N = clip(floor((T * z + v0) / lambda), 0, T): the spikes that a neuron should send in T steps for the"
            " activation z; v0 is its potential before the first step (Bu et al., ICLR 2022, eq. 8)."
        ),
        "decoded": "The real value that the spikes of T steps stand for.",
        "input": "Part of the gap: the image rounded to its integer grid, or to spikes.",
        "weights": "Part of the gap: real weights rounded to codes of few bits.",
        "clipping": "Part of the gap: activations above lambda, which no number of spikes can say.",
        "truncation": "Part of the gap: T steps can say only T + 1 different values, so activations are rounded.",
        "correction": "Part of the gap: weights, biases or first potentials, changed to make up for unevenness.",
        "unevenness": (
            "Part of the gap: spikes arrive unevenly in time. A neuron fires for charge that later input takes back, or"
            " its charge comes too late to fire at all, so it sends another number of spikes than (*) says."
        ),
        "integer": "Part of the gap: thresholds, biases and first potentials rounded to whole numbers.",
        "saturation": "Part of the gap: potentials limited in width, as on a chip.",
        "share": (
            "By how much a part makes the squared error larger, given the parts before it; all shares add up to 100 %."
            " A negative share takes errors back."
        ),
        "along the gap": "How far a part points in the direction of the whole gap; these add up to 100 % as well.",
        "size alone": "The RMS of what a part changes, whether it makes the error larger or smaller.",
        "cosine": "Of the angle between what the spiking and the float network compute: 1 is the same direction.",
        "too many": "Share of spike counts above (*).",
        "too few": "Share of spike counts below (*).",
        "most off": "The largest difference of a spike count to (*).",
        "rung": "One of M0 to M7, networks between the float and the spiking one; each adds one kind of rounding.",
        "M0": "The float network, with its norms folded into weights and biases.",
        "M1": "M0, with its input as codes.",
        "M2": "M1, with its weights as codes.",
        "M3": "M2, with activations clipped at lambda.",
        "M4": "M3, with activations rounded to what T steps can say, by (*).",
        "M5": "The spiking network, step by step, with real thresholds and biases.",
        "M6": "M5 with integer thresholds, biases and first potentials: the spiking network as it runs.",
        "M7": "M6, with potentials limited in width as on a chip.",
    },
    "Hardware": {
        "energy": "Of one inference: every operation, counted as it happens, times its published energy.",
        "pJ": "Picojoule, 10**-12 joule; 1000 pJ are 1 nJ.",
        "SOP": "Synaptic operation: the addition of one weight that one spike causes.",
        "MAC": "Multiply-accumulate: one multiplication and one addition, where a layer reads values of several bits.",
        "cells": "Memory devices that hold weights as conductances, a pair for each weight.",
        "SRAM": "Ordinary digital memory, which keeps its bits exactly.",
        "feature size": "The smallest length that a chip technology draws; areas are given in its square, F**2.",
        "KiB": "1024 bytes.",
    },
}
"""Group -> word -> what it means. Plain text: a page and a Markdown document write it in their own ways."""


def meanings() -> dict[str, str]:
    """Return every word with its meaning, in the order of the groups."""
    return {word: meaning for group in WORDS.values() for word, meaning in group.items()}


def used_in(page: str) -> list[str]:
    """Return the words that the text of a page uses; what it quotes, such as a recipe, does not count.

    Example:
        >>> used_in("<p>Spikes against <b>lambda</b>, by (*)</p><pre>threshold: 1</pre>")
        ['spike', 'lambda', '(*)']
    """
    text = re.sub(r"<(pre|style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = _html.unescape(re.sub(r"<[^>]*>", " ", text))
    groups = (group for name, group in WORDS.items() if name != _LEDGER or re.search(r"\b(gap|ledger|lambda)\b", text))
    return [word for group in groups for word in group if _pattern(word).search(text)]


def _pattern(word: str) -> re.Pattern[str]:
    if not word[0].isalpha():
        return re.compile(re.escape(word))
    flags = re.NOFLAG if any(c.isupper() for c in word) else re.IGNORECASE
    ending = "" if word[-1].isdigit() or len(word) < 3 or word.isupper() else r"(?:e?s)?"
    return re.compile(rf"(?<![\w-]){re.escape(word)}{ending}(?![\w-])", flags)


def words(page: str) -> Html:
    """Return the section that says what the words of a page mean; empty where it uses none."""
    known, used = meanings(), used_in(page)
    if not used:
        return Html("")
    rows = join(html("<dt>{word}</dt><dd>{meaning}</dd>", word=word, meaning=known[word]) for word in used)
    return section("The words of this page", html('<dl class="words">{rows}</dl>', rows=rows))
