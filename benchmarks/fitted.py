"""What a network keeps of its accuracy when it is made to fit a chip: trained, fitted, fine-tuned in two runs, proven.

    python -m benchmarks.fitted run --root DATA --out DIR    makes all runs below DIR and appends a JSON line
    python -m benchmarks.fitted table                        writes the table into docs/chips.md

The runs are those of the command line; one whose report lies below ``--out`` already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine

HERE = Path(__file__).parent
LINES = HERE / "records" / "fitted.jsonl"
DOCUMENT = HERE.parent / "docs" / "chips.md"
BEGIN, END = "<!-- fitted: python -m benchmarks.fitted table writes this -->", "<!-- /fitted -->"
RECIPE, CHIP = "vgg11-cifar10-convert", "fanin1024-v1"
NETWORK = "VGG11, 64 to 512 channels"
ALLOWED = 1.5
"""Points below the float network that are asked for at most."""
FIRST = (
    "finetune.quantized=weights",
    "finetune.epochs=7",
    "finetune.optimizer.lr=0.05",
    "finetune.schedule.warmup_epochs=0.5",
)
"""Changes of the first run: weights as codes, batch norms alive."""
SECOND = (
    "model.repaired=true",
    "finetune.quantized=true",
    "finetune.epochs=2",
    "finetune.optimizer={kind: adamw, lr: 0.0003, weight_decay: 0.0}",
    "finetune.schedule={kind: cosine, warmup_epochs: 0.25}",
    "evaluation.proof=null",
)
"""Changes of the second run: the network that will spike, proven on every test image."""

Line = Mapping[str, Any]


def commands() -> list[str]:
    """Return what is run, as a user would type it."""

    def sets(*changes: str) -> str:
        return "".join(f" \\\n    --set {_quoted(change)}" for change in changes)

    return [
        f"bitspike run {RECIPE} --set data.root=DATA --out runs/float",
        f"bitspike check {RECIPE} --chip {CHIP}      # exit code 1",
        f"bitspike fit {RECIPE} --chip {CHIP} --out fitted.yaml"
        + sets("data.root=DATA", "model.weights=runs/float/model.safetensors", f"chip={CHIP}", *FIRST),
        f"bitspike check fitted.yaml --chip {CHIP}",
        "bitspike run fitted.yaml --out runs/first",
        "bitspike run fitted.yaml --out runs/fitted" + sets("model.weights=runs/first/model.safetensors", *SECOND),
        "bitspike verify runs/fitted",
    ]


def measured(root: Path, out: Path) -> dict[str, Any]:
    """Make the runs that are missing and return one line."""
    import bitspike as bs
    from bitspike.journeys.fitting import fit

    root, out = root.resolve(), out.resolve()
    base = _run(RECIPE, (f"data.root={root}",), out / "float")
    fitted = out / "fitted.yaml"
    given = (f"data.root={root}", f"model.weights={out / 'float' / 'model.safetensors'}", f"chip={CHIP}", *FIRST)
    if not fitted.is_file():
        fitting = fit(RECIPE, CHIP, out=fitted, set=given)
        print(fitting, file=sys.stderr)
        (out / "fitting.json").write_text(json.dumps(fitting.to_dict()), encoding="utf-8")
    fitting = json.loads((out / "fitting.json").read_text(encoding="utf-8"))
    first = _run(str(fitted), (), out / "first")
    weights = f"model.weights={out / 'first' / 'model.safetensors'}"
    second = _run(str(fitted), (weights, *SECOND), out / "fitted")
    certificate = bs.verify(out / "fitted")
    return line(base, fitting, first, second, equal=bool(certificate.equal)) | {
        name: value for name, value in machine.describe().items() if name in ("hardware", "versions", "commit")
    }


def _run(recipe: str, changes: Sequence[str], out: Path) -> dict[str, Any]:
    import bitspike as bs

    report = out / "report.json"
    if not report.is_file():
        bs.run(recipe, set=changes, out=out, resume=(out / "recipe.yaml").is_file())
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def line(base: Line, fitting: Line, first: Line, second: Line, *, equal: bool) -> dict[str, Any]:
    """Return what is kept of three reports and a fitting."""
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": NETWORK,
        "chip": second["chip"]["chip"],
        "violations": sum(v["severity"] == "error" for v in fitting["before"]["violations"]),
        "repairs": [repair.partition(";")[0].rstrip("( ") for repair in fitting["repairs"]],
        "seed": second["seed"],
        "steps": second["recipe"]["convert"]["steps"],
        "schedule": second["recipe"]["convert"]["schedule"],
        "images": second["certificate"]["samples"],
        "float": _kept(base, "float"),
        "converted": _kept(base, "test"),
        "first": _kept(first, "finetuned"),
        "quantized": _kept(second, "finetuned"),
        "fitted": _kept(second, "test"),
        "fits": second["chip"]["passed"],
        "certificate": equal and second["certificate"]["equal"],
    }


def _kept(report: Line, name: str) -> dict[str, Any]:
    return {
        "accuracy": report["accuracy"][name],
        "bits": report["bits"],
        "weight_bytes": report["bytes"]["weights_packed"],
        "epochs": report["epochs"]["run"],
        "train_seconds": round(report["seconds"]["train"]),
    }


def latest(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the kept lines, the last one of each network, chip and seed."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    return list({(x["network"], x["chip"], x["seed"]): x for x in lines}.values())


def document(text: str, lines: Sequence[Line]) -> str:
    """Return a document with the tables of the lines between its markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no place between {BEGIN} and {END}")
    return "\n".join([before + BEGIN, "", *(part for x in lines for part in (*table(x), "")), END + after])


def table(x: Line) -> list[str]:
    """Return what one line says."""
    points = 100 * (x["float"]["accuracy"] - x["fitted"]["accuracy"])
    met = "met" if points <= ALLOWED else "missed"
    steps = f"T = {x['steps']}, {x['schedule']}"
    rows = [
        ("float network", x["float"], "32", x["float"]["epochs"]),
        (f"the same, converted as it is, for no chip ({steps})", x["converted"], None, 0),
        (f"fitted to {x['chip']}: weights as codes, norms alive", x["first"], None, x["first"]["epochs"]),
        ("fitted: as it will spike", x["quantized"], None, x["quantized"]["epochs"]),
        (f"**fitted, spiking ({steps})**", x["fitted"], None, 0),
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
        f"It {'passes' if x['fits'] else 'does not pass'} `check`; every spike and membrane of its integers is "
        f"{'' if x['certificate'] else 'NOT '}equal on {x['images']:,} images. Against the float network it loses "
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


def _quoted(change: str) -> str:
    return f"'{change}'" if " " in change else change


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
    text = json.dumps(measured(args.root, args.out), ensure_ascii=False)
    with LINES.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
