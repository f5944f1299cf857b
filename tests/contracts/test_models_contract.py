"""One contract over every registered model."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

import pytest
import torch
from torch import Tensor, fx, nn

from bitspike import models
from bitspike.errors import ConstraintError
from bitspike.nn import IF, Neuron, RateReadout, Repeat, SumReadout, set_steps
from bitspike.nn.trace import LEAVES
from bitspike.recipe.words.models import Model
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import words_of

MODELS: dict[str, Callable[..., nn.Module]] = {
    kind: resolve_name(word.makes) for kind, word in words_of(Model).items() if not issubclass(word, Own)
}

# Small relatives: the images of each model's data set made as small as its pools allow.
SMALL: dict[str, dict[str, object]] = {
    "alexnet_cifar": {"image_size": 16, "width": 1 / 32},
    "bntt_mlp": {"image_size": 16, "width": 1 / 16, "encoder": Repeat},  # its own takes frames
    "bntt_vgg": {"image_size": 16, "width": 1 / 16, "depth": 5, "encoder": Repeat},  # its own draws at random
    "cifar_net": {"image_size": 16, "width": 1 / 40},
    "conv7_net": {"image_size": 16, "width": 1 / 40},
    "digits_net": {"image_size": 16, "width": 1 / 3},
    "mnist_net": {"image_size": 16, "width": 1 / 3},
    "resnet": {"image_size": 16, "width": 1 / 4, "depth": 8},
    "resnet18": {"image_size": 16, "width": 1 / 32},
    "resnet18_cifar": {"image_size": 16, "width": 1 / 32},
    "resnet19": {"image_size": 8, "width": 1 / 20},
    "sew_net": {"image_size": 16, "stages": ((8, 1), (12, 1)), "encoder": Repeat},  # its own takes frames
    "sew_resnet": {"image_size": 64, "width": 1 / 16},
    "tssl_alexnet": {"image_size": 16, "width": 1 / 32, "dropout": 0.0},
    "vgg": {"image_size": 32, "width": 1 / 16, "depth": 11},
    "vgg9": {"image_size": 16, "width": 1 / 16},
    "vgg11": {"image_size": 16, "width": 1 / 32},
}

TAKES_ALL_SIZES = {"bntt_mlp"}
"""What has no pools."""

KINDS_OF_OTHERS = {"bntt_lif", "resnet20", "sew_7b_net", "sew_if", "sew_wide_7b_net", "stbp_lif", "vgg19"}
"""What makes a neuron, or a model of the table with other arguments."""


class Leaves(fx.Tracer):
    """Trace a model with everything that knows of time as a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


@pytest.fixture(params=sorted(MODELS))
def kind(request) -> str:
    return str(request.param)


@pytest.fixture
def small(kind) -> Callable[..., nn.Module]:
    """Build a small relative of each model, ready for evaluation and with spikes in every layer."""

    def build(**arguments: object) -> nn.Module:
        torch.manual_seed(1)
        model = MODELS[kind](**({"num_classes": 7, "in_channels": 2} | SMALL[kind] | arguments))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4).add_(0.02)
        return model.eval()

    return build


@pytest.fixture
def images(kind) -> Callable[[int], Tensor]:
    """Return random images of the size that the small relative takes."""
    side = int(SMALL[kind]["image_size"])
    return lambda count: torch.rand(count, 2, side, side, generator=torch.Generator().manual_seed(0))


def test_every_model_has_a_word_and_a_small_relative():
    assert set(MODELS) == set(models.__all__) - KINDS_OF_OTHERS == set(SMALL)
    assert all(MODELS[name] is getattr(models, name) for name in MODELS)


def test_images_become_finite_logits_that_depend_on_them(small, images):
    out = small()(images(5))
    assert out.shape == (5, 7)
    assert out.isfinite().all()
    assert len(out.unique(dim=0)) > 1


def test_an_image_is_answered_alike_alone_and_in_any_batch(small, images):
    model, x = small(), images(5)
    whole = model(x)
    ragged = torch.cat([model(part) for part in x.split(2)])
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(ragged, whole)
    torch.testing.assert_close(alone, whole)


def test_two_calls_are_equal_and_leave_nothing_behind(small, images):
    model, x = small(), images(3)
    first = model(x)
    model(images(4) * 2)
    assert torch.equal(model(x), first)


def test_the_number_of_steps_is_an_argument_and_can_be_changed(small, images):
    x = images(3)
    for steps in (1, 3):
        model = small(steps=steps)
        short = small(steps=5)
        with set_steps(short, steps):
            assert torch.equal(short(x), model(x))


def test_rates_of_a_spiking_last_layer_are_multiples_of_one_step(small, images):
    *layers, readout = small(steps=4).children()
    spiking = [] if isinstance(layers[-1], Neuron) else [IF()]
    rates = nn.Sequential(*layers, *spiking, readout)(images(6))
    assert torch.equal(rates * 4, (rates * 4).round())
    assert ((rates >= 0) & (rates <= 1)).all()


def test_the_readout_can_be_exchanged(small, images):
    mean, total = (small(steps=4, readout=kind) for kind in (RateReadout, SumReadout))
    torch.testing.assert_close(total(images(2)), mean(images(2)) * 4)


def test_every_layer_sends_spikes(small, images):
    model = small()
    rates: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, spikes: rates.update({name: float(spikes.mean())})

    neurons = [(name, module) for name, module in model.named_modules() if isinstance(module, Neuron)]
    for name, module in neurons:
        module.register_forward_hook(watch(name))
    with torch.no_grad():
        model(images(4))
    assert len(rates) == len(neurons)
    # The last layers of the narrow relatives may be silent; the first ones must not be.
    assert all(rate > 0 for rate in list(rates.values())[:2])


def test_gradients_reach_every_parameter(small, images):
    model = small().train()
    model(images(6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_double_precision_works(small, images):
    model = small().double()
    out = model(images(2).double())
    assert out.dtype == torch.float64
    assert out.shape == (2, 7)


def test_a_trace_computes_the_same(small, images):
    model, x = small(), images(3)
    graph = Leaves().trace(model)
    assert {node.op for node in graph.nodes} <= {"placeholder", "call_module", "call_function", "output"}
    assert torch.equal(fx.GraphModule(model, graph)(x), model(x))


def test_a_state_goes_round(small, images):
    model, other, x = small(), small(), images(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


def test_parameters_have_readable_names(small):
    names = [name for name, module in small().named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert names
    assert all(
        name.startswith(("layer", "stem", "block", "head")) and name.endswith((".conv", ".linear")) for name in names
    )


@pytest.mark.parametrize("size", [9, (8, 9), 0, -8])
def test_an_image_size_that_does_not_fit_is_refused_with_one_that_does(kind, small, size):
    if kind in TAKES_ALL_SIZES and size in (9, (8, 9)):
        assert small(image_size=size)
        return
    with pytest.raises(
        ConstraintError, match=r"do not fit; height and width must be multiples of \d+(.|\n)*image_size="
    ):
        small(image_size=size)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"steps": 0}])
def test_values_out_of_range_are_refused(small, wrong):
    with pytest.raises(ConstraintError):
        small(**wrong)
