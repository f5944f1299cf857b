"""Low-bit spiking neural networks that are provably the same on the chip as in training.

Train a spiking network with weights of 1 to 8 bits, lower it to integers, prove that the integers reproduce every
spike. Names are loaded on first use, so importing the package costs nothing and touches no device, network or disk.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bitspike.analysis.exits.rules import ConfidenceExit as ConfidenceExit
    from bitspike.analysis.exits.rules import FixedExit as FixedExit
    from bitspike.analysis.exits.rules import GammaExit as GammaExit
    from bitspike.analysis.exits.study import early_exit as early_exit
    from bitspike.analysis.summary import summary as summary
    from bitspike.conversion.calibrate.thresholds import MaxThreshold as MaxThreshold
    from bitspike.conversion.calibrate.thresholds import MSEThreshold as MSEThreshold
    from bitspike.conversion.calibrate.thresholds import PercentileThreshold as PercentileThreshold
    from bitspike.conversion.convert import convert as convert
    from bitspike.conversion.convert import finish as finish
    from bitspike.conversion.finetune.over_time import over_time as over_time
    from bitspike.conversion.finetune.prepare import prepare as prepare
    from bitspike.conversion.quantized.layerwise import tune_layers as tune_layers
    from bitspike.conversion.quantized.mismatch import mismatch as mismatch
    from bitspike.conversion.quantized.over_time import spiking_twin as spiking_twin
    from bitspike.conversion.quantized.quantize import quantize as quantize
    from bitspike.conversion.result import Conversion as Conversion
    from bitspike.conversion.result import conversion_of as conversion_of
    from bitspike.conversion.result import spiking_part as spiking_part
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
    from bitspike.formats.c.write import write_c as write_c
    from bitspike.formats.loihi.write import write_loihi as write_loihi
    from bitspike.formats.nir.write import read_nir as read_nir
    from bitspike.formats.nir.write import write_nir as write_nir
    from bitspike.formats.onnx.write import write_onnx as write_onnx
    from bitspike.formats.verilog.write import write_verilog as write_verilog
    from bitspike.integer.bounds.widths import widths as widths
    from bitspike.integer.codes import encode as encode
    from bitspike.integer.count import count as count
    from bitspike.integer.engine import Engine as Engine
    from bitspike.integer.network import IntegerNetwork as IntegerNetwork
    from bitspike.integer.saved.folder import load as load
    from bitspike.integer.saved.folder import save as save
    from bitspike.integer.saved.replay import Certificate as Certificate
    from bitspike.integer.simulate import simulate as simulate
    from bitspike.integer.values import decode as decode
    from bitspike.lowering.agreement import Agreement as Agreement
    from bitspike.lowering.fit_neuron import Precision as Precision
    from bitspike.lowering.lower import lower as lower
    from bitspike.nn import IF as IF
    from bitspike.nn import LIF as LIF
    from bitspike.nn import PLIF as PLIF
    from bitspike.nn import BatchNormThroughTime as BatchNormThroughTime
    from bitspike.nn import BernoulliCoder as BernoulliCoder
    from bitspike.nn import Chain as Chain
    from bitspike.nn import Frames as Frames
    from bitspike.nn import Neuron as Neuron
    from bitspike.nn import QuantReLU as QuantReLU
    from bitspike.nn import RateCoder as RateCoder
    from bitspike.nn import RateReadout as RateReadout
    from bitspike.nn import Repeat as Repeat
    from bitspike.nn import ShiftBatchNorm as ShiftBatchNorm
    from bitspike.nn import SignedIF as SignedIF
    from bitspike.nn import SpikeTimeLIF as SpikeTimeLIF
    from bitspike.nn import SumReadout as SumReadout
    from bitspike.nn import Synapse as Synapse
    from bitspike.nn import ThresholdBatchNorm as ThresholdBatchNorm
    from bitspike.nn import TimeDistributed as TimeDistributed
    from bitspike.nn import checkpoint_layers as checkpoint_layers
    from bitspike.nn import fire as fire
    from bitspike.nn import fuse as fuse
    from bitspike.nn import set_steps as set_steps
    from bitspike.ops.grids import Grid as Grid
    from bitspike.ops.membrane import Membrane as Membrane
    from bitspike.ops.surrogate import ArcTan as ArcTan
    from bitspike.ops.surrogate import PiecewiseExponential as PiecewiseExponential
    from bitspike.ops.surrogate import Rectangle as Rectangle
    from bitspike.ops.surrogate import Sigmoid as Sigmoid
    from bitspike.ops.surrogate import Triangle as Triangle
    from bitspike.train.adapt import adapt as adapt
    from bitspike.verbs.analyze import analyze as analyze
    from bitspike.verbs.check import check as check
    from bitspike.verbs.compare import compare as compare
    from bitspike.verbs.cost import cost as cost
    from bitspike.verbs.doctor import doctor as doctor
    from bitspike.verbs.energy import energy as energy
    from bitspike.verbs.evaluate import evaluate as evaluate
    from bitspike.verbs.export import export as export
    from bitspike.verbs.fetch import fetch as fetch
    from bitspike.verbs.fit import fit as fit
    from bitspike.verbs.mix import mix as mix
    from bitspike.verbs.new import new as new
    from bitspike.verbs.pareto import pareto as pareto
    from bitspike.verbs.recipes import recipes as recipes
    from bitspike.verbs.report import report as report
    from bitspike.verbs.resume import resume as resume
    from bitspike.verbs.run import run as run
    from bitspike.verbs.run_seeds import run_seeds as run_seeds
    from bitspike.verbs.verify import verify as verify
    from bitspike.verbs.yield_ import yield_ as yield_
    from bitspike.weights import SRAM as SRAM
    from bitspike.weights import APoT as APoT
    from bitspike.weights import Binary as Binary
    from bitspike.weights import Combined as Combined
    from bitspike.weights import Constrained as Constrained
    from bitspike.weights import DoReFa as DoReFa
    from bitspike.weights import Drift as Drift
    from bitspike.weights import Dyadic as Dyadic
    from bitspike.weights import FixedPoint as FixedPoint
    from bitspike.weights import GroupLasso as GroupLasso
    from bitspike.weights import LearnedClip as LearnedClip
    from bitspike.weights import LevelLognormal as LevelLognormal
    from bitspike.weights import Lognormal as Lognormal
    from bitspike.weights import Midrise as Midrise
    from bitspike.weights import PCMDrift as PCMDrift
    from bitspike.weights import PowerOfTwo as PowerOfTwo
    from bitspike.weights import StuckAt as StuckAt
    from bitspike.weights import Ternary as Ternary
    from bitspike.weights import Uniform as Uniform
    from bitspike.weights import attach as attach
    from bitspike.weights import codes as codes
    from bitspike.weights import constraint_failure as constraint_failure
    from bitspike.weights import detach as detach
    from bitspike.weights import on_chip as on_chip
    from bitspike.weights import penalties as penalties
    from bitspike.weights import sparsity as sparsity

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
    "bitspike.ops.membrane": ("Membrane",),
    "bitspike.nn": (
        "IF",
        "LIF",
        "PLIF",
        "BatchNormThroughTime",
        "BernoulliCoder",
        "Chain",
        "Frames",
        "Neuron",
        "QuantReLU",
        "RateCoder",
        "RateReadout",
        "Repeat",
        "ShiftBatchNorm",
        "SignedIF",
        "SpikeTimeLIF",
        "SumReadout",
        "Synapse",
        "ThresholdBatchNorm",
        "TimeDistributed",
        "checkpoint_layers",
        "fire",
        "fuse",
        "set_steps",
    ),
    "bitspike.conversion.result": ("Conversion", "conversion_of", "spiking_part"),
    "bitspike.conversion.convert": ("convert", "finish"),
    "bitspike.conversion.finetune.prepare": ("prepare",),
    "bitspike.conversion.finetune.over_time": ("over_time",),
    "bitspike.conversion.quantized.quantize": ("quantize",),
    "bitspike.conversion.quantized.over_time": ("spiking_twin",),
    "bitspike.conversion.quantized.mismatch": ("mismatch",),
    "bitspike.conversion.quantized.layerwise": ("tune_layers",),
    "bitspike.conversion.calibrate.thresholds": ("MSEThreshold", "MaxThreshold", "PercentileThreshold"),
    "bitspike.weights": (
        "SRAM",
        "APoT",
        "Binary",
        "Constrained",
        "Combined",
        "DoReFa",
        "Drift",
        "Dyadic",
        "FixedPoint",
        "GroupLasso",
        "LearnedClip",
        "LevelLognormal",
        "Lognormal",
        "Midrise",
        "PCMDrift",
        "PowerOfTwo",
        "StuckAt",
        "Ternary",
        "Uniform",
        "attach",
        "codes",
        "constraint_failure",
        "detach",
        "on_chip",
        "penalties",
        "sparsity",
    ),
    "bitspike.integer.count": ("count",),
    "bitspike.formats.c.write": ("write_c",),
    "bitspike.formats.loihi.write": ("write_loihi",),
    "bitspike.formats.nir.write": ("read_nir", "write_nir"),
    "bitspike.formats.onnx.write": ("write_onnx",),
    "bitspike.formats.verilog.write": ("write_verilog",),
    "bitspike.integer.engine": ("Engine",),
    "bitspike.integer.network": ("IntegerNetwork",),
    "bitspike.lowering.fit_neuron": ("Precision",),
    "bitspike.lowering.lower": ("lower",),
    "bitspike.integer.codes": ("encode",),
    "bitspike.integer.values": ("decode",),
    "bitspike.integer.saved.folder": ("load", "save"),
    "bitspike.integer.simulate": ("simulate",),
    "bitspike.integer.saved.replay": ("Certificate",),
    "bitspike.analysis.exits.rules": ("ConfidenceExit", "FixedExit", "GammaExit"),
    "bitspike.analysis.exits.study": ("early_exit",),
    "bitspike.analysis.summary": ("summary",),
    "bitspike.lowering.agreement": ("Agreement",),
    "bitspike.integer.bounds.widths": ("widths",),
    "bitspike.train.adapt": ("adapt",),
    "bitspike.verbs.analyze": ("analyze",),
    "bitspike.verbs.check": ("check",),
    "bitspike.verbs.cost": ("cost",),
    "bitspike.verbs.compare": ("compare",),
    "bitspike.verbs.energy": ("energy",),
    "bitspike.verbs.evaluate": ("evaluate",),
    "bitspike.verbs.export": ("export",),
    "bitspike.verbs.fetch": ("fetch",),
    "bitspike.verbs.fit": ("fit",),
    "bitspike.verbs.mix": ("mix",),
    "bitspike.verbs.pareto": ("pareto",),
    "bitspike.verbs.new": ("new",),
    "bitspike.verbs.recipes": ("recipes",),
    "bitspike.verbs.report": ("report",),
    "bitspike.verbs.resume": ("resume",),
    "bitspike.verbs.run": ("run",),
    "bitspike.verbs.run_seeds": ("run_seeds",),
    "bitspike.verbs.verify": ("verify",),
    "bitspike.verbs.yield_": ("yield_",),
    "bitspike.verbs.doctor": ("doctor",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

_ROOMS = {name: f"bitspike.{name}" for name in ("data", "models", "nn", "train", "weights", "zoo")} | {
    "plot": "bitspike.analysis.plot"
}
"""Folders whose names are spoken of as ``bs.data.Batches``; like the names above, they are loaded on first use."""

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 (all of them are names)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(_ROOMS[name])
    if name not in _HOME:
        raise AttributeError(f"module 'bitspike' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
