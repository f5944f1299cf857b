"""The quantization schemes, one file per family: frozen dataclasses that say how a weight becomes codes."""

from bitspike.weights.schemes.base import Scheme
from bitspike.weights.schemes.dorefa import DoReFa
from bitspike.weights.schemes.fixed import FixedPoint
from bitspike.weights.schemes.learned import LearnedClip
from bitspike.weights.schemes.midrise import Midrise
from bitspike.weights.schemes.powers import APoT, PowerOfTwo
from bitspike.weights.schemes.signs import Binary, Ternary
from bitspike.weights.schemes.uniform import Uniform

__all__ = [
    "APoT",
    "Binary",
    "DoReFa",
    "FixedPoint",
    "LearnedClip",
    "Midrise",
    "PowerOfTwo",
    "Scheme",
    "Ternary",
    "Uniform",
]
