"""The part of the conversion results that is about ``bs.convert`` with no argument but ``steps``, by network."""

from __future__ import annotations

from typing import Any

ORDER = ("resnet20", "resnet44", "vgg11", "vgg13-max", "cnn")
"""Names of :mod:`benchmarks.conversion_networks`, as the document has them."""


def defaults(lines: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return what the document says about ``bs.convert`` with no argument but steps, by network."""
    held = {name: found for name, found in lines.items() if found}
    if not held:
        return []
    every = [line for found in held.values() for line in found]
    steps = sorted({line["steps"] for line in every})
    text = [
        "## With no argument but `steps`",
        "",
        "`bs.convert(model, example, calibrate=images, steps=T)`: IF neurons, 8-bit weights, thresholds of least "
        "squared error up to T = 32 and the percentile 99.9 beyond, weights corrected by least squares, "
        "then first potentials. In italics the same with `correct=None`. Accuracy in per cent on the first test "
        "images, on the integers, proven as above. Seconds are of the processor, for calibration and corrections "
        "at T = 32, on one thread of a machine that had other work too. "
        f"Seeds of the calibration images: {seeds(every)}.",
        "",
        "| network | images | float | " + " | ".join(f"T = {t}" for t in steps) + " | CPU seconds |",
        "| --- | ---: | ---: |" + " ---: |" * (len(steps) + 1),
    ]
    for found in held.values():
        for way in dict.fromkeys(line["way"] for line in found):
            mine = [line for line in found if line["way"] == way]
            cells = [cell([x for x in mine if x["steps"] == t]) for t in steps]
            busy = [x["convert_cpu_seconds"] for x in mine if x["steps"] == 32]
            cells.append(f"{sum(busy) / len(busy):.0f}" if busy else "")
            if way != "default":
                cells = [f"*{cell}*" if cell else "" for cell in cells]
            name = mine[0]["network"] if way == "default" else "*`correct=None`*"
            text.append(f"| {name} | {mine[0]['images']:,} | {mine[0]['float_accuracy']:.1%} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in every[0]["versions"].items())
    commits = ", ".join(sorted({line["commit"] for line in every}))
    return [
        *text,
        "",
        f"{every[0]['hardware']}; {versions}; commits {commits}. Networks other than the pretrained one are trained by "
        "the first line, which gives the same weights every time on one machine; each row is made by the second:",
        "",
        "```",
        "python -m benchmarks.conversion_networks train NAME --root DATA --folder NETWORKS",
        "python -m benchmarks.conversion defaults --network NAME --weights NETWORKS/NAME.safetensors --root DATA",
        "```",
        "",
    ]


def seeds(lines: list[dict[str, Any]]) -> str:
    """Say what the cells are made of."""
    seeds = sorted({line["seed"] for line in lines})
    if len(seeds) == 1:
        return f"seed {seeds[0]} alone"
    return f"mean ± standard deviation over {', '.join(map(str, seeds))}; without ±, seed {seeds[0]} alone"


def cell(lines: list[dict[str, Any]]) -> str:
    """Return the mean accuracy over seeds in per cent, with the standard deviation where there are several."""
    values = [100 * line["accuracy"] for line in lines]
    if not values:
        return ""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {spread:.1f}"
