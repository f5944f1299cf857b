"""Laws of grids, coders and dyadic numbers over random inputs."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.ops.coding import bernoulli, even_rate
from bitspike.ops.grids import Dyadic, Grid, dyadic
from bitspike.ops.rounding import floor_through, round_through

law = settings(max_examples=150, deadline=None, derandomize=True, database=None)
bits = st.integers(1, 24)


@law
@given(value=st.floats(0, 1) | st.floats(1e-320, 2**24 - 1) | st.just(0.0), bits=bits)
def test_a_dyadic_is_the_nearest_of_its_width_in_lowest_terms(value: float, bits: int) -> None:
    value = min(value, 2**bits - 1)
    near = dyadic(value, bits=bits)
    assert 0 <= near.numerator < 2**bits
    assert near.shift >= 0
    assert near.numerator % 2 == 1 or near.shift == 0
    # Numerators of `bits` bits are 2**(e - bits) apart around a value of exponent e; the nearest is half of it away.
    assert abs(float(near) - value) <= math.ldexp(0.5, math.frexp(value)[1] - bits)
    assert dyadic(float(near), bits=bits) == near


@law
@given(numerator=st.integers(0, 2**24 - 1), shift=st.integers(0, 1000), bits=bits)
def test_a_dyadic_is_found_again(numerator: int, shift: int, bits: int) -> None:
    numerator %= 2**bits
    value = math.ldexp(numerator, -shift)
    found = dyadic(value, bits=bits)
    assert float(found) == value == float(Dyadic(numerator, shift))
    assert found.shift <= shift


grids = st.builds(
    lambda scale, low, width: Grid(scale, low, low + width),
    st.floats(1e-3, 1e3),
    st.integers(-300, 300),
    st.integers(1, 600),
)


@law
@given(grid=grids, data=st.data())
def test_codes_survive_the_way_to_values_and_back(grid: Grid, data: st.DataObject) -> None:
    codes = torch.tensor(data.draw(st.lists(st.integers(grid.low, grid.high), min_size=1, max_size=30)))
    values = grid.decode(codes)
    assert torch.equal(grid.encode(values), codes)
    assert grid.holds(values)


@law
@given(grid=grids, x=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30))
def test_encoding_stays_inside_goes_to_the_nearest_and_is_idempotent(grid: Grid, x: list[float]) -> None:
    values = torch.tensor(x)
    codes = grid.encode(values)
    assert codes.dtype == torch.int64
    assert grid.low <= int(codes.min()) <= int(codes.max()) <= grid.high
    assert torch.equal(grid.encode(grid.decode(codes)), codes)
    inside = values.double().clamp(grid.low * grid.scale, grid.high * grid.scale)
    assert ((codes * grid.scale - inside).abs() <= grid.scale * (0.5 + 1e-9)).all()


@law
@given(grid=grids)
def test_every_code_fits_into_its_bits_and_not_into_one_less(grid: Grid) -> None:
    def fits(width: int) -> bool:
        low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if grid.low < 0 else (0, 2**width - 1)
        return low <= grid.low and grid.high <= high

    assert fits(grid.bits)
    assert grid.bits == 1 or not fits(grid.bits - 1)


@law
@given(x=st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=20), steps=st.integers(1, 60))
def test_an_even_rate_has_the_right_count_in_every_prefix(x: list[float], steps: int) -> None:
    values = torch.tensor(x)
    spikes = even_rate(values, steps)
    n = torch.round(values.clamp(0, 1) * steps)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(spikes.sum(0), n)
    fair = n * torch.arange(1, steps + 1).view(-1, 1) / steps
    assert ((spikes.cumsum(0) - fair).abs() < 1).all()


@law
@given(
    x=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20),
    divisor=st.floats(0.5, 2),
    seed=st.integers(0, 2**31),
)
def test_bernoulli_spikes_are_signed_and_certain_at_the_ends(x: list[float], divisor: float, seed: int) -> None:
    values = torch.tensor(x)
    spikes = bernoulli(values, 5, divisor=divisor, generator=torch.Generator().manual_seed(seed))
    assert spikes.shape == (5, len(x))
    assert ((spikes == 0) | (spikes == values.sign())).all()
    certain = values.abs() >= divisor * (1 + 1e-6)
    assert torch.equal(spikes[:, certain], values[certain].sign().expand(5, -1))
    assert not spikes[:, values == 0].any()


@law
@given(
    x=st.lists(st.floats(-100, 100, width=32, allow_subnormal=False), min_size=1, max_size=20),
    power=st.integers(-10, 3),
)
def test_rounding_to_a_power_of_two_is_exact_near_and_idempotent(x: list[float], power: int) -> None:
    values, step = torch.tensor(x), 2.0**power
    near, down = round_through(values, step), floor_through(values, step)
    for rounded in (near, down):
        assert torch.equal(rounded / step, (rounded / step).round())
    assert ((near - values).abs() <= step / 2).all()
    assert ((down <= values) & (values.double() < down.double() + step)).all()
    assert torch.equal(round_through(near, step), near)
    assert torch.equal(floor_through(down, step), down)
