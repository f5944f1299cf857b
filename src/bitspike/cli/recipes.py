"""The verbs of recipes: recipes, which lists them or shows one, and new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bitspike.cli.app import Json, Recipe, Sets, answer, app
from bitspike.cli.guard import guarded
from bitspike.errors import command

listing = typer.Typer(invoke_without_command=True)
app.add_typer(listing, name="recipes")


@listing.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the shipped recipes, their papers and expected figures; 'show NAME' prints one of them."""
    if context.invoked_subcommand is not None:
        return
    with guarded():
        from bitspike.verbs.recipes import recipes as listed

        rows = listed()
        answer(rows, "\n".join(map(_recipe_lines, rows)), as_json=as_json)


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
    """Write a small recipe of your own, with a comment at every choice; it runs as it is."""
    with guarded():
        from bitspike.verbs.new import new as write

        path = write(name, out=out)
        answer({"path": str(path)}, f"written: {path}; now: {command('run', path)}", as_json=as_json)


def _recipe_lines(row: dict[str, Any]) -> str:
    weights = "float weights" if row["bits"] == 32 else f"{row['bits']}-bit weights"
    lines = [f"{row['name']}: {row['model']} on {row['data']}, {weights}, T = {row['steps']}", f"  {row['question']}"]
    # Of a recipe in stages each may have its own figures, and those of the recipe are of the last one.
    for name, figures in (row["stages"] or {"": row}).items():
        stage = f"stage {name}, " if name else ""
        if figures["published"] is not None:
            lines.append(f"  published  {figures['published']['value']:.2%}  ({stage}{figures['published']['source']})")
        if figures["expected"] is not None:
            lines.append(f"  expected   {figures['expected']:.2%} or more" + (f"  ({stage[:-2]})" if stage else ""))
    if row["paper"] is not None:
        lines.append(f"  paper      {row['paper']['authors']}: {row['paper']['title']}. {row['paper']['venue']}")
    return "\n".join(lines)
