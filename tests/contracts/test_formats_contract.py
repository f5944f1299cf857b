"""Every format is a folder and a line of one table, and the table names what the writers take."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from typer.main import get_command

from bitspike import formats
from bitspike.cli import app
from bitspike.formats.nir.facts import Units
from bitspike.formats.nir.readers import Reader
from bitspike.formats.onnx.write import Mode
from bitspike.formats.table import FORMATS


def test_every_folder_of_formats_is_a_line_of_the_table() -> None:
    folders = {path.parent.name for path in Path(formats.__file__).parent.glob("*/__init__.py")}
    assert folders == set(FORMATS)


def test_the_words_of_the_table_are_those_of_the_writers() -> None:
    assert FORMATS["nir"].forms == get_args(Units)
    assert FORMATS["nir"].readers == get_args(Reader)
    assert FORMATS["onnx"].forms == get_args(Mode)


@pytest.mark.parametrize("name", FORMATS)
def test_a_writer_takes_what_its_line_says(name: str) -> None:
    entry = FORMATS[name]
    parameters = inspect.signature(entry.writer()).parameters
    offered = {entry.form, *["reader"] * bool(entry.readers), *["vectors"] * entry.vectors} - {""}
    assert offered <= {key for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    if entry.forms:
        assert parameters[entry.form].default == entry.forms[0]


def test_the_command_line_lists_the_formats() -> None:
    export = cast(Any, get_command(app)).commands["export"]
    (option,) = (parameter for parameter in export.params if parameter.name == "format")
    assert option.metavar == "|".join(FORMATS)
