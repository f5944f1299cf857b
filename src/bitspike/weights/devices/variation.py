"""What all models of device variation share: draws that make a chip, a grid on which it is read, and their stage."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.ops.rounding import straight_through
from bitspike.weights.codes import WeightCodes


@dataclass(frozen=True, repr=False)
class Variation(ABC):
    """The base of device variation: the weights that cells hold, of those that were asked for and of random numbers.

    A subclass is a frozen dataclass with :meth:`vary`, and :meth:`draw` where its numbers are not normal. In training
    mode every forward call of a layer makes fresh draws, which serve all its time steps. A chip (``fixed``, or inside
    :func:`bitspike.weights.on_chip`) draws once, from its seed and the layer's name: it is the same on every device,
    in training and in evaluation. The gradient reaches the weight unchanged.

    Args:
        seed: makes the draws reproducible by themselves; each layer draws its own numbers. Without it the global
            generator of the weight's device is used.
        generator: draws from this one instead, in the order in which layers are called.
        fixed: one chip instead of fresh draws; needs ``seed``.
        active_in_eval: vary in evaluation mode as well; None means as ``fixed`` does.
        resolution: of a chip, the bits with which its cells are read, 2 to 15: what a cell holds is rounded to whole
            multiples of ``top / 2**(resolution - 1)``, where ``top`` is the power of two at or above max|W| of the
            layer. The levels of the chip then are codes, which ``lower`` keeps as they are. None rounds nothing.

    Raises:
        ConstraintError: ``seed`` and ``generator`` are both given, ``fixed`` comes without a seed, or a ``resolution``
            outside its range or without a chip.
    """

    _: KW_ONLY
    seed: int | None = None
    generator: torch.Generator | None = None
    fixed: bool = False
    active_in_eval: bool | None = None
    resolution: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.seed is not None and self.generator is not None:
            raise ConstraintError(f"{name}: seed and generator are both given", fix="leave one of them out")
        if self.fixed and self.seed is None:
            raise ConstraintError(f"{name}(fixed=True): a chip needs its seed", fix=self._with("seed=0, fixed=True"))
        if self.resolution is not None:
            check_resolution(self.resolution, name)
            if not self.fixed:
                raise ConstraintError(
                    f"{name}(resolution={self.resolution}): fresh draws are not read as codes, those of a chip are",
                    fix=self._with(f"seed=0, fixed=True, resolution={self.resolution}"),
                )

    @abstractmethod
    def vary(self, w: Tensor, draws: Tensor) -> Tensor:
        """Return what cells hold that should hold ``w``; ``draws`` [numbers, *shape of w] are what :meth:`draw` gave.

        No element may become larger than max|w|.
        """

    @property
    def numbers(self) -> int:
        """Random numbers per weight."""
        return 1

    def draw(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the random numbers of weights of the shape, dtype and device of ``like``: standard normal ones."""
        shape, device = (self.numbers, *like.shape), like.device if generator is None else generator.device
        return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)

    def build(self, name: str, weight: Tensor) -> DeviceStage:
        """Return the stage of the layer called ``name``; its numbers depend on the seed and on that name only."""
        active = self.fixed if self.active_in_eval is None else self.active_in_eval
        if self.seed is None:
            return DeviceStage(self, name, self.generator, active)
        if not self.fixed:
            return SeededStage(self, name, chip_generator(self.seed, name), active)
        stage = DeviceStage(self, name, None, active)
        stage.noise, stage.resolution = self.chip(self.seed, name, weight), self.resolution
        return stage

    def chip(self, seed: int, name: str, weight: Tensor) -> Tensor:
        """Return the draws of the layer called ``name`` on the chip of a seed, float32 [numbers, *shape]."""
        # Drawn on the CPU whatever the device of the weight is: a seed means the same chip everywhere.
        like = torch.empty(weight.shape, dtype=torch.float32)
        return self.draw(like, chip_generator(seed, name)).to(weight.device)

    def _with(self, more: str = "") -> str:
        """Return this call with other keyword arguments, for messages."""
        own = [repr(getattr(self, f.name)) for f in fields(self) if not f.kw_only]
        return f"{type(self).__name__}({', '.join([*own, *[more] * bool(more)])})"

    def __repr__(self) -> str:
        """Show the arguments that are not those of the class by default."""
        said = [
            f"{f.name}={value!r}"
            for f in sorted(fields(self), key=lambda f: f.kw_only is True)
            if (value := getattr(self, f.name)) != f.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"


def check_resolution(resolution: int, name: str) -> None:
    """Raise ConstraintError unless cells can be read with so many bits."""
    if isinstance(resolution, bool) or not isinstance(resolution, int) or not 2 <= resolution <= 15:
        raise ConstraintError(
            f"{name}(resolution={resolution!r}): a whole number of bits from 2 to 15 is allowed", fix="resolution=7"
        )


def chip_generator(seed: int, name: str) -> torch.Generator:
    """Return the generator of a layer on the chip of a seed.

    A generator looks at 32 bits of its seed only, so seed and name are mixed by a hash instead of standing side by
    side.
    """
    mixed = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "little"))


def grid_step(w: Tensor, resolution: int) -> Tensor:
    """Return the step of the grid on which a chip's cells are read, a power of two, shape [1].

    Example:
        >>> grid_step(torch.tensor([0.3, -0.7]), 4).tolist()  # 1 / 2**3
        [0.125]
    """
    largest = w.detach().abs().amax().reshape(1) if w.numel() else w.new_ones(1)
    mantissa = torch.frexp(largest).mantissa
    # x = m * 2**e with m in [1/2, 1): x / m is 2**e without error, and a power of two has m = 1/2.
    top = torch.where(mantissa == 0.5, largest, largest / mantissa)
    return torch.where(largest > 0, top, torch.ones_like(top)) * 2.0 ** (1 - resolution)


class DeviceStage(nn.Module):
    """The variation of one layer: fresh draws in every call, or the draws of one chip, which it then keeps.

    Attributes:
        plan: the model of the devices.
        noise: draws of a chip, [numbers, *shape]; None for fresh ones. Not part of the state_dict: a seed is enough to
            make it again, and a checkpoint is about the network, not about a chip.
        resolution: the bits with which the chip is read.
    """

    noise: Tensor | None

    def __init__(self, plan: Variation, name: str, generator: torch.Generator | None, active_in_eval: bool) -> None:
        super().__init__()
        self.plan, self.name, self.generator, self.active_in_eval = plan, name, generator, active_in_eval
        self.resolution: int | None = None
        self.register_buffer("noise", None, persistent=False)

    @property
    def on_chip(self) -> bool:
        """Whether this is one chip, whose levels are codes, in evaluation too."""
        return self.noise is not None and self.resolution is not None and self.active_in_eval

    @property
    def draws_anew(self) -> bool:
        """Whether evaluation draws anew at every call, so that no two answers belong to one chip."""
        return self.noise is None and self.active_in_eval

    def forward(self, w: Tensor) -> Tensor:
        if not (self.training or self.active_in_eval):
            return w
        with torch.no_grad():
            varied = self._cells(w)
        return straight_through(varied, w)

    def _cells(self, w: Tensor) -> Tensor:
        if self.noise is None:
            return self.plan.vary(w, self.plan.draw(w, self.generator))
        if self.resolution is None:
            return self.plan.vary(w, self.noise.to(w.dtype))
        whole, step = self._read(w)
        return whole.mul_(step)

    def _read(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the cells of a chip are read as: whole numbers, as floats, and the step that they count."""
        assert self.noise is not None
        assert self.resolution is not None
        step = grid_step(w, self.resolution)
        return (self.plan.vary(w, self.noise.to(w.dtype)) / step).round_(), step

    @torch.no_grad()
    def recode(self, codes: WeightCodes) -> WeightCodes:
        """Return the codes of this chip's cells; the weights of a chip are whole multiples of its grid."""
        assert self.on_chip
        assert self.resolution is not None
        (whole, step), top = self._read(codes.weight), 2 ** (self.resolution - 1)
        cells = whole.to(torch.int64)
        scheme = f"{codes.scheme} on a chip, read with {self.resolution} bits"
        return WeightCodes(cells, step.double(), self.resolution + 1, None, -top, top, scheme, codes.axis)

    @contextmanager
    def as_chip(self, seed: int, weight: Tensor, resolution: int | None) -> Iterator[None]:
        """Be the chip of a seed inside the block, in training and evaluation."""
        before = self.noise, self.resolution, self.active_in_eval
        self.noise, self.resolution, self.active_in_eval = self.plan.chip(seed, self.name, weight), resolution, True
        try:
            yield
        finally:
            self.noise, self.resolution, self.active_in_eval = before

    def extra_repr(self) -> str:
        return f"{self.plan!r}, active_in_eval={self.active_in_eval}"


class SeededStage(DeviceStage):
    """Draw from a generator of its own; its state is part of the state_dict, so a resumed run goes on."""

    generator: torch.Generator

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a saved state of the generator."""
        self.generator.set_state(state.cpu())
