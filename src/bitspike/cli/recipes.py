"""The verbs of recipes: recipes, which lists them or shows one, new, and fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitspike.cli.app import Json, Recipe, Sets, answer, app
from bitspike.cli.guard import guarded
from bitspike.cli.shelf import table_of
from bitspike.errors import command

listing = typer.Typer(invoke_without_command=True)
app.add_typer(listing, name="recipes")


@listing.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the shipped recipes; 'show NAME' prints one of them.

    With their papers, published and expected figures, data, and time.
    """
    if context.invoked_subcommand is not None:
        return
    with guarded():
        from bitspike.verbs.recipes import recipes as listed

        rows = listed()
        answer(rows, table_of(rows), as_json=as_json)


@listing.command()
def show(
    recipe: Recipe,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Print a recipe as it is written, to read or to copy; with --set or --json all of its values."""
    with guarded():
        from bitspike.recipe import load
        from bitspike.recipe.load import text_of

        values = load(recipe, set or ()).model_dump(mode="json") if as_json else None
        answer(values, "" if as_json else text_of(recipe, set or ()).rstrip("\n"), as_json=as_json)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the recipe is called.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where it goes; default NAME.yaml.")] = None,
    as_json: Json = False,
) -> None:
    """Write a small recipe of your own, which runs as it is.

    It has a comment at every choice.
    """
    with guarded():
        from bitspike.verbs.new import new as write

        path = write(name, out=out)
        answer({"path": str(path)}, f"written: {path}; now: {command('run', path)}", as_json=as_json)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Recipes, image sets or files of weights.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where to; default BITSPIKE_DATA, or the user's cache.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch the published images and weights that recipes need.

    Without a name: what can be fetched, and what is here already.
    """
    with guarded():
        from bitspike.verbs.fetch import fetch as bring

        assets = bring(*names or (), root=root)
        if names:
            lines = [f"{a.name}: {a.about}\n  in    {a.path}\n  from  {a.source}" for a in assets]
        else:
            lines = [f"{a.name:<21} {a.about:<40} {'here' if a.there else 'not here'}" for a in assets]
            lines.append("bitspike fetch NAME brings one of them, or all that a recipe of this name needs")
        answer([a.to_dict() for a in assets], "\n".join(lines) or "nothing is missing", as_json=as_json)
