"""A new chip is one TOML file and so is a new technology: every verb takes them, and no code changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.hardware_networks import Builder

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.hardware.chips import chip as chips
from bitspike.hardware.chips.plan_repairs import plan
from bitspike.hardware.energy import technology
from bitspike.integer.examples import one_convolution

CHIP = """
format = 1
name = "tiny"
description = "A neuron adds at most 100 weights of 1, 2 or 4 bits."
weight_bits = [1, 2, 4]
reset = ["soft"]
bias = "none"

[[rules]]
name = "synapses"
cost = "taps * inputs / groups"
limit = 100

[[rules]]
name = "neurons of a core"
cost = "neurons"
limit = 2000
per = "layer"
applies_to = ["convolution"]
code = "E111"
"""

TABLE = """
format = 1
name = "imagined-7nm"
process = "7 nm, imagined for this test"
sources = ["nobody"]
add_pj = { int8 = 0.001, int32 = 0.004, float32 = 0.1 }
multiply_pj = { int8 = 0.01, int32 = 0.16, float32 = 0.4 }
"""


def _network(inputs: int, bits: int) -> bs.IntegerNetwork:
    builder = Builder((inputs, 6, 6))
    builder.conv("conv", 32, bits=bits)
    builder.neuron("neuron")
    return builder.build()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the folders of shipped files, with the new ones in them."""
    for module, folder, name, text in (
        (chips, "PROFILES", "tiny", CHIP),
        (technology, "TABLES", "imagined-7nm", TABLE),
    ):
        copy = shutil.copytree(getattr(module, folder), tmp_path / folder)
        (copy / f"{name}.toml").write_text(text)
        monkeypatch.setattr(module, folder, copy)
    return tmp_path


def test_a_chip_in_a_file_is_checked_and_repaired_for(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(CHIP)
    assert bs.check(_network(8, bits=4), chip=path).passed
    report = bs.check(_network(16, bits=3), chip=path)
    assert [(v.code, v.measured, v.limit) for v in report.errors] == [("E108", 3, 4), ("E102", 144, 100)]
    (repair,) = plan(_network(16, bits=4), path, ways=("groups",))
    assert (repair.kind, repair.groups, repair.cost) == ("groups", 2, 72)


def test_a_chip_in_the_folder_has_a_name(shipped: Path) -> None:
    assert "tiny" in chips.names()
    assert bs.check(_network(16, bits=4), chip="tiny").chip == "tiny"
    with pytest.raises(ConstraintError, match="tiny"):  # the list of names in a refusal
        bs.check(one_convolution(), chip="tinny")


def test_a_technology_in_a_file_or_in_the_folder_bills(tmp_path: Path, shipped: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE)
    net = _network(8, bits=4)
    activity = {node.id: np.ones(node.shape) for node in (*net.inputs, *net.neurons)}
    by_file, by_name = (bs.energy(net, activity, table=table) for table in (path, "imagined-7nm"))
    assert by_file.table == by_name.table == "imagined-7nm"
    assert 0 < by_file.energy_pj == by_name.energy_pj < bs.energy(net, activity).energy_pj
