"""All options of ``bs.convert``, each defined once.

:class:`Settings` says which network results and travels with it; :class:`Procedure` says what is converted, and how its
thresholds, grids and corrections are found. Recipes and the command line offer the same words; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bitspike.arguments import checked
from bitspike.conversion.calibrate.thresholds import MSEThreshold, Rules
from bitspike.errors import ConstraintError
from bitspike.nn import IF, Neuron
from bitspike.ops.dynamics import FEWEST, MOST
from bitspike.ops.grids import Fire, Grid, Reset
from bitspike.patterns import Patterns, last_match, matching
from bitspike.weights.scales import Max, ScaleRule

Coding = Literal["direct", "split", "rate", "bernoulli", "events"]
"""How an image enters: the same codes at every step; its T-th part at every step; evenly spread or random spikes of
its values in [0, 1]; or spikes [T, N, ...] that are given."""
Schedule = Literal["synchronous", "layerwise"]
"""Every layer at every step; or each layer when the one before has fired all its T steps."""
AveragePool = Literal["sum", "neuron"]
"""An average pool adds up and the next layer divides; or it is a neuron of its own that fires once per window."""

Concat = Literal["tie", "fold"]
"""How ``torch.cat`` is handled."""

Kind = Literal["bias", "potential", "weights", "least_squares"]
"""What is corrected: the bias of every step, the potential before the first one, the weights by gradient descent on the
layer's rounded output, or weights and bias by least squares on what the layer adds up."""
Pipeline = Literal["light", "advanced"]
Corrections = Kind | Pipeline | Sequence[Kind]
PIPELINES: dict[str, tuple[Kind, ...]] = {"light": ("bias",), "advanced": ("weights", "potential")}
"""Source: Li et al., ICML 2021 (arXiv 2106.06984), section 4; thresholds of least squared error belong to both."""


@checked
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which network a conversion makes: options that are stored with it.

    Args:
        steps: T.
        neuron: ``IF``, or ``SignedIF``, which takes back spikes that came too early.
        bits: of a weight code, 1 to 16, in all layers but the first and the last, which have bits of their own; a
            mapping from patterns over module paths to bits, the last match holds.
        first_bits: of the first weighted layers, which read the input; None is ``bits``. A pattern of ``bits`` that is
            not ``*`` wins over it.
        last_bits: of the layers whose result leaves the network, in the same way.
        per_channel: one weight step per output channel instead of one per layer.
        scale: reads the step from the weights.
        coding: how the input enters.
        input_value: real value of an input spike, for ``coding="events"``.
        reset: ``soft`` or ``hard``; a hard reset loses what exceeds the threshold and never converges to the ANN.
        fire: how potential and threshold are compared.
        initial: potential before the first step as a share of the threshold; 1/2 turns truncation into rounding.
        schedule: ``synchronous``, or ``layerwise``, whose spike counts are those of the quantized ANN exactly.
        average_pool: ``sum`` (exact), or ``neuron`` where wires carry single spikes only.
        max_fraction_bits: the most bits of the potential below one count; 0 for chips without a shifter.
        multiplier_bits: for chips that multiply each branch of a sum: branches keep their own weight steps; None, as
            chips have it, shares one step.
        concat: ``tie`` gives concatenated neurons one value of a spike; ``fold`` keeps one for each and scales the
            matching input channels of the next layer.
        tolerance: how far thresholds, and biases against them, may be rounded before another bit is taken.
        potential_bits: 2 to 24 bits at which potentials saturate, for chips whose registers do; None never lets them.
        rounded: False leaves thresholds and biases as good as real, to measure what their rounding costs.

    Raises:
        ConstraintError: a value outside what is allowed.
    """

    steps: int = 16
    neuron: type[Neuron] = IF
    bits: int | Mapping[str, int] = 8
    first_bits: int | None = 8
    last_bits: int | None = 8
    per_channel: bool = True
    scale: ScaleRule = field(default_factory=Max)
    coding: Coding = "direct"
    input_value: float = 1.0
    reset: Reset = "soft"
    fire: Fire = "ge"
    initial: float = 0.5
    schedule: Schedule = "synchronous"
    average_pool: AveragePool = "sum"
    max_fraction_bits: int = 8
    multiplier_bits: int | None = None
    concat: Concat = "tie"
    tolerance: float = 0.01
    potential_bits: int | None = None
    rounded: bool = True

    def __post_init__(self) -> None:
        for name in ("bits", "first_bits", "last_bits"):
            value = getattr(self, name)
            widths = value.values() if isinstance(value, Mapping) else [] if value is None else [value]
            self._need(name, all(isinstance(n, int) and 1 <= n <= 16 for n in widths), "1 to 16 bits are allowed")
        whole = isinstance(self.steps, int) and not isinstance(self.steps, bool) and self.steps >= 1
        own = "; leave steps out for a network of bs.quantize, whose bits say how many there are"
        self._need("steps", whole, "a whole number of at least 1 is needed", more=own)
        if not (isinstance(self.neuron, type) and issubclass(self.neuron, Neuron) and self.neuron.counts):
            kind = getattr(self.neuron, "__name__", self.neuron)
            raise ConstraintError(
                f"convert(neuron={kind}): a rate of spikes stands for a real value only without a leak",
                fix="neuron=bs.IF or neuron=bs.SignedIF",
            )
        words = {"coding": Coding, "schedule": Schedule, "average_pool": AveragePool, "reset": Reset, "fire": Fire}
        for name, allowed in (words | {"concat": Concat}).items():
            self._need(name, getattr(self, name) in get_args(allowed), f"allowed are {get_args(allowed)}")
        for name in ("max_fraction_bits", "multiplier_bits"):
            value = getattr(self, name)
            fits = (isinstance(value, int) and value >= 0) or (name, value) == ("multiplier_bits", None)
            self._need(name, fits, "a whole number of at least 0 is needed")
        bits = self.potential_bits
        self._need("potential_bits", bits is None or FEWEST <= bits <= MOST, f"{FEWEST} to {MOST} bits are possible")
        self._need("tolerance", 0 < self.tolerance < 1, "a share of the threshold in (0, 1) is needed")
        self._need("initial", 0 <= self.initial < 1, "a share of the threshold in [0, 1) is needed")
        if self.reset == "hard" and self.neuron.signed:
            raise ConstraintError(
                f"convert(neuron={self.neuron.__name__}, reset='hard'): a signed neuron resets by subtraction",
                fix="reset='soft'",
            )
        if self.reset == "hard" and self.schedule == "layerwise":
            raise ConstraintError(
                "convert(schedule='layerwise', reset='hard'): a hard reset would lose the burst", fix="reset='soft'"
            )

    def _need(self, name: str, fits: bool, needed: str, *, more: str = "") -> None:
        if not fits:
            fix = f"{name}={getattr(type(self), name)!r}{more}"
            raise ConstraintError(f"convert({name}={getattr(self, name)!r}): {needed}", fix=fix)

    def refuse_idle_patterns(self, paths: Iterable[str]) -> None:
        """Refuse a pattern of ``bits`` that matches none of the layers at these paths."""
        if isinstance(self.bits, Mapping):
            matching([p for p in self.bits if p != "*"], paths, argument="bits")

    def bits_of(self, path: str, *, first: bool, last: bool) -> int:
        """Return the bits of the weights of one layer."""
        chosen = {"*": self.bits} if isinstance(self.bits, int) else dict(self.bits)
        named = last_match({pattern: n for pattern, n in chosen.items() if pattern != "*"}, path)
        if named is not None:
            return named
        if first and self.first_bits is not None:
            return self.first_bits
        if last and self.last_bits is not None:
            return self.last_bits
        if "*" not in chosen:
            raise ConstraintError(f"convert(bits={self.bits}): no pattern matches {path!r}", fix="a pattern '*'")
        return chosen["*"]

    @property
    def bits_said(self) -> str:
        """The bits of weight codes in words, those of the first and the last layers too.

        Example:
            >>> Settings(bits=4).bits_said, Settings(bits=4, first_bits=None, last_bits=None).bits_said
            ('4 bits; first layers 8 (first_bits), last layers 8 (last_bits)', '4 bits')
        """
        named = {"first": self.first_bits, "last": self.last_bits}
        ends = [f"{end} layers {n} ({end}_bits)" for end, n in named.items() if n is not None and n != self.bits]
        if isinstance(self.bits, int):
            said = f"{self.bits} bits"
        else:
            said = ", ".join(f"{n} bits in {pattern}" for pattern, n in self.bits.items())
        return "; ".join([said, *([", ".join(ends)] if ends else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        bits = self.bits if isinstance(self.bits, int) else dict(self.bits)
        return values | {"neuron": self.neuron.__name__, "scale": repr(self.scale), "bits": bits}


@checked
@dataclass(frozen=True, kw_only=True)
class Procedure:
    """What a conversion takes in and how it measures; the arguments of ``bs.convert`` say what each word means."""

    threshold: Rules | None = None
    include: Patterns | None = None
    exclude: Patterns = ()
    input_grid: Grid | None = None
    input_bits: int = 8
    samples: int = 1024
    seed: int = 0
    correct: Corrections | Literal["auto"] | None = "auto"

    def rules(self, settings: Settings) -> Rules | None:
        """Return the threshold rules; a named pipeline of corrections brings its own where none are given."""
        named = isinstance(self.correct, str) and self.correct in PIPELINES
        return MSEThreshold(initial=settings.initial) if self.threshold is None and named else self.threshold
