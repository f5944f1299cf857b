"""The command line: verbs, options, exit codes. Results go to stdout, progress and messages to stderr.

Everything heavy is imported inside a verb, so ``--help`` answers at once and needs no torch. Exit codes: 0 fine,
1 a check failed, 2 wrong use.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from bitspike.cli import recipes, runs, to_chip, zoo
from bitspike.cli.app import app
from bitspike.cli.guard import plain_warnings, stop_at_termination

__all__ = ["app", "main", "recipes", "runs", "to_chip", "zoo"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after ``bitspike``; None takes those of the process.
    """
    # Threads that wait for each other sleep instead of spinning. With other programs on the same two cores an epoch of
    # the quickstart takes 0.9 s instead of 2 to 6 s. OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with stop_at_termination(), plain_warnings():
        try:
            app(args=None if argv is None else list(argv), prog_name="bitspike")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        from bitspike import __version__

        typer.echo(f"bitspike {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version
