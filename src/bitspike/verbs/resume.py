"""An unfinished run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitspike.arguments import checked
from bitspike.runs.folder import unfinished
from bitspike.runs.origin import go_on
from bitspike.runs.shown import watched
from bitspike.train import Observer, Observers
from bitspike.train.launch import rank
from bitspike.verbs.run import carried_out


@checked
def resume(run: str | Path, *, observer: Observer | None = None) -> dict[str, Any]:
    """Go on with an unfinished run, by what its folder says alone, and return its report as :func:`run` does.

    It ends at the same weights as one that was never stopped.

    Args:
        run: the run folder.
        observer: is called at every stage, batch and epoch; None shows them in a terminal and in a notebook.

    Raises:
        RunError: the folder is no run or a finished one, another process is at work in it, or what :func:`run` says.
        DataError: the images are missing or damaged.
    """
    folder = Path(run)
    chosen = unfinished(folder)
    with watched(observer) as seen:
        watching = Observers(seen) if rank() == 0 else Observer()
        return carried_out(chosen, folder, watching, resume=True, command=go_on(folder))
