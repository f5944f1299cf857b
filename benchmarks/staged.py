"""The part of the conversion results that is about the pretrained network trained in stages of fewer and fewer bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from bitspike.recipe import load

RECIPE = "nb-snn-resnet20-pretrained"
WEIGHTS = {RECIPE: "4", f"{RECIPE}-wb": "b"}
"""Bits of the weights of every stage, by recipe; b is the number of its activations."""
PUBLISHED = {3: "83.75 at T = 4", 7: "89.55 at T = 8", 15: "91.62 at T = 16"}
"""QCFS for this network, float weights; Fast-SNN has no figure for it."""
HEAD = (
    "bits", "weights", "T", "seeds", "quantized", "SignedIF", "IF", "published", "counts missed", "epochs",
    "minutes, threads", "proof",
)  # fmt: skip

Record = Mapping[str, Any]


def section(records: Sequence[Record]) -> list[str]:
    """Return what the document says about the stages, from the records of their runs."""
    kept = [entry for entry in records if entry["name"] in WEIGHTS]
    if not kept:
        return []
    by_row: dict[tuple[str, int], list[Record]] = {}
    for entry in sorted(kept, key=lambda entry: (entry["name"], -entry["stage"])):
        by_row.setdefault((entry["name"], entry["stage"]), []).append(entry)
    rows = [_row(name, stage, runs) for (name, stage), runs in by_row.items()]
    named = " and ".join(
        f"`{name}` ({bits}-bit weights)" for name, bits in WEIGHTS.items() if name in {n for n, _ in by_row}
    )
    machines = sorted({f"{r['environment']['cpu']}, torch {r['environment']['torch']}" for r in kept})
    return [
        "## Trained in stages",
        "",
        f"The same network by {named}, the method of Fast-SNN (Hu et al. 2023, arXiv 2305.19868): each stage trains "
        "levels on 45,000 images, then, where epochs are a sum, the spiking network itself over time, and is converted "
        "with T = 2^b - 1; first and last layer 8 bits. Accuracy in per cent on the 1,000 test images, "
        "mean ± standard deviation over seeds; in brackets the distance of the spiking network from the quantized one, "
        "which was not trained over time: with few steps that training wins more than spikes lose. The spiking "
        "networks with SignedIF are the integers, which the certificate compared on all test images; IF is the same "
        "network converted with plain neurons. Counts missed: share of spike counts that are not the level of the "
        "quantized network, mean over the layers, before and after training over time. Published: QCFS (Bu et al., "
        "ICLR 2022, arXiv 2303.04347), float weights, IF; Fast-SNN itself has no figure for this narrow network.",
        "",
        _line(HEAD),
        _line(["---:"] * (len(HEAD) - 1) + ["---"]),
        *rows,
        "",
        f"{'; '.join(machines)}; commits {', '.join(sorted({r['commit'] for r in kept}))}. The processor had other "
        f"work at the same time. Made again by `bitspike run RECIPE --set seed=SEED --set data.root=DATA --set "
        "model.weights=resnet20-12fca82f.th`, kept by `scripts/record`.",
        "",
    ]


def _row(name: str, stage: int, runs: Sequence[Record]) -> str:
    first, recipe = runs[0], load(name, [f"stage={stage}"])
    quantized = [100 * r["networks"]["ann"]["test"] for r in runs]
    signed = [100 * r["accuracy"]["test"] for r in runs]
    plain = [100 * r["networks"]["if"]["test"] for r in runs]
    missed = [100 * mean(mean(r["missed"][at].values()) for r in runs) for at in ("before", "after")]
    minutes = mean(r["seconds"]["total"] for r in runs) / 60
    epochs = [section.epochs for section in recipe.trainings.values()]
    cells = [
        str(stage),
        WEIGHTS[name],
        str(first["steps"]),
        str(len(runs)),
        _spread(quantized),
        f"**{_spread(signed)}** ({mean(signed) - mean(quantized):+.1f})",
        _spread(plain),
        PUBLISHED[first["steps"]],
        " → ".join(f"{share:.1f} %" for share in dict.fromkeys(missed)),
        " + ".join(map(str, epochs)),
        f"{minutes:.0f}, {first['environment']['threads']}",
        "equal" if all(r["certificate"]["equal"] for r in runs) else "NOT EQUAL",
    ]
    return _line(cells)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
