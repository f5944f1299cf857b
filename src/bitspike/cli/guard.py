"""Errors become one message and an exit code: 1 where a check's answer is no, else 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from bitspike.cli.wrap import wrapped
from bitspike.errors import BitspikeError, CheckFailed


@contextmanager
def guarded() -> Iterator[None]:
    """Print an error inside the block as one message and leave with its exit code.

    BITSPIKE_DEBUG=1 in the environment shows where it came from. An error that nobody foresaw always does.
    """
    try:
        yield
    except CheckFailed as error:
        say(error, "check failed")
        raise typer.Exit(1) from None
    except BitspikeError as error:
        say(error, "error")
        raise typer.Exit(2) from None
    except KeyboardInterrupt as error:
        say(error, "interrupted")
        raise typer.Exit(2) from None
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001  the last one to hear of it
        traceback.print_exc()
        typer.echo(f"this is a fault of bitspike, not yours: {type(error).__name__}", err=True)
        raise typer.Exit(2) from None


def say(error: BaseException, word: str) -> None:
    """Write an error to stderr, with its way out."""
    if os.environ.get("BITSPIKE_DEBUG") == "1":
        traceback.print_exc()
    # Under torchrun the first process speaks for all; the others only where they met trouble of their own.
    rank = int(os.environ.get("RANK", "0")) if "TORCHELASTIC_RUN_ID" in os.environ else 0
    if rank and not isinstance(error, BitspikeError):
        return
    begin = f"{word} (process {rank})" if rank else word
    message, sign, way = str(error).partition("\n  fix: ")
    if sys.stderr.isatty():
        message = wrapped(f"{begin}: {message}").removeprefix(f"{begin}: ")
    text = message + (f"\n  {colored('fix:', 'green')} {way}" if sign else "")
    said = colored(begin, "red")
    typer.echo(f"{said}: {text}" if text else said, err=True)


def colored(text: str, color: str) -> str:
    """Return text in bold and in a color, for terminals that have some; what is not a terminal gets it plain.

    No color is used where the environment says NO_COLOR (https://no-color.org) or TERM=dumb.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return typer.style(text, fg=color, bold=True)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Say what bitspike warns of in one line, without a place in its source; other warnings are shown as ever."""
    shown = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], filename: str, *place: Any, **more: Any) -> None:
        if category is UserWarning and "bitspike" in Path(filename).parts:
            typer.echo(f"{colored('warning', 'yellow')}: {message}", err=True)
        else:
            shown(message, category, filename, *place, **more)

    warnings.showwarning = say
    try:
        yield
    finally:
        warnings.showwarning = shown


@contextmanager
def stop_at_termination() -> Iterator[None]:
    """Let SIGTERM, by which systems stop a job, end a run as Ctrl-C does: with a message and whole files only."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
