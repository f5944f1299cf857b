"""The record of mixed against uniform bits: how it is made, and what the document says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import mixed

from bitspike.models.resnet_cifar import resnet_cifar

SMALL = ("data.limit=60", "data.validation=20", "convert.samples=20", "evaluation.batch_size=20", "convert.steps=2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cifar10_root: Path) -> Callable[..., dict[str, object]]:
    folder = tmp_path_factory.mktemp("mixed")
    torch.manual_seed(0)
    weights = folder / "weights.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in resnet_cifar(depth=8).state_dict().items()}}, weights)
    more = (*SMALL, "model.arguments={depth: 8}", "evaluation.proof=4")
    return partial(mixed.measured, weights, cifar10_root, folder, epochs=1, seed=0, more=more)


@pytest.fixture(scope="module")
def line(made: Callable[..., dict[str, object]]) -> dict[str, object]:
    first, again = made(), made()  # nothing is made twice
    assert {k: v for k, v in again.items() if k != "run"} == {k: v for k, v in first.items() if k != "run"}
    return first


def test_both_networks_are_compared_at_equal_bytes_on_the_same_images(line: dict[str, object]) -> None:
    uniform, mixture = line["uniform"], line["mixed"]
    assert set(uniform["bits"].values()) == {3, 8}  # type: ignore[index]
    assert mixture["bytes"] <= uniform["bytes"]  # type: ignore[index]
    assert uniform["certificate"] is mixture["certificate"] is True  # type: ignore[index]
    for images, number in (("test", 60), ("held_out", 20)):
        found = line["paired"]["spiking"][images]  # type: ignore[index]
        assert found["images"] == number
        gain = mixture["spiking"][images] - uniform["spiking"][images]  # type: ignore[index]
        assert found["difference"] == pytest.approx(gain)
    assert json.loads(json.dumps(line)) == line


def test_a_mixture_of_fewer_bits_has_fewer_bytes(
    made: Callable[..., dict[str, object]], line: dict[str, object]
) -> None:
    fewer = made(bits=2.5)
    assert fewer["uniform"] == line["uniform"]  # the same network, trained once
    assert fewer["mixed"]["bytes"] < line["uniform"]["bytes"]  # type: ignore[index]
    assert fewer["search"]["mean_bits"] <= 2.5  # type: ignore[index]
    text = mixed.document(f"{mixed.BEGIN}\n{mixed.END}\n", [fewer, line])
    assert "--bits 2.5" in text
    assert text.count("(one seed)") == 2


def test_the_table_says_what_the_line_holds(line: dict[str, object]) -> None:
    text = mixed.document(f"before\n{mixed.BEGIN}\nold\n{mixed.END}\nafter\n", [line])
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    assert f"{line['mixed']['bytes']:,}" in text  # type: ignore[index]


def test_the_document_is_that_of_the_records() -> None:
    text = mixed.DOCUMENT.read_text(encoding="utf-8")
    assert mixed.document(text, mixed.latest()) == text


def test_a_difference_of_pairs_is_surer_than_one_of_means() -> None:
    a, b = [1] * 90 + [0] * 10, [1] * 88 + [0] * 12
    assert mixed.paired(a, b) == {
        "difference": pytest.approx(0.02),
        "error": pytest.approx(0.01407, abs=1e-4),
        "images": 100,
    }
    assert mixed.paired(a, a) == {"difference": 0.0, "error": 0.0, "images": 100}
