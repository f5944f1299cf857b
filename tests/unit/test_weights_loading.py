"""Checkpoints into networks whose weights have paths: float ones, wrapped ones, and their own."""

from __future__ import annotations

import copy
import gc
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PATHS: list[dict[str, Any]] = [
    {"quantize": bs.Uniform(bits=4)},
    {"quantize": bs.Ternary(), "bias": bs.FixedPoint(step=0.01)},
    {"quantize": bs.DoReFa(bits=2), "vary": bs.Lognormal(sigma=0.1, seed=0)},
    {"quantize": bs.Uniform(bits=8), "skip": "4"},
]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_a_float_checkpoint_becomes_the_latent_weights(path: dict[str, Any], strict: bool) -> None:
    trained, model = network(1), bs.attach(network(2), **path)
    found = model.load_state_dict(trained.state_dict(), strict=strict)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    expected = bs.attach(copy.deepcopy(trained), **path)
    assert torch.equal(model.eval()(X), expected.eval()(X))
    assert torch.equal(model[0].parametrizations.weight.original, trained[0].weight)  # type: ignore[union-attr, index]


def test_a_checkpoint_of_the_same_paths_loads_strictly_as_before() -> None:
    trained, model = (bs.attach(network(seed), **PATHS[1]) for seed in (1, 2))
    model.load_state_dict(trained.state_dict())
    assert torch.equal(model.eval()(X), trained.eval()(X))


def test_a_checkpoint_of_another_shape_or_with_strange_names_is_refused() -> None:
    model = bs.attach(network(2), quantize=bs.Uniform(bits=4))
    state = network(1).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict({**state, "4.weight": torch.zeros(3, 5)})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*strange"):
        model.load_state_dict({**state, "strange": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.parametrizations\.weight\.original"):
        model.load_state_dict({key: value for key, value in state.items() if key != "0.weight"})


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("own", [True, False])
def test_names_from_a_wrapper_are_understood(prefix: str, own: bool) -> None:
    trained, model = network(1), bs.attach(network(2), quantize=bs.Uniform(bits=4))
    state = (bs.attach(copy.deepcopy(trained), quantize=bs.Uniform(bits=4)) if own else trained).state_dict()
    model.load_state_dict({prefix + key: value for key, value in state.items()})
    assert torch.equal(model[4].parametrizations.weight.original, trained[4].weight)  # type: ignore[union-attr, index]


def test_a_wrapped_network_loads_what_a_wrapped_one_saved() -> None:
    trained, model = nn.DataParallel(network(1)), bs.attach(nn.DataParallel(network(2)), quantize=bs.Uniform(bits=4))
    model.load_state_dict(trained.state_dict())
    inside: Any = model.module
    assert torch.equal(inside[4].parametrizations.weight.original, trained.module[4].weight)


class Scaled(nn.Module):
    """A stage with a scale that was read from the weights and then learned."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(weight.detach().abs().amax())

    def forward(self, w: Tensor) -> Tensor:
        return w.clamp(-self.scale, self.scale)


class Plan:
    def build(self, name: str, weight: Tensor) -> Scaled:
        del name
        return Scaled(weight)


def test_what_a_path_learned_from_other_weights_is_kept_and_said() -> None:
    model = bs.attach(nn.Sequential(nn.Linear(4, 2)), recover=Plan())  # type: ignore[arg-type]
    scale = model[0].parametrizations.weight[0].recover.scale.clone()  # type: ignore[union-attr, index]
    with pytest.warns(
        UserWarning, match=r"0\.parametrizations\.weight\.0\.recover\.scale .* attach the path after"
    ) as said:
        model.load_state_dict(nn.Sequential(nn.Linear(4, 2)).state_dict())
    assert [w.filename for w in said] == [__file__]
    assert torch.equal(model[0].parametrizations.weight[0].recover.scale, scale)  # type: ignore[union-attr, index]


def test_a_detached_network_loads_as_any_other() -> None:
    model, trained = bs.detach(bs.attach(network(2), quantize=bs.Uniform(bits=4))), network(1)
    model.load_state_dict(trained.state_dict())
    assert torch.equal(model[0].weight, trained[0].weight)
    bs.attach(model, quantize=bs.Uniform(bits=4)).load_state_dict(trained.state_dict())


def test_a_copy_outlives_the_network_that_it_was_made_of() -> None:
    model = bs.attach(network(2), quantize=bs.Uniform(bits=4))
    shallow = copy.copy(model)
    del model
    gc.collect()
    deep, trained = copy.deepcopy(shallow), network(1)
    deep.load_state_dict({f"module.{key}": value for key, value in trained.state_dict().items()})
    assert torch.equal(deep[0].parametrizations.weight.original, trained[0].weight)  # type: ignore[union-attr, index]


def test_a_deep_copy_loads_into_itself() -> None:
    model = bs.attach(network(2), quantize=bs.Uniform(bits=4))
    copied, trained = copy.deepcopy(model), network(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copied.load_state_dict(trained.state_dict())
    assert torch.equal(copied[0].parametrizations.weight.original, trained[0].weight)  # type: ignore[union-attr, index]
    assert not torch.equal(model[0].parametrizations.weight.original, trained[0].weight)  # type: ignore[union-attr, index]
