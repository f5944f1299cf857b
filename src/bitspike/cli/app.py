"""The application that the verbs belong to, and the options that several of them share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bitspike.cli.completion import chips, keys, recipes
from bitspike.cli.usage import Verbs
from bitspike.cli.wrap import wrapped

app = typer.Typer(
    name="bitspike",
    cls=Verbs,
    help="Low-bit spiking neural networks that are provably the same on the chip as in training.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a value of the recipe; may be repeated.",
        autocompletion=keys,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; errors and warnings are still said.")]
Recipe = Annotated[
    str,
    typer.Argument(help="A shipped recipe's name, or the path of a YAML file.", autocompletion=recipes),
]
FinishedRun = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
Network = Annotated[str, typer.Argument(help="The folder of a saved network, or of a run.")]
OnChip = Annotated[
    str,
    typer.Option("--chip", metavar="NAME|FILE", help="A shipped profile, or a TOML file.", autocompletion=chips),
]


def answer(result: Any, text: str, *, as_json: bool, passed: bool = True) -> None:
    """Print a result, as JSON or as text, and leave with exit code 1 where it is the "no" of a check."""
    plain = result.to_dict() if hasattr(result, "to_dict") else result
    # What is not a terminal, a file or another program, gets every line whole.
    typer.echo(json.dumps(plain, indent=1) if as_json else wrapped(text) if sys.stdout.isatty() else text)
    if not passed:
        raise typer.Exit(1)
