"""The one path of every weight: schemes and their scales, constraints, devices, and the verbs that attach them."""

from bitspike.weights.attach import (
    after_epoch,
    after_step,
    attach,
    bias_codes,
    codes,
    detach,
    learning_rate_factor,
    penalties,
    weight_codes,
    weight_without_codes,
)
from bitspike.weights.chips import on_chip
from bitspike.weights.codes import WeightCodes
from bitspike.weights.constraints.backprop import Constrained
from bitspike.weights.constraints.failure import ConstraintFailure, constraint_failure
from bitspike.weights.devices.combined import Combined
from bitspike.weights.devices.defects import StuckAt
from bitspike.weights.devices.drift import Drift, PCMDrift
from bitspike.weights.devices.lasso import GroupLasso
from bitspike.weights.devices.lognormal import LevelLognormal, Lognormal
from bitspike.weights.devices.sram import SRAM
from bitspike.weights.devices.variation import Variation
from bitspike.weights.packed import PackedSize, read_packed, write_packed
from bitspike.weights.path import WeightPath
from bitspike.weights.scales import MSE, Coded, Constant, Dyadic, Max, MeanAbs, Percentile, ScaleRule
from bitspike.weights.schemes import (
    APoT,
    Binary,
    DoReFa,
    FixedPoint,
    LearnedClip,
    Midrise,
    PowerOfTwo,
    Scheme,
    Ternary,
    Uniform,
)
from bitspike.weights.sparsity import Sparsity, sparsity
from bitspike.weights.stage import Stage, StagePlan

__all__ = [
    "MSE",
    "SRAM",
    "APoT",
    "Binary",
    "Coded",
    "Combined",
    "Constant",
    "Constrained",
    "ConstraintFailure",
    "DoReFa",
    "Drift",
    "Dyadic",
    "FixedPoint",
    "GroupLasso",
    "LearnedClip",
    "LevelLognormal",
    "Lognormal",
    "Max",
    "MeanAbs",
    "Midrise",
    "PCMDrift",
    "PackedSize",
    "Percentile",
    "PowerOfTwo",
    "ScaleRule",
    "Scheme",
    "Sparsity",
    "Stage",
    "StagePlan",
    "StuckAt",
    "Ternary",
    "Uniform",
    "Variation",
    "WeightCodes",
    "WeightPath",
    "after_epoch",
    "after_step",
    "attach",
    "bias_codes",
    "codes",
    "constraint_failure",
    "detach",
    "learning_rate_factor",
    "on_chip",
    "penalties",
    "read_packed",
    "sparsity",
    "weight_codes",
    "weight_without_codes",
    "write_packed",
]
