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
)
from bitspike.weights.codes import WeightCodes
from bitspike.weights.constraints.backprop import Constrained
from bitspike.weights.constraints.failure import ConstraintFailure, constraint_failure
from bitspike.weights.devices.lognormal import Lognormal
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
from bitspike.weights.stage import Stage, StagePlan

__all__ = [
    "MSE",
    "APoT",
    "Binary",
    "Coded",
    "Constant",
    "Constrained",
    "ConstraintFailure",
    "DoReFa",
    "Dyadic",
    "FixedPoint",
    "LearnedClip",
    "Lognormal",
    "Max",
    "MeanAbs",
    "Midrise",
    "PackedSize",
    "Percentile",
    "PowerOfTwo",
    "ScaleRule",
    "Scheme",
    "Stage",
    "StagePlan",
    "Ternary",
    "Uniform",
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
    "penalties",
    "read_packed",
    "weight_codes",
    "write_packed",
]
