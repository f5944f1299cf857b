"""Words that the command line does not take, said as every other error: what was found, and the way out."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from bitspike.cli.guard import say
from bitspike.errors import ConstraintError

_UsageError: Any = typer.BadParameter.__mro__[1]
"""Typer's own, by whichever package it comes with it."""


class Verbs(TyperGroup):
    """The verbs, whose wrong use is told in the words of this package."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        words = list(args)  # they are taken away one by one
        with _told(words):
            context = super().make_context(info_name, args, parent=parent, **extra)
        context.meta[__name__] = words
        return context

    def invoke(self, ctx: Any) -> Any:
        with _told(ctx.meta[__name__]):
            return super().invoke(ctx)


@contextmanager
def _told(words: Sequence[str]) -> Iterator[None]:
    """Say what is wrong with the words of a command line, and leave with exit code 2."""
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # that one is the help itself
            raise
        told = {"MissingParameter": _missing, "BadOptionUsage": _misused, "BadParameter": _refused}
        message, way = told.get(type(error).__name__, _wrong)(error, words)
        say(ConstraintError(f"{_command(error, words)}: {message}", fix=way), "error")
        raise typer.Exit(2) from None


def _missing(error: Any, words: Sequence[str]) -> tuple[str, str]:
    """Return what is missing, all options at once, and the command with it."""
    typed = {word.partition("=")[0] for word in words}
    absent = [p for p in error.ctx.command.params if p.required and _is_option(p) and not typed & {*p.opts}]
    if not _is_option(error.param):
        absent = [error.param, *absent]
    said = [f"{_name(p)} is missing{_about(p)}" for p in absent]
    more = " ".join(f"{p.opts[-1]} {_value(p)}" if _is_option(p) else _value(p) for p in absent)
    return "; ".join(said), f"{shlex.join(['bitspike', *words])} {more}"


def _misused(error: Any, words: Sequence[str]) -> tuple[str, str]:
    """Return that an option has no value, or a flag one."""
    if list(words[-1:]) == [error.option_name]:
        return f"{error.option_name} is without a value", f"{shlex.join(['bitspike', *words])} VALUE"
    return _lowered(error.format_message()), f"{_command(error, words)} --help"


def _refused(error: Any, words: Sequence[str]) -> tuple[str, str]:
    """Return what an option may be, in place of a value that it cannot be."""
    message = error.format_message()  # the words differ from version to version of typer, and these are in all
    if error.param is None:
        return _wrong(error, words)
    name, value = _name(error.param), _typed(error.param, words)
    if choices := re.findall("'([^']+)'", message.partition("is not one of ")[2]):
        near = difflib.get_close_matches(value, choices, n=1) or choices[:1]
        return f"{name} {value}: allowed are {', '.join(choices)}", f"{name} {near[0]}"
    if "valid integer" in message:
        return f"{name} {value}: needed is a whole number", f"{name} 4"
    if "valid number" in message or "valid float" in message:
        return f"{name} {value}: needed is a number", f"{name} 0.5"
    return _wrong(error, words)


def _typed(parameter: Any, words: Sequence[str]) -> str:
    """Return what was typed for an option; empty where it cannot be told."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, sign, value = word.partition("=")
        if name in parameter.opts:
            return value if sign else after
    return ""


def _command(error: Any, words: Sequence[str]) -> str:
    """Return the command that was typed, as far as it was understood."""
    return str(error.ctx.command_path) if error.ctx is not None else " ".join(["bitspike", *words[:1]])


def _lowered(message: str) -> str:
    return (message[:1].lower() + message[1:]).rstrip(".")


def _wrong(error: Any, words: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with a word that is there, and the nearest that is allowed."""
    context, near = error.ctx, sorted(getattr(error, "possibilities", None) or ())
    # Typer's own guesses stand after the first sentence; here they are the way out.
    message = re.split(r"\.? (?:Did you mean|\(Possible options)", error.format_message())[0].rstrip(".")
    if not near and hasattr(context.command, "list_commands"):
        last = context.command_path.split()[1:]
        verb = next((word for word in words if not word.startswith("-") and word not in last), "")
        known = difflib.get_close_matches(verb, context.command.list_commands(context), n=1)
        near = [f"{context.command_path} {name}" for name in known]
    return _lowered(message), ", or ".join(near) or f"{context.command_path} --help"


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _name(parameter: Any) -> str:
    return parameter.opts[-1] if _is_option(parameter) else _value(parameter)


def _value(parameter: Any) -> str:
    """Return the word that stands for a value in help texts."""
    return str(parameter.metavar or parameter.name.upper()).strip("[]").removesuffix("...")


def _about(parameter: Any) -> str:
    about = str(getattr(parameter, "help", "") or "").rstrip(".")
    return f" ({about[:1].lower()}{about[1:]})" if about else ""
