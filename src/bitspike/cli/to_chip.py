"""The verbs that bring a network to a chip: check, fit, mix, export, energy, cost, analyze, yield, pareto."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bitspike.cli.app import FinishedRun, Json, Network, OnChip, Quiet, Recipe, Sets, answer, app
from bitspike.cli.completion import boards
from bitspike.cli.guard import guarded
from bitspike.formats.table import FORMATS

AnyNetwork = Annotated[
    str, typer.Argument(metavar="NETWORK|RECIPE", help="The folder of a network or run, or a recipe's name or path.")
]
NewRecipe = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the new recipe goes.")]
FirstSamples = Annotated[
    int | None, typer.Option("--samples", metavar="N", help="Run the first N test images; default all.")
]
Devices = Annotated[str, typer.Option("--devices", metavar="NAME|FILE", help="Figures of the cells.")]
CellTable = Annotated[str, typer.Option("--table", metavar="NAME|FILE", help="Energies of SRAM and of operations.")]


@app.command()
def check(what: AnyNetwork, chip: OnChip, set: Sets = None, as_json: Json = False) -> None:
    """List every rule of a chip that a network breaks.

    Each has its way out. A recipe needs no weights and no images for it.
    """
    with guarded():
        from bitspike.verbs.check import check as examine

        report = examine(what, chip, set=set or ())
        answer(report, str(report), as_json=as_json, passed=report.passed)


@app.command()
def fit(
    recipe: Recipe,
    chip: OnChip,
    ways: Annotated[
        str,
        typer.Option(
            "--ways", metavar="WAY,...", help="What may be done to a layer; also prune, and real for conversions."
        ),
    ] = "bits,groups,split",
    neuron_price: Annotated[
        float, typer.Option("--neuron-price", min=0.0, help="Of doubling a layer's neurons, in lost signal.")
    ] = 0.25,
    out: NewRecipe = None,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest change that makes a recipe fit a chip.

    It is applied, and the result is checked and proven.
    """
    with guarded():
        from bitspike.verbs.fit import fit as repair

        named: Any = [word.strip() for word in ways.split(",")]  # the verb itself says what is allowed
        fitting = repair(recipe, chip, ways=named, neuron_price=neuron_price, out=out, set=set or ())
        answer(fitting, str(fitting), as_json=as_json, passed=fitting.passed)


@app.command()
def mix(
    recipe: Recipe,
    bytes: Annotated[
        int | None, typer.Option("--bytes", metavar="N", help="The most that the weights of all layers may take.")
    ] = None,
    bits: Annotated[
        float | None, typer.Option("--bits", metavar="B", help="Of a weight, in the mean over the chosen layers.")
    ] = None,
    energy: Annotated[
        float | None, typer.Option("--energy", metavar="PJ", help="The most that one inference may take, in pJ.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="T", help="Time steps; else the recipe's.")] = None,
    choose_steps: Annotated[
        bool, typer.Option("--choose-steps", help="Choose the time steps too, within --energy.")
    ] = False,
    out: NewRecipe = None,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Find bits per layer under a budget of bytes or energy.

    They follow from the sensitivity of the layers; the recipe with them is written.
    """
    with guarded():
        from bitspike.verbs.mix import mix as search

        mixture = search(
            recipe,
            bytes=bytes,
            bits=bits,
            energy=energy,
            steps=steps,
            choose_steps=choose_steps,
            out=out,
            set=set or (),
        )
        answer(mixture, str(mixture), as_json=as_json)


@app.command()
def export(
    network: Network,
    format: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="What to write.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", help="The folder (c, loihi, verilog) or file (nir, onnx).")
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            metavar="FORM",
            help="onnx: step (usual), sequence, count, qonnx, qonnx-readouts. nir: integer (usual) or real units.",
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="READER",
            help="nir: said so that norse, sinabs, snntorch or spikingjelly runs every spike.",
        ),
    ] = None,
    lanes: Annotated[
        int | None,
        typer.Option("--lanes", metavar="N", help="verilog: channels of a layer that are computed at once; usual 16."),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            metavar="BOARD",
            autocompletion=boards,
            help="c: cortex-m0, cortex-m4, riscv32, avr or host (usual): start-up code, linker script, make qemu.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a network as C, NIR, ONNX or Verilog, or for Loihi."""
    with guarded():
        from bitspike.verbs.export import export as write

        path = write(network, format, out, form=form, reader=reader, lanes=lanes, board=board)
        said: dict[str, Any] = {"format": format, "path": str(path)} | ({"board": board} if board else {})
        shown = f"written: {path}"
        if format == "c":
            from bitspike.formats.c import c_memory
            from bitspike.runs.saved import read_network

            memory = c_memory(read_network(network))
            said["memory"] = asdict(memory)
            shown += f"\n{memory.table()}"
        answer(said, shown, as_json=as_json)


@app.command()
def energy(
    network: Network,
    table: Annotated[
        str, typer.Option("--table", metavar="NAME|FILE", help="The energies of operations.")
    ] = "horowitz-45nm",
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", metavar="N", help="Run so many test images of the run; without it the golden vectors count."
        ),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Bill memory accesses as well.")] = False,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Say what one inference costs, operation by operation.

    Next to it stands the same network without spikes.
    """
    with guarded():
        from bitspike.hardware.energy.operations import MemoryModel
        from bitspike.verbs.energy import energy as bill

        report = bill(network, table=table, memory=MemoryModel() if memory else None, samples=samples, set=set or ())
        answer(report, str(report), as_json=as_json)


@app.command()
def cost(
    run: FinishedRun,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", help="Test images whose spikes read the weights.")
    ] = 100,
    devices: Devices = "rram-1t1r",
    table: CellTable = "horowitz-45nm",
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Say what the weights cost in the memory that they lie in.

    Cells, bits of SRAM, their area, and the energy of reading them.
    """
    with guarded():
        from bitspike.verbs.cost import cost as bill

        result = bill(run, samples=samples, devices=devices, table=table, set=set or ())
        answer(result, str(result), as_json=as_json)


@app.command()
def analyze(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run of kind convert.")],
    samples: Annotated[int, typer.Option("--samples", metavar="N", help="Test images to measure on.")] = 256,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where the ledger goes.")] = None,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Say where a converted network loses, layer by layer.

    The error ledger, its plots, and what to change.
    """
    with guarded():
        from bitspike.verbs.analyze import analyze as account

        ledger = account(run, samples=samples, out=out, set=set or ())
        page = (out or run / "ledger") / "ledger.html"
        answer(ledger, f"{ledger}\n  {'ledger':<15} {page}", as_json=as_json)


@app.command(name="yield")
def yield_(
    run: FinishedRun,
    chips: Annotated[int, typer.Option("--chips", metavar="N", help="How many chips are measured.")] = 20,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Of the first chip; the others count on.")] = 0,
    required: Annotated[
        float | None, typer.Option("--required", metavar="A", help="The accuracy from which a chip is good, 0 to 1.")
    ] = None,
    samples: FirstSamples = None,
    resolution: Annotated[int, typer.Option("--resolution", metavar="B", help="Bits with which cells are read.")] = 7,
    adapt: Annotated[
        int | None,
        typer.Option("--adapt", metavar="N", help="Measure the norms of chips again, with N images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the result goes; default RUN/yield.")
    ] = None,
    set: Sets = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure many chips, each with memory devices of its own.

    Mean, spread, worst, and the share that reaches an accuracy.
    """
    with guarded():
        from bitspike.runs.shown import shown
        from bitspike.verbs.yield_ import yield_ as measure

        with shown(sys.stderr, quiet=quiet) as watching:
            result = measure(
                run,
                chips=chips,
                seed=seed,
                required=required,
                samples=samples,
                resolution=resolution,
                adapt=adapt,
                out=out,
                set=set or (),
                observer=watching,
            )
        answer(result, str(result), as_json=as_json)


@app.command()
def pareto(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="The folders of finished runs on the same data.")
    ],
    by: Annotated[str, typer.Option("--by", metavar="energy|area|bits", help="The cost that is compared.")] = "energy",
    chips: Annotated[int, typer.Option("--chips", metavar="N", help="How many chips of each run are measured.")] = 20,
    samples: FirstSamples = None,
    devices: Devices = "rram-1t1r",
    table: CellTable = "horowitz-45nm",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where figure and table go.")] = Path("pareto"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare runs by the cost of their memory and what chips reach.

    A figure, a CSV, and the front: the runs that no other one beats.
    """
    with guarded():
        from bitspike.runs.shown import shown
        from bitspike.verbs.pareto import pareto as compare

        cost: Any = by  # the verb itself says what is allowed
        with shown(sys.stderr, quiet=quiet) as watching:
            result = compare(
                runs,
                by=cost,
                chips=chips,
                samples=samples,
                devices=devices,
                table=table,
                out=out,
                observer=watching,
            )
        answer(result, str(result), as_json=as_json)
