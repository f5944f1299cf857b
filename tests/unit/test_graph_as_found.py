"""Models as users have them: compiled, scripted, lazy, parametrized, with broken numbers, with data of another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.errors import ConstraintError, ConversionError, DataError

X = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)
    )


def check(model: nn.Module, x: torch.Tensor = X, **choices: Any) -> nn.Module:
    """Convert, lower and verify; what comes out must be the network of the plain model."""
    snn = bs.convert(model, x[:1], calibrate=x, steps=4, **choices)
    assert bs.verify(bs.lower(snn, x[:1]), x).equal
    return snn


def compiled_inside() -> nn.Module:
    model = network()
    model[2] = torch.compile(model[2])  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("make", [lambda: torch.compile(network()), compiled_inside, lambda: network().train()])
def test_a_compiled_model_is_the_model_inside(make: Callable[[], nn.Module]) -> None:
    plain, found = check(network()), check(make())
    assert torch.equal(plain(X), found(X))
    assert plain.conversion.layers.keys() == found.conversion.layers.keys()  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_a_weight_that_is_computed_is_taken_as_it_is(norm: Callable[[nn.Module], nn.Module]) -> None:
    model = network()
    norm(model[2])
    model.eval()
    baked = network()
    with torch.no_grad():
        baked[2].weight.copy_(model[2].weight)  # type: ignore[operator, union-attr]
    assert torch.equal(check(model)(X), check(baked)(X))
    assert nn.utils.parametrize.is_parametrized(model[2])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of torch
def test_torchscript_is_refused_with_the_way_out() -> None:
    scripted = torch.jit.script(network())
    with pytest.raises(ConversionError, match=r"(?s)Sequential is TorchScript.*load_state_dict"):
        check(scripted)


def test_layers_without_a_shape_are_refused() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(ConversionError, match=r"(?s)0\.weight.*have no shape yet.*call the model once"):
        check(lazy)


def test_weights_and_statistics_that_are_no_numbers_are_named() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight[0] = float("nan")  # type: ignore[operator, index]
    with pytest.raises(ConversionError, match=r"2\.weight holds NaN or infinity"):
        check(model)
    norm = nn.BatchNorm2d(6)
    norm.running_var.fill_(float("inf"))  # type: ignore[union-attr]
    with pytest.raises(ConversionError, match=r"1\.running_var holds NaN"):
        check(nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 5)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (torch.utils.data.TensorDataset(X, torch.zeros(8)), "single samples.*DataLoader"),
        ([(X.numpy(), 0)], "ndarray.*torch.from_numpy"),
        ([X, np.float32(1)], "yield the inputs first"),
        ([(X * float("nan"), 0)], "NaN or infinity"),
    ],
)
def test_calibration_data_of_another_form_is_said(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"(?s){said}"):
        bs.convert(network(), X[:1], calibrate=data, steps=4, samples=64)


def test_a_layer_that_is_not_understood_is_named_where_nothing_is_left_to_spike() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    )
    with pytest.raises(ConversionError, match=r"(?s)0: Conv2d: .*reflect"):
        check(model)


@pytest.mark.parametrize(
    ("first", "inputs"),
    [
        (nn.Flatten(), 192),
        (nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Flatten()), 243),
        (nn.Sequential(nn.Flatten(2), nn.Flatten()), 192),
    ],
)
@pytest.mark.parametrize("coding", ["direct", "rate"])
def test_what_only_moves_the_input_belongs_to_the_network(first: nn.Module, inputs: int, coding: str) -> None:
    snn = check(nn.Sequential(first, nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, 5)), coding=coding)
    assert bs.lower(snn, X[:1]).input.shape == (3, 8, 8)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # of torch
def test_an_even_kernel_with_padding_same_takes_images_as_they_are() -> None:
    snn = check(nn.Sequential(nn.Conv2d(3, 4, 4, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)))
    assert bs.lower(snn, X[:1]).input.shape == (3, 8, 8)


def test_a_network_behind_a_real_part_says_what_it_takes() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    snn = bs.convert(model, X[:1], calibrate=X, steps=4, exclude=["0", "1"])
    net = bs.lower(snn, X[:1])
    with pytest.raises(ConstraintError, match=r"(?s)needed is \[N, 4, 6, 6\].*snn\.conversion\.packed"):
        bs.verify(net, X)
    assert bs.verify(net, snn.conversion.entries(X)[0]).equal  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("coding", ["rate", "bernoulli"])
def test_rates_of_values_that_are_no_rates_are_refused(coding: str) -> None:
    check(network(), coding=coding)
    for x in (2 * X - 1, 3 * X):
        with pytest.raises(ConstraintError, match=rf"(?s)convert\(coding='{coding}'\): rates go from 0 to 1, .*direct"):
            check(network(), x, coding=coding)


def test_a_normalization_inside_the_model_leaves_rates_to_the_images() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers((x - 0.5) / 0.25)  # type: ignore[no-any-return]

    check(Normalized(), coding="rate")
