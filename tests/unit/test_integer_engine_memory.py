"""Signals that are not needed at the same time share memory, and results stay those of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from bitspike.integer.engine import Engine, Method
from bitspike.integer.engine.plan import read_last
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Linear, Neuron, Node, Readout, Weight
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Grid

LAYERS, WIDTH, STEPS = 8, 20, 3
ONE = np.ones((1, 1), np.int64)


def chain() -> IntegerNetwork:
    """Eight linear layers of neurons, all of one width; the last also reads the spikes of the first."""
    random = np.random.default_rng(0)
    nodes: list[Node] = [Input(id="input", path="input", shape=(WIDTH,), grid=Grid(1.0, 0, 15))]
    for number in range(LAYERS):
        codes = random.integers(-3, 3, (WIDTH, WIDTH), endpoint=True)
        weight = Weight(codes=codes, step=np.ones(1), bits=3, low=-3, high=3)
        id, before = f"layer{number}", nodes[-1].id
        nodes.append(Linear(id=id, path=id, sources=(before,), shape=(WIDTH,), weight=weight))
        sources = (id, "fire0") if number == LAYERS - 1 else (id,)
        nodes.append(
            Neuron(
                id=f"fire{number}", path=f"fire{number}", sources=sources, shape=(WIDTH,), gains=(ONE,) * len(sources),
                bias=ONE, threshold=2 * ONE, initial=np.ones(1, np.int64), unit=np.ones(1),
            )
        )  # fmt: skip
    last = nodes[-1].id
    nodes.append(Readout(id="out", path="out", sources=(last,), shape=(WIDTH,), gains=(ONE,), bias=0 * ONE))
    return IntegerNetwork(STEPS, tuple(nodes))


@pytest.mark.parametrize("method", [None, *(m for m in Method if m is not Method.NONE)])
def test_signals_of_one_shape_share_memory(method: Method | None) -> None:
    net, engine = chain(), Engine(chain(), method=method)
    random = np.random.default_rng(1)
    for samples in (70, 3, 70):  # the memory of the first batch is used again by the third
        codes = random.integers(0, 15, (1, samples, WIDTH), endpoint=True)
        wanted, found = simulate(net, codes), engine.run(codes)
        assert wanted.spikes["fire7"].any()
        for id, spikes in wanted.spikes.items():
            assert np.array_equal(found.spikes[id], spikes), id
            assert np.array_equal(found.potentials[id], wanted.potentials[id]), id
        assert np.array_equal(engine.predict(codes)["out"], wanted.outputs["out"])
    if engine.native:
        for _, ops in engine._works.values():
            written = [op.outs[i].data for op in ops for i in range(op.n_outs)]
            assert len(written) >= LAYERS
            assert len(set(written)) < len(written)


def test_memory_is_given_back_after_its_last_reader() -> None:
    engine = Engine(chain())
    if engine._fused is None:
        return
    done = read_last(engine._fused)
    signals = [{name for name in names if not name.isdigit()} for names in done]
    assert signals == [set(), set(), *({f"fire{n}"} for n in range(1, 6)), {"fire0", "fire6"}, {"fire7"}]
