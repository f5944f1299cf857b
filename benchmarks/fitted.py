"""What a network keeps of its accuracy when it is made to fit a chip: trained, fine-tuned as codes, fitted, proven.

    python -m benchmarks.fitted run --root DATA --out DIR    makes all runs below DIR and appends a JSON line
    python -m benchmarks.fitted table                        writes the table into docs/chips.md

The runs are those of the command line; one whose report lies below ``--out`` already is not made again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.lines import add_to, held_in
from benchmarks.markers import put

HERE = Path(__file__).parent
LINES = HERE / "records" / "fitted.jsonl"
DOCUMENT = HERE.parent / "docs" / "chips.md"
BEGIN, END = "<!-- fitted: python -m benchmarks.fitted table writes this -->", "<!-- /fitted -->"
RECIPE, CHIP = "vgg11-cifar10-convert", "fanin1024-v1"
NETWORK = "VGG11, 64 to 512 channels"
ALLOWED = 1.5
"""Points below the float network that are asked for at most."""
NEURON_PRICE = 0.01
"""Neurons are cheap here: layers are split into partial sums, which loses no weight."""
CODES = (
    "finetune.quantized=weights",
    "finetune.epochs=1",
    "finetune.optimizer.lr=0.01",
    "finetune.schedule.warmup_epochs=0.1",
    'convert.bits={"*": 3, conv2: 4, conv3: 4}',
    "evaluation.by_step=false",
)
"""Changes of the run that fine-tunes: weights become codes of the widths that the fitted layers have."""
FITTED = (
    "finetune=null",
    "convert.scale={kind: coded}",
    "evaluation.by_step=false",
    "evaluation.batch_size=50",
    f"chip={CHIP}",
)
"""Changes of the recipe that is fitted: nothing is trained any more, and codes stay what they are."""

Line = Mapping[str, Any]


def commands() -> list[str]:
    """Return what is run, as a user would type it."""

    def sets(*changes: str) -> str:
        return "".join(f" \\\n    --set {shlex.quote(change)}" for change in changes)

    return [
        f"bitspike run {RECIPE} --set data.root=DATA --out runs/float",
        f"bitspike check {RECIPE} --chip {CHIP}      # exit code 1",
        f"bitspike run {RECIPE} --out runs/codes"
        + sets("data.root=DATA", "model.weights=runs/float/model.safetensors", *CODES),
        f"bitspike fit {RECIPE} --chip {CHIP} --neuron-price {NEURON_PRICE:g} --out runs/fitted.yaml"
        + sets("data.root=DATA", "model.weights=runs/codes/decoded.safetensors", *FITTED),
        f"bitspike check runs/fitted.yaml --chip {CHIP}",
        "bitspike run runs/fitted.yaml --out runs/fitted",
        "bitspike verify runs/fitted",
    ]


def measured(root: Path, out: Path, *, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Make the runs that are missing and return one line; ``changes`` are made to each of them."""
    import bitspike as bs
    from bitspike.data import load
    from bitspike.verbs.fit import fit

    root, out = root.resolve(), out.resolve()
    given = (f"data.root={root}", *changes)
    base = _run(RECIPE, given, out / "float")
    codes = _run(RECIPE, (*given, f"model.weights={out / 'float' / 'model.safetensors'}", *CODES), out / "codes")
    recipe, found = out / "fitted.yaml", out / "fitting.json"
    if not recipe.is_file():
        weights = f"model.weights={out / 'codes' / 'decoded.safetensors'}"
        fitting = fit(RECIPE, CHIP, neuron_price=NEURON_PRICE, out=recipe, set=(*given, weights, *FITTED))
        found.write_text(json.dumps(fitting.to_dict()), encoding="utf-8")
    fitted = _run(str(recipe), (), out / "fitted")
    place = machine.describe()
    return {
        **line(base, codes, json.loads(found.read_text(encoding="utf-8")), fitted),
        "images": len(load("cifar10", "test", root=root)),
        "vectors": bs.verify(out / "fitted" / "network").equal,
        **{name: place[name] for name in ("hardware", "versions", "commit")},
    }


def _run(recipe: str, changes: Sequence[str], out: Path) -> dict[str, Any]:
    import bitspike as bs

    report = out / "report.json"
    if not report.is_file():
        bs.run(recipe, set=changes, out=out, resume=(out / "recipe.yaml").is_file())
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def line(base: Line, codes: Line, fitting: Line, fitted: Line) -> dict[str, Any]:
    """Return what is kept of three reports and a fitting."""
    chosen = fitted["recipe"]["convert"]
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": NETWORK,
        "chip": fitted["chip"]["chip"],
        "violations": sum(v["severity"] == "error" for v in fitting["before"]["violations"]),
        "repairs": [repair.partition("; about")[0] + ")" for repair in fitting["repairs"]],
        "seed": fitted["seed"],
        "steps": chosen["steps"],
        "schedule": chosen["schedule"],
        "float": _kept(base, "float"),
        "converted": _kept(base, "test"),
        "codes": _kept(codes, "finetuned"),
        "codes_converted": _kept(codes, "test"),
        "fitted": _kept(fitted, "test"),
        "fits": fitted["chip"]["passed"],
        "certificate": fitted["certificate"]["equal"],
        "proven": fitted["certificate"]["samples"],
    }


def _kept(report: Line, name: str) -> dict[str, Any]:
    return {
        "accuracy": report["accuracy"][name],
        "bits": report["bits"],
        "weight_bytes": report["bytes"]["weights_packed"],
        "epochs": report["epochs"]["run"],
        "train_seconds": round(report["seconds"].get("train", 0)),
    }


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each network, chip and seed."""
    return list({(x["network"], x["chip"], x["seed"]): x for x in held_in(path)}.values())


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the tables of the lines between its markers."""
    return put(text, "\n".join(["", *(part for x in lines for part in (*table(x), ""))]), BEGIN, END)


def table(x: Line) -> list[str]:
    """Return what one line says."""
    points = 100 * (x["float"]["accuracy"] - x["fitted"]["accuracy"])
    met = "met" if points <= ALLOWED else "missed"
    steps = f"T = {x['steps']}, {x['schedule']}"
    rows = [
        ("float network", x["float"], "32", x["float"]["epochs"]),
        (f"the same, spiking, for no chip ({steps})", x["converted"], None, 0),
        ("fine-tuned: weights as codes, norms alive", x["codes"], None, x["codes"]["epochs"]),
        (f"the same, spiking, for no chip ({steps})", x["codes_converted"], None, 0),
        (f"**fitted to {x['chip']}, spiking ({steps})**", x["fitted"], None, 0),
    ]
    return [
        f"{x['network']}, CIFAR-10, {x['images']:,} test images, seed {x['seed']}. `bitspike check` finds "
        f"{x['violations']} violations of `{x['chip']}`; `bitspike fit` changes",
        "",
        *(f"* {repair}" for repair in x["repairs"]),
        "",
        "| network | accuracy, % | bits of a weight | epochs |",
        "| --- | ---: | --- | ---: |",
        *(
            f"| {name} | {100 * found['accuracy']:.1f} | {bits or _bits(found['bits'])} | {epochs or ''} |"
            for name, found, bits, epochs in rows
        ),
        "",
        f"The fitted network {'passes' if x['fits'] else 'does not pass'} `check`; spikes and membranes of its "
        f"integers are {'' if x['certificate'] else 'NOT '}all equal on {x['proven']:,} images, and its golden "
        f"vectors are {'' if x['vectors'] else 'NOT '}replayed by `verify`. Against the float network it loses "
        f"{points:.1f} points (asked for: at most {ALLOWED:g}; {met}). One image is {100 / x['images']:g} points; one "
        f"seed. {x['hardware']}; bitspike {x['versions']['bitspike']}, torch {x['versions']['torch']}; commit "
        f"{x['commit']}. The commands, and what makes the table again:",
        "",
        "```bash",
        *commands(),
        "python -m benchmarks.fitted run --root DATA --out runs",
        "python -m benchmarks.fitted table",
        "```",
    ]


def _bits(bits: Mapping[str, int]) -> str:
    """Return how many layers have which width."""
    widths = list(bits.values())
    return ", ".join(f"{widths.count(b)} x {b}" for b in sorted(set(widths)))


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitted", description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--root", type=Path, help="the folder of the images")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the runs")
    args = parser.parse_args(words)
    if args.what == "table":
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8"), latest()), encoding="utf-8")
        return 0
    if args.root is None:
        parser.error("run needs --root")
    args.out.mkdir(parents=True, exist_ok=True)
    add_to(LINES, measured(args.root, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
