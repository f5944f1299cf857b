"""Networks whose weights lie in memory devices, converted: what becomes of the variation is said, and never guessed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, ConversionError

X = torch.rand(32, 4, generator=torch.Generator().manual_seed(0))


def network(**variation: object) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return bs.attach(layers, quantize=bs.Midrise(4), vary=bs.Lognormal(0.5, **variation))  # type: ignore[arg-type]


def notes_of(snn: nn.Module, code: str) -> list[str]:
    return [note for note in snn.conversion.notes if note.startswith(code)]  # type: ignore[union-attr]


def test_variation_that_a_conversion_leaves_out_is_noted() -> None:
    model = network()
    snn = bs.convert(model, X[:1], calibrate=X, steps=8)
    assert notes_of(snn, "N308")[0].startswith("N308: the variation of memory devices at 0, 2 was left out")
    assert model.training
    assert not notes_of(bs.convert(bs.detach(model), X[:1], calibrate=X, steps=8), "N308")


def test_the_way_out_of_the_note_gives_variation_to_the_converted_network() -> None:
    snn = bs.attach(bs.convert(network(), X[:1], calibrate=X, steps=8), vary=bs.Lognormal(0.5))
    with bs.on_chip(snn, 0, resolution=7):
        net = bs.lower(snn, X[:1])
    assert bs.verify(net, X).equal
    assert "on a chip" in net.weighted[0].weight.scheme


def test_one_chip_is_converted_as_it_is() -> None:
    model = network().eval()
    with bs.on_chip(model, 3, resolution=7):
        snn = bs.convert(model, X[:1], calibrate=X, steps=64)
        chip = model(X).detach()
    assert not notes_of(snn, "N308")
    assert (snn(X).detach() - chip).abs().max() < 0.02 < (model(X).detach() - chip).abs().max()


def test_weights_that_are_new_at_every_call_are_refused_by_name() -> None:
    with pytest.raises(ConversionError, match=r"the weights of 0, 2 are drawn anew at every call[\s\S]*on_chip"):
        bs.convert(network(active_in_eval=True), X[:1], calibrate=X, steps=8)


def test_a_chip_without_a_resolution_says_why_its_codes_are_not_kept() -> None:
    snn = bs.convert(network(seed=1, fixed=True), X[:1], calibrate=X, steps=8)
    assert "a chip without resolution=" in notes_of(snn, "W211")[0]


def test_a_network_is_prepared_without_variation_and_trained_with_it() -> None:
    model = network()
    with pytest.raises(ConstraintError, match="prepare: the weights of 0, 2 vary"):
        bs.prepare(model, X[:1], calibrate=X, steps=8)
    tuned = bs.prepare(bs.detach(model, keep="latent").eval(), X[:1], calibrate=X, steps=8)
    bs.attach(tuned.network, vary=bs.Lognormal(0.5))

    def answers() -> Tensor:
        with torch.no_grad():
            return tuned(X)

    assert torch.equal(answers(), answers())
    tuned.train()
    assert not torch.equal(answers(), answers())
    assert notes_of(bs.finish(tuned, X[:1]), "N308")
