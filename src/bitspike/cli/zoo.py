"""The verb of trained networks that come with the package: zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitspike.cli.app import Json, answer, app
from bitspike.cli.completion import networks
from bitspike.cli.guard import guarded
from bitspike.errors import ConstraintError


@app.command()
def zoo(
    name: Annotated[
        str | None, typer.Argument(help="Of a network; none lists them all.", autocompletion=networks)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Unpack the network here, as a finished run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the trained networks of the package, show or unpack one.

    An unpacked one is a finished run, on which the other verbs work.
    """
    with guarded():
        from bitspike import zoo as shelf
        from bitspike.zoo.entry import table_of

        if name is None:
            if out is not None:
                raise ConstraintError("--out unpacks one network, and none is named", fix="bitspike zoo NAME --out DIR")
            entries = [shelf.about(each) for each in shelf.names()]
            answer([e.to_dict() for e in entries], str(table_of(entries)), as_json=as_json)
            return
        entry = shelf.about(name)
        text = str(entry)
        if out is not None:
            shelf.unpack(name, out)
            text += f"\n  {'unpacked':<12} {out}"
        answer(entry.to_dict(), text, as_json=as_json)
