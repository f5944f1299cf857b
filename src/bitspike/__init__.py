"""Low-bit spiking neural networks that are provably the same on the chip as in training.

Train a spiking network with weights of 1 to 8 bits, lower it to integers, prove that the integers reproduce every
spike. Names are loaded on first use, so importing the package costs nothing and touches no device, network or disk.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bitspike.errors import BitspikeError as BitspikeError
    from bitspike.errors import CheckFailed as CheckFailed
    from bitspike.errors import ConstraintError as ConstraintError
    from bitspike.errors import ConversionError as ConversionError
    from bitspike.errors import DataError as DataError
    from bitspike.errors import ExportError as ExportError
    from bitspike.errors import LoweringError as LoweringError
    from bitspike.errors import PackageError as PackageError
    from bitspike.errors import RecipeError as RecipeError
    from bitspike.errors import RunError as RunError
    from bitspike.formats.c import write_c as write_c
    from bitspike.formats.nir import read_nir as read_nir
    from bitspike.formats.nir import write_nir as write_nir
    from bitspike.formats.onnx import write_onnx as write_onnx
    from bitspike.graph.conversion import Conversion as Conversion
    from bitspike.graph.conversion import conversion_of as conversion_of
    from bitspike.graph.conversion import spiking_part as spiking_part
    from bitspike.graph.convert import convert as convert
    from bitspike.graph.convert import finish as finish
    from bitspike.graph.finetune import prepare as prepare
    from bitspike.graph.over_time import over_time as over_time
    from bitspike.graph.thresholds import MaxThreshold as MaxThreshold
    from bitspike.graph.thresholds import MSEThreshold as MSEThreshold
    from bitspike.graph.thresholds import PercentileThreshold as PercentileThreshold
    from bitspike.integer.agreement import Agreement as Agreement
    from bitspike.integer.agreement import compare as compare
    from bitspike.integer.count import count as count
    from bitspike.integer.engine import Engine as Engine
    from bitspike.integer.fit_neuron import Precision as Precision
    from bitspike.integer.host import decode as decode
    from bitspike.integer.host import encode as encode
    from bitspike.integer.lower import lower as lower
    from bitspike.integer.network import IntegerNetwork as IntegerNetwork
    from bitspike.integer.package import load as load
    from bitspike.integer.package import save as save
    from bitspike.integer.replay import Certificate as Certificate
    from bitspike.integer.simulate import simulate as simulate
    from bitspike.integer.widths import widths as widths
    from bitspike.journeys import analyze as analyze
    from bitspike.journeys import check as check
    from bitspike.journeys import energy as energy
    from bitspike.journeys import evaluate as evaluate
    from bitspike.journeys import export as export
    from bitspike.journeys import fit as fit
    from bitspike.journeys import recipes as recipes
    from bitspike.journeys import run as run
    from bitspike.journeys import verify as verify
    from bitspike.journeys.doctor import doctor as doctor
    from bitspike.nn import IF as IF
    from bitspike.nn import LIF as LIF
    from bitspike.nn import PLIF as PLIF
    from bitspike.nn import BernoulliCoder as BernoulliCoder
    from bitspike.nn import Chain as Chain
    from bitspike.nn import Neuron as Neuron
    from bitspike.nn import QuantReLU as QuantReLU
    from bitspike.nn import RateCoder as RateCoder
    from bitspike.nn import RateReadout as RateReadout
    from bitspike.nn import Repeat as Repeat
    from bitspike.nn import ShiftBatchNorm as ShiftBatchNorm
    from bitspike.nn import SignedIF as SignedIF
    from bitspike.nn import SumReadout as SumReadout
    from bitspike.nn import ThresholdBatchNorm as ThresholdBatchNorm
    from bitspike.nn import TimeDistributed as TimeDistributed
    from bitspike.nn import checkpoint_layers as checkpoint_layers
    from bitspike.nn import fire as fire
    from bitspike.nn import fuse as fuse
    from bitspike.nn import set_steps as set_steps
    from bitspike.ops.grids import Grid as Grid
    from bitspike.ops.surrogate import ArcTan as ArcTan
    from bitspike.ops.surrogate import PiecewiseExponential as PiecewiseExponential
    from bitspike.ops.surrogate import Rectangle as Rectangle
    from bitspike.ops.surrogate import Sigmoid as Sigmoid
    from bitspike.ops.surrogate import Triangle as Triangle
    from bitspike.weights import APoT as APoT
    from bitspike.weights import Binary as Binary
    from bitspike.weights import DoReFa as DoReFa
    from bitspike.weights import Dyadic as Dyadic
    from bitspike.weights import FixedPoint as FixedPoint
    from bitspike.weights import Lognormal as Lognormal
    from bitspike.weights import Midrise as Midrise
    from bitspike.weights import PowerOfTwo as PowerOfTwo
    from bitspike.weights import Ternary as Ternary
    from bitspike.weights import Uniform as Uniform
    from bitspike.weights import attach as attach
    from bitspike.weights import codes as codes
    from bitspike.weights import detach as detach
    from bitspike.weights import penalties as penalties

# Where each public name lives. A test pins this table and checks it against the imports above.
_HOMES: dict[str, tuple[str, ...]] = {
    "bitspike.errors": (
        "BitspikeError",
        "CheckFailed",
        "ConstraintError",
        "ConversionError",
        "DataError",
        "ExportError",
        "LoweringError",
        "PackageError",
        "RecipeError",
        "RunError",
    ),
    "bitspike.ops.surrogate": ("ArcTan", "PiecewiseExponential", "Rectangle", "Sigmoid", "Triangle"),
    "bitspike.ops.grids": ("Grid",),
    "bitspike.nn": (
        "IF",
        "LIF",
        "PLIF",
        "BernoulliCoder",
        "Chain",
        "Neuron",
        "QuantReLU",
        "RateCoder",
        "RateReadout",
        "Repeat",
        "ShiftBatchNorm",
        "SignedIF",
        "SumReadout",
        "ThresholdBatchNorm",
        "TimeDistributed",
        "checkpoint_layers",
        "fire",
        "fuse",
        "set_steps",
    ),
    "bitspike.graph.conversion": ("Conversion", "conversion_of", "spiking_part"),
    "bitspike.graph.convert": ("convert", "finish"),
    "bitspike.graph.finetune": ("prepare",),
    "bitspike.graph.over_time": ("over_time",),
    "bitspike.graph.thresholds": ("MSEThreshold", "MaxThreshold", "PercentileThreshold"),
    "bitspike.weights": (
        "APoT",
        "Binary",
        "DoReFa",
        "Dyadic",
        "FixedPoint",
        "Lognormal",
        "Midrise",
        "PowerOfTwo",
        "Ternary",
        "Uniform",
        "attach",
        "codes",
        "detach",
        "penalties",
    ),
    "bitspike.integer.count": ("count",),
    "bitspike.formats.c": ("write_c",),
    "bitspike.formats.nir": ("read_nir", "write_nir"),
    "bitspike.formats.onnx": ("write_onnx",),
    "bitspike.integer.engine": ("Engine",),
    "bitspike.integer.network": ("IntegerNetwork",),
    "bitspike.integer.fit_neuron": ("Precision",),
    "bitspike.integer.lower": ("lower",),
    "bitspike.integer.host": ("decode", "encode"),
    "bitspike.integer.package": ("load", "save"),
    "bitspike.integer.simulate": ("simulate",),
    "bitspike.integer.replay": ("Certificate",),
    "bitspike.integer.agreement": ("Agreement", "compare"),
    "bitspike.integer.widths": ("widths",),
    "bitspike.journeys": (
        "analyze",
        "check",
        "energy",
        "evaluate",
        "export",
        "fit",
        "recipes",
        "run",
        "verify",
    ),
    "bitspike.journeys.doctor": ("doctor",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 (all of them are names)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bitspike' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
