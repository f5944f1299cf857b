"""Whatever takes a number refuses a word, a list and NaN by name: no TypeError from somewhere inside, and no guess."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bitspike as bs
import bitspike.recipe.words
from bitspike.arguments import _numbers_of, checked, fits
from bitspike.errors import ConstraintError
from bitspike.integer.examples import one_convolution
from bitspike.recipe.words.value import Value

X = torch.zeros(2, 4)
MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
LOADER = [(X, torch.zeros(2, dtype=torch.long))]
RESULTS = ["Agreement", "Certificate", "Dyadic", "IntegerNetwork"]
"""Public names that users read and do not build, and what nodes of integers check with its place."""
GIVEN: dict[str, Any] = {
    "bits": 4,
    "steps": 2,
    "epochs": 1,
    "seed": 0,
    "decay": 0.5,
    "threshold": 1.0,
    "confidence": 0.9,
    "step": 1,
    "seconds": 100.0,
    "sigma": 0.3,
    "sigmas": (0.1, 0.2),
    "epsilon": 0.1,
    "channels": 3,
    "scale": 1.0,
    "weight": 0.5,
    "low": 0,
    "high": 3,
    "value": 0.5,
    "numerator": 1,
    "shift": 1,
    "depth": 9,
    "frames": 2,
    "of": 4,
    "window": 5,
    "pixels": 1,
    "limit": 1.0,
    "milestones": (0.5,),
    "gain": 1.0,
    "format": "c",
    "out": "nowhere/out",
    "seeds": (0,),
    "levels": (-1, 1),
    "shape": (2,),
    "axes": (0,),
    "before": (1,),
    "after": (1,),
    "factors": (2,),
    "start": 0,
    "stop": 1,
    "parts": (bs.Lognormal(0.1),),
    "strength": 0.1,
    "area": (0.5, 1.0),
    "model": MODEL,
    "network": MODEL,
    "net": one_convolution(),
    "example": X,
    "calibrate": X,
    "inputs": X,
    "batches": LOADER,
    "train_loader": LOADER,
    "images": X,
    "run": "nowhere",
    "recipe": "quickstart",
    "name": "digits",
    "root": "nowhere",
    "loader": LOADER,
    "quantized": None,
    "data": LOADER,
    "set": None,
    "per_step": 1,
    "grid": None,
    "path": "nowhere",
    "codes": None,
    "runs": ["nowhere"],
}


def targets() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield what users call: public names, what words of recipes make, and the models."""
    found = {name: getattr(bs, name) for name in bs.__all__ if name not in RESULTS}
    for module in pkgutil.iter_modules(bitspike.recipe.words.__path__, "bitspike.recipe.words."):
        for word in vars(importlib.import_module(module.name)).values():
            if isinstance(word, type) and issubclass(word, Value) and (makes := vars(word).get("makes")):
                found.setdefault(makes.rpartition(":")[2], pkgutil.resolve_name(makes))
    found |= {f"{name}.for_bits": target.for_bits for name, target in found.items() if hasattr(target, "for_bits")}
    yield from sorted(
        (n, t)
        for n, t in found.items()
        if callable(t) and not inspect.isabstract(t) and t.__module__.startswith("bitspike")
    )


def numbers(target: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Return the parameters that take numbers, each with its annotation."""
    try:
        function, owner = (target.__init__, target) if isinstance(target, type) else (target, None)
        return [(name, hint) for name, (hint, _) in _numbers_of(inspect.unwrap(function), owner).items()]
    except ValueError:  # a class without a signature
        return []


CASES = [(name, target, *number) for name, target in targets() for number in numbers(target)]


def test_the_shape_of_an_array_is_no_number() -> None:
    """As NumPy 2.2 annotates arrays; a mapping of them was refused as a number there, with an error of Python."""

    def keep(vectors: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]], steps: int) -> None:
        del vectors, steps

    assert [name for name, _ in numbers(keep)] == ["steps"]


def test_there_are_many() -> None:
    assert len(CASES) > 200
    assert {"ConfidenceExit", "LIF", "yield_", "MeanAbs", "AdamW", "Lognormal.for_bits", "vgg9"} <= {
        c[0] for c in CASES
    }


@pytest.mark.parametrize(("name", "target", "parameter", "hint"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_what_is_no_number_is_refused_by_name_with_a_way_out(
    name: str, target: Callable[..., Any], parameter: str, hint: Any
) -> None:
    needed = [p for p in inspect.signature(target).parameters.values() if p.default is p.empty]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    words = {p.name: GIVEN[p.name] for p in needed if p.name != parameter and p.kind not in several}
    parts = GIVEN["parts"] if any(p.name == "parts" and p.kind is p.VAR_POSITIONAL for p in needed) else ()
    for value in ("one", object(), float("nan"), True, [[]]):
        if fits(value, hint):
            continue
        with pytest.raises(ConstraintError) as caught:
            called(target, parts, {**words, parameter: value})
        assert parameter in caught.value.message or f"{target.__name__}({value!r})" in caught.value.message
        assert caught.value.fix is not None


def called(target: Callable[..., Any], parts: tuple[Any, ...], arguments: dict[str, Any]) -> None:
    """Call a class or function; one that is a block says what is wrong when the block begins."""
    result = target(*parts, **arguments)
    if hasattr(result, "__enter__"):
        result.__enter__()


def test_the_way_out_is_what_was_meant_where_that_is_known() -> None:
    for build, way in (
        (lambda: bs.ConfidenceExit("0.9"), "confidence=0.9"),  # type: ignore[arg-type]
        (lambda: bs.models.vgg9(steps="4"), "steps=4"),  # type: ignore[arg-type]
        (lambda: bs.models.vgg9(steps=4.0), "steps=4"),  # type: ignore[arg-type]
        (lambda: bs.LevelLognormal(0.1), "sigmas=(0.1,)"),  # type: ignore[arg-type]
        (lambda: bs.Constrained(3), "levels=(3,)"),  # type: ignore[arg-type]
        (lambda: bs.LIF(0.5, threshold="high"), "threshold=1.0"),  # type: ignore[arg-type]
        (lambda: bs.Drift("1h"), "seconds=a number"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConstraintError) as caught:
            build()
        assert caught.value.fix == way


def test_a_class_of_ones_own_is_called_by_its_name() -> None:
    class Mine(bs.LIF):
        def __init__(self, leak: Any) -> None:
            super().__init__(leak)

    with pytest.raises(ConstraintError, match=r"^Mine\(decay='a'\): a number is needed"):
        Mine("a")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConstraintError) as caught:
        bs.yield_(nn.Linear(1, 1), chips="3", required="0.9")  # type: ignore[arg-type]
    assert caught.value.fix == "chips=3, required=0.9"
    assert len(caught.value.message.splitlines()) == 2


def test_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np

    assert bs.LIF(np.float32(0.5)).decay == 0.5
    assert bs.Lognormal(torch.tensor(0.25)).sigma == 0.25  # type: ignore[arg-type]
    assert fits(np.int64(3), int)
    assert not fits(np.float64(3), int)
    assert not fits(torch.tensor(3), int)


def test_a_checked_function_keeps_its_name_signature_and_defaults() -> None:
    @checked
    def leak(decay: float, /, steps: int = 2, *, more: tuple[float, float] = (0.0, 1.0), **rest: int) -> float:
        """Decay."""
        return decay**steps

    assert (leak.__name__, leak.__doc__, leak(0.5)) == ("leak", "Decay.", 0.25)
    assert list(inspect.signature(leak).parameters) == ["decay", "steps", "more", "rest"]
    with pytest.raises(ConstraintError, match=r"more=\[1.0\]\): a list of 2 numbers is needed"):
        leak(0.5, more=[1.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [np.int64(4), np.uint8(4), np.arange(5)[-1]], ids=repr)
def test_whole_numbers_of_numpy_are_whole_numbers(number: Any) -> None:
    schemes = [kind(number) for kind in (bs.Uniform, bs.PowerOfTwo, bs.APoT, bs.DoReFa, bs.Midrise)]
    assert [type(scheme.bits) for scheme in schemes] == [int] * 5
    assert bs.Uniform(bits=number) == bs.Uniform(4)
    assert type(bs.Membrane(bits=number).bits) is int
    assert len(bs.Repeat(steps=number)(torch.zeros(1, 2))) == 4
