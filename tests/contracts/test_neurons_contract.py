"""One contract over every neuron: whatever a class computes, it keeps these promises."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from pkgutil import resolve_name

import pytest
import safetensors.torch
import torch
from torch import Tensor

import bitspike
from bitspike.errors import BitspikeError, ConstraintError
from bitspike.nn import Neuron, Repeat
from bitspike.ops.dynamics import RecentState, SignedState, State, rest, step
from bitspike.ops.membrane import Membrane
from bitspike.recipe.words.neurons import Neuron as Word
from bitspike.recipe.words.value import words_of

STEPS = 6


def family(base: type[Neuron]) -> Iterator[type[Neuron]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith("bitspike."):
            yield cls
        yield from family(cls)


NEURONS = sorted(set(family(Neuron)), key=lambda cls: cls.__name__)
every_neuron = pytest.mark.parametrize("cls", NEURONS, ids=lambda cls: cls.__name__)


def currents(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(STEPS, *shape) * 1.5).to(dtype)


def parts(state: State) -> tuple[Tensor, ...]:
    return tuple(state) if isinstance(state, SignedState | RecentState) else (state,)


def same(a: State, b: State) -> bool:
    return all(torch.equal(p, q) for p, q in zip(parts(a), parts(b), strict=True))


def test_the_collected_neurons_are_the_public_ones() -> None:
    assert {cls.__name__ for cls in NEURONS} == {"IF", "LIF", "PLIF", "SignedIF", "SpikeTimeLIF"}
    assert all(getattr(bitspike, cls.__name__) is cls for cls in NEURONS)


@every_neuron
def test_a_neuron_has_a_word_in_recipes_and_a_law_of_its_own_equations(cls: type[Neuron]) -> None:
    assert cls in {resolve_name(word.makes) for word in words_of(Word).values()}
    neuron, x = cls(), currents(4, 3)
    law = neuron.law_in_integers()
    assert (law.retract is not None) == cls.signed
    state, spikes = rest(law, x[0]), []
    for current in x:
        s, state, _ = step(law, state, current, law.threshold)
        spikes.append(s)
    assert torch.equal(torch.stack(spikes), neuron(x))
    assert not (torch.stack(spikes) < 0).any() or cls.signed


@every_neuron
def test_a_neuron_keeps_its_potential_in_as_few_bits_as_it_is_told(cls: type[Neuron]) -> None:
    assert cls().law_in_integers().membrane is None
    assert cls(threshold=2.0, membrane=Membrane(3)).law_in_integers().membrane == Membrane(3, step=0.5)


@every_neuron
def test_spikes_have_the_shape_and_the_type_of_the_currents(cls: type[Neuron]) -> None:
    for shape in ((3,), (3, 4), (3, 4, 5, 5)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x = currents(*shape, dtype=dtype)
            spikes = cls()(x)
            assert (spikes.shape, spikes.dtype) == (x.shape, dtype)
            assert set(spikes.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert cls()(currents(1000)).any()


@every_neuron
def test_forward_starts_from_rest_and_leaks_no_state(cls: type[Neuron]) -> None:
    neuron, x = cls(), currents(4, 3)
    before = copy.deepcopy(neuron.state_dict())
    first = neuron(x)
    neuron(currents(9, 3) * 10)
    neuron.scan(x)
    assert torch.equal(neuron(x), first)
    assert torch.equal(neuron.scan(x)[0], first)
    assert torch.equal(neuron.eval()(x), first)
    assert {k: v.tolist() for k, v in before.items()} == {k: v.tolist() for k, v in neuron.state_dict().items()}


@every_neuron
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_two_halves_in_a_stream_equal_one_run(cls: type[Neuron], dtype: torch.dtype) -> None:
    neuron, x = cls(), currents(4, 3, dtype=dtype)
    whole, end = neuron.scan(x)
    for cut in range(1, STEPS):
        first, middle = neuron.scan(x[:cut])
        kept = [part.detach().clone() for part in parts(middle)]
        second, last = neuron.scan(x[cut:], middle)
        assert torch.equal(torch.cat([first, second]), whole)
        assert same(last, end)
        assert all(map(torch.equal, parts(middle), kept))  # the state handed in is not written to


@every_neuron
def test_samples_do_not_see_each_other(cls: type[Neuron]) -> None:
    neuron, x = cls(), currents(7, 3, 2)
    whole = neuron(x)
    ragged = torch.cat([neuron(part) for part in x.split([3, 3, 1, 0], dim=1)], dim=1)
    assert torch.equal(ragged, whole)


@every_neuron
@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 1, 3), (5, 0, 3), (5, 1), (1, 1)])
def test_one_step_one_sample_or_none(cls: type[Neuron], shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, requires_grad=True)
    spikes = cls()(x)
    assert spikes.shape == shape
    spikes.sum().backward()
    assert x.grad is not None


@every_neuron
def test_the_input_is_read_and_not_written_whatever_its_layout(cls: type[Neuron]) -> None:
    neuron, x = cls(), torch.rand(4, 3, 5, 5) * 1.5
    for laid_out in (Repeat(STEPS)(x), currents(5, 3, 4).transpose(1, 3), currents(2, 3, 4, 4)[:, :, :, ::2]):
        before = laid_out.clone()
        assert torch.equal(neuron(laid_out), neuron(laid_out.contiguous()))
        assert torch.equal(laid_out, before)


@every_neuron
def test_the_observer_sees_every_step_as_it_is(cls: type[Neuron]) -> None:
    neuron, x = cls(), currents(4, 3)
    seen: list[tuple[Tensor, Tensor]] = []
    spikes, _ = neuron.scan(x, observe=lambda h, s: seen.append((h, s)))
    assert len(seen) == STEPS
    assert torch.equal(torch.stack([s for _, s in seen]), spikes)
    above = torch.stack([h for h, _ in seen]) >= 1.0
    assert torch.equal(above, spikes == 1)


@every_neuron
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_currents_keep_a_single_precision_membrane(cls: type[Neuron], dtype: torch.dtype) -> None:
    x = (torch.randn(40, 30, 8) * 0.3).to(dtype)
    spikes, state = cls().scan(x)
    expected, wide = cls().scan(x.float())
    assert torch.equal(spikes.float(), expected)
    assert same(state, wide)
    assert all(part.dtype == torch.float32 for part in parts(state))


@every_neuron
def test_double_precision_stays_double(cls: type[Neuron]) -> None:
    _, state = cls().scan(currents(3, dtype=torch.float64))
    assert all(part.dtype == torch.float64 for part in parts(state))
    assert all(part.dtype == torch.float64 for part in parts(cls().double().scan(currents(3).double())[1]))


@every_neuron
def test_thresholds_of_channels_are_those_of_separate_neurons(cls: type[Neuron]) -> None:
    x, thresholds = currents(4, 3, 2), [0.5, 1.0, 1.5]
    together = cls(threshold=torch.tensor(thresholds))(x)
    for c, threshold in enumerate(thresholds):
        assert torch.equal(together[:, :, c], cls(threshold=threshold)(x[:, :, c]))


@every_neuron
def test_a_gradient_reaches_every_step(cls: type[Neuron]) -> None:
    x = currents(50).requires_grad_()
    cls()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad != 0).any(dim=1).all()


@every_neuron
def test_a_gradient_passes_from_call_to_call_in_a_stream(cls: type[Neuron]) -> None:
    choice = {"detach_reset": False} if "detach_reset" in inspect.signature(cls).parameters else {}
    neuron, x = cls(**choice), currents(5).requires_grad_()
    (whole,) = torch.autograd.grad(neuron(x).cumsum(0).sum(), x)
    first, state = neuron.scan(x[:2])
    second, _ = neuron.scan(x[2:], state)
    (streamed,) = torch.autograd.grad(torch.cat([first, second]).cumsum(0).sum(), x)
    torch.testing.assert_close(whole, streamed)  # one pass and plain torch sum in other orders


@every_neuron
def test_copies_and_saved_weights_are_the_same_neuron(cls: type[Neuron]) -> None:
    x = currents(4, 3)
    neuron = cls(threshold=torch.tensor([0.5, 1.0, 1.5]))
    for parameter in neuron.parameters():
        torch.nn.init.constant_(parameter, 0.7)
    assert torch.equal(copy.deepcopy(neuron)(x), neuron(x))
    saved = safetensors.torch.load(safetensors.torch.save(neuron.state_dict()))
    other = cls(threshold=torch.ones(3))
    other.load_state_dict(saved, strict=True)
    assert torch.equal(other(x), neuron(x))
    moved = copy.deepcopy(neuron).to(torch.float64).to("cpu")
    assert all(value.dtype == torch.float64 for value in moved.state_dict().values())
    assert moved(x).dtype == x.dtype


@every_neuron
def test_a_training_neuron_can_be_moved_to_another_device(cls: type[Neuron]) -> None:
    neuron = cls(threshold=torch.tensor([0.5, 1.0, 1.5])).to("meta")
    spikes, state = neuron.scan(currents(4, 3).to("meta"))
    assert {t.device.type for t in (spikes, *parts(state))} == {"meta"}


@every_neuron
def test_wrong_values_say_what_is_allowed(cls: type[Neuron]) -> None:
    for wrong, allowed in (
        ({"threshold": 0.0}, "a number above 0, or one per channel"),
        ({"threshold": float("inf")}, "a number above 0, or one per channel"),
        ({"fire": ">="}, "'ge' .* and 'gt'"),
        ({"surrogate": "tent"}, "bs.Triangle"),
        ({"initial": float("nan")}, "must be finite"),
        ({"reset": "none"}, "'soft' .* and 'hard'"),
        ({"leak": "never"}, "'before' and 'after'"),
        ({"resolution": -1.0}, "above 0, or None"),
        ({"v_reset": float("nan")}, "must be finite"),
    ):
        if set(wrong) <= set(inspect.signature(cls).parameters):
            with pytest.raises(ConstraintError, match=allowed) as caught:
                cls(**wrong)  # type: ignore[arg-type]
            assert isinstance(caught.value, BitspikeError)
            assert isinstance(caught.value, ValueError)


@every_neuron
def test_wrong_currents_or_states_say_what_is_needed(cls: type[Neuron]) -> None:
    neuron = cls()
    _, state = neuron.scan(torch.zeros(2, 4, 3))
    for call, needed in (
        (lambda: neuron(torch.zeros(3)), r"needed is \[T, N, ...\]"),
        (lambda: neuron(torch.zeros(0, 3)), "at least one step"),
        (lambda: neuron(torch.zeros(2, 3, dtype=torch.uint8)), r"x.float\(\)"),
        (lambda: neuron.scan(torch.zeros(2, 3, 3), state), r"a state of \[3, 3\], or None to start from rest"),
        (lambda: neuron.scan(torch.zeros(2, 1, 3), state), r"a state of \[1, 3\], or None to start from rest"),
    ):
        with pytest.raises(ConstraintError, match=needed):
            call()


@every_neuron
def test_choices_are_named_where_a_neuron_is_made(cls: type[Neuron]) -> None:
    positional = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional in (["threshold"], ["decay", "threshold"], ["tau", "threshold"])
    assert cls.__name__ in repr(cls())
    assert "reset='" in repr(cls())
    assert "threshold=[3]" in repr(cls(threshold=torch.ones(3)))
