"""The part of the conversion results that is about small quantized networks over time: :mod:`benchmarks.quantized`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.lines import held_in

FILE = Path(__file__).parent / "conversions" / "quantized-cnn.jsonl"
TRAINED, JUDGED, COMPARED = 20_000, 1_000, 1_000
"""Images at most: to train on, to tune layers on and judge them by, and of the test set to compare counts on."""
EPOCHS = 4
NAMES = ("signed", "unsigned")
"""Of the neurons, in the order of the table."""


def latest() -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each data set, bits and seed, in this order."""
    last = {(line["data"], line["bits"], line["seed"]): line for line in held_in(FILE)}
    return [last[key] for key in sorted(last)]


def section(lines: list[dict[str, Any]]) -> list[str]:
    """Return what the document of conversions says about quantized networks."""
    if not lines:
        return []
    rows = []
    for data, bits in dict.fromkeys((line["data"], line["bits"]) for line in lines):
        mine = [line for line in lines if (line["data"], line["bits"]) == (data, bits)]
        floats = mean(line["accuracy"]["quantized"] for line in mine)
        cells = [
            f"{data}, {mine[0]['images']:,}",
            str(bits),
            str(mine[0]["steps"]),
            f"{len(mine)}",
            f"{100 * floats:.2f}",
        ]
        over_time = [mean(line["accuracy"][name][-1] for line in mine) for name in NAMES]
        cells += [f"{100 * value:.2f} ({100 * (value - floats):+.2f})" for value in over_time]
        cells += [f"{100 * mean(mean(line['mismatch'][name]) for line in mine):.1f} %" for name in NAMES]
        after = mean(line["tuned"]["accuracy"]["signed"][-1] for line in mine)
        missed = mean(mean(line["tuned"]["mismatch"]["signed"]) for line in mine)
        rows.append("| " + " | ".join([*cells, f"{100 * after:.2f}, {100 * missed:.1f} %"]) + " |")
    first = lines[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    return [
        "## Quantized networks",
        "",
        f"Six convolutions of 3x3 with norms (16 and 32 channels), b-bit weights and activations, first and last layer "
        f"8 bits; {EPOCHS} epochs with ReLUs and {EPOCHS} with levels on at most {TRAINED:,} training images, run over "
        "time with T = 2^b - 1 steps by `bs.spiking_twin`. Accuracy in per cent on the test images, mean over the "
        "seeds, and how far it is from the quantized network; mean over the layers of the share of counts that are not "
        f"their level, on at most {COMPARED:,} test images. Tuned: `bs.tune_layers` with signed neurons, 2 epochs of "
        f"{JUDGED:,} training images, which judge too.",
        "",
        "| images | bits | T | seeds | quantized | SignedIF | IF | counts missed, SignedIF | IF | tuned, SignedIF |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        f"{first['hardware']}; {versions}; commits {commits}. Made again by",
        "",
        "```",
        *(
            f"python -m benchmarks.quantized run --data {data}{'' if data == 'digits' else ' --root DATA'} --bits "
            + " ".join(str(bits) for bits in sorted({line["bits"] for line in lines if line["data"] == data}))
            for data in dict.fromkeys(line["data"] for line in lines)
        ),
        "```",
        "",
    ]
