"""What is no argument at all is refused where it is given, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.integer.examples import one_convolution


def direct() -> nn.Module:
    return nn.Sequential(bs.Repeat(steps=2), bs.TimeDistributed(nn.Linear(4, 3)), bs.IF(), bs.SumReadout())


WRONG: dict[str, Callable[[], object]] = {
    "bs.over_time takes a network that bs.prepare has returned, found Linear": lambda: bs.over_time(nn.Linear(2, 2)),  # type: ignore[arg-type]
    "bs.finish takes a network that bs.prepare has returned, found Linear": lambda: bs.finish(
        nn.Linear(2, 2),  # type: ignore[arg-type]
        torch.zeros(1, 2),
    ),
    "tuple of them, found str": lambda: bs.lower(direct(), "x"),  # type: ignore[arg-type]
    "tuple of them, found NoneType": lambda: bs.lower(direct(), (torch.zeros(1, 4), None)),  # type: ignore[arg-type]
    "allowed are None and Method": lambda: bs.Engine(one_convolution(threshold=8), method="fast"),  # type: ignore[arg-type]
    "threads=0": lambda: bs.Engine(one_convolution(threshold=8), threads=0),
    "chunk=0": lambda: bs.Engine(one_convolution(threshold=8), chunk=0),
    "tolerance=-1": lambda: bs.Precision(tolerance=-1),
    "a module of torch has no integers yet": lambda: bs.energy(direct(), {}),  # type: ignore[call-overload]
    "a int is neither an integer network nor the folder of one": lambda: bs.verify(3),  # type: ignore[arg-type]
    "a float is neither an integer network nor": lambda: bs.energy(0.5),  # type: ignore[call-overload]
    "cost(IntegerNetwork): a network of torch or the folder": lambda: bs.cost(one_convolution()),  # type: ignore[arg-type]
    "tolerance=nan": lambda: bs.Precision(tolerance=float("nan")),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_argument_is_named_with_its_way_out(words: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        WRONG[words]()
    assert words in caught.value.message
    assert caught.value.fix


def test_the_ways_out_are_ways() -> None:
    prepared = bs.prepare(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        torch.rand(4, 4),
        steps=2,
        calibrate=torch.rand(8, 4),
    )
    bs.over_time(prepared)
    bs.finish(prepared, torch.rand(1, 4))
    assert bs.lower(direct(), torch.rand(8, 4)[:1]).nodes


@pytest.mark.parametrize("caller", ["simulate", "encode", "Engine", "save", "write_c", "write_nir", "write_onnx"])
@pytest.mark.parametrize("what", [nn.Sequential(bs.Repeat(steps=2), bs.IF()), "network/", None], ids=type)
def test_what_is_no_integer_network_is_told_with_the_way_to_one(caller: str, what: object, tmp_path: Path) -> None:
    second = {"simulate": np.zeros((1, 1, 2), int), "encode": torch.zeros(1, 2)}.get(caller, tmp_path / "out")
    with pytest.raises(bs.ConstraintError, match=rf"{caller}\({type(what).__name__}\)(?s:.*)fix: bs.lower.*bs.load"):
        getattr(bs, caller)(what, *(() if caller == "Engine" else (second,)))
    assert not (tmp_path / "out").exists()
