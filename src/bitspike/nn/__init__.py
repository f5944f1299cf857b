"""Modules over time-first tensors [T, N, ...]: neurons, encoders, layers carried over time, norms, read-outs."""

from bitspike.nn.activation import QuantReLU
from bitspike.nn.arrange import Pad, Permute, Reshape, Slice, Upsample
from bitspike.nn.chain import Chain, checkpoint_layers, fire, fuse
from bitspike.nn.counts import Burst, Codes, CountMaxPool, Gain, SumPool
from bitspike.nn.dropout import SteadyDropout
from bitspike.nn.element_wise import SpikeElementWise
from bitspike.nn.encoders import BernoulliCoder, Encoder, RateCoder, Repeat, set_steps
from bitspike.nn.frames import Frames
from bitspike.nn.neurons.base import Neuron
from bitspike.nn.neurons.integrate import IF, SignedIF
from bitspike.nn.neurons.leaky import LIF, PLIF
from bitspike.nn.neurons.spike_time import SpikeTimeLIF
from bitspike.nn.norms.base import AffineNorm
from bitspike.nn.norms.bntt import BatchNormThroughTime
from bitspike.nn.norms.shift import ShiftBatchNorm
from bitspike.nn.norms.threshold import ThresholdBatchNorm
from bitspike.nn.readouts import RateReadout, SumReadout
from bitspike.nn.synapse import Synapse
from bitspike.nn.time import TimeDistributed
from bitspike.nn.time_last import TimeFirst, TimeLast
from bitspike.nn.timed_layer import OverTime, timed_layer

__all__ = [
    "IF",
    "LIF",
    "PLIF",
    "AffineNorm",
    "BatchNormThroughTime",
    "BernoulliCoder",
    "Burst",
    "Chain",
    "Codes",
    "CountMaxPool",
    "Encoder",
    "Frames",
    "Gain",
    "Neuron",
    "OverTime",
    "Pad",
    "Permute",
    "QuantReLU",
    "RateCoder",
    "RateReadout",
    "Repeat",
    "Reshape",
    "ShiftBatchNorm",
    "SignedIF",
    "Slice",
    "SpikeElementWise",
    "SpikeTimeLIF",
    "SteadyDropout",
    "SumPool",
    "SumReadout",
    "Synapse",
    "ThresholdBatchNorm",
    "TimeDistributed",
    "TimeFirst",
    "TimeLast",
    "Upsample",
    "checkpoint_layers",
    "fire",
    "fuse",
    "set_steps",
    "timed_layer",
]
