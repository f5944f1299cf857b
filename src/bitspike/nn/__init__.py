"""Modules over time-first tensors [T, N, ...]: neurons, encoders, layers carried over time, norms, read-outs."""

from bitspike.nn.activation import QuantReLU
from bitspike.nn.chain import Chain, fire, fuse
from bitspike.nn.checkpoint import checkpoint_layers
from bitspike.nn.neuron import IF, LIF, PLIF, Neuron, SignedIF
from bitspike.nn.norm import ShiftBatchNorm, ThresholdBatchNorm
from bitspike.nn.time import (
    BernoulliCoder,
    Encoder,
    RateCoder,
    RateReadout,
    Repeat,
    SumReadout,
    TimeDistributed,
    set_steps,
)

__all__ = [
    "IF",
    "LIF",
    "PLIF",
    "BernoulliCoder",
    "Chain",
    "Encoder",
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
]
