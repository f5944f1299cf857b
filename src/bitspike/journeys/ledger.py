"""Where a converted network loses, measured on the test images of its run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bitspike.analysis.errors import Ledger
from bitspike.analysis.ledger import analyze as account
from bitspike.errors import RunError
from bitspike.journeys import build as b
from bitspike.journeys.folder import opened
from bitspike.journeys.ways import way_of
from bitspike.recipe import ConvertRecipe, load
from bitspike.train.checkpoint import load_weights


def analyze(
    run: str | Path, *, samples: int = 256, out: str | Path | None = None, set: Iterable[str] = ()
) -> tuple[Ledger, Path]:
    """Account for the gap between a converted network and the float network it came from, layer by layer.

    Args:
        run: the folder of a finished run of kind ``convert``.
        samples: test images to measure on.
        out: receives the ledger; None is ``ledger/`` in the run folder.
        set: changes to the recipe, such as ``data.root=FOLDER`` or ``convert.steps=32``.

    Returns:
        the ledger, and the page that it was written to.

    Raises:
        RunError: there is no finished run, or nothing was converted in it. DataError: the images are missing.
    """
    folder = Path(run)
    recipe, _ = opened(folder)
    recipe = load(recipe, set)
    if not isinstance(recipe, ConvertRecipe):
        raise RunError(
            f"the run in {folder} trained a spiking network; there is no float network to compare it with",
            fix=f"bitspike evaluate {folder}, and report.html for what its neurons do",
        )
    data = b.build_data(recipe)
    way = way_of(recipe, data)
    model = way.start(weights=False)
    load_weights(model, folder / "model.safetensors")
    test = b.evaluation_batches(recipe, data, data.test)
    ledger = account(way.finish(model).network, test, samples=samples, seed=recipe.seed)
    return ledger, ledger.write(folder / "ledger" if out is None else Path(out))
