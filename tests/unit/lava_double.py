"""What run.py needs of lava-nc, written from its documents: the arithmetic of Loihi's neuron and of its synapses.

It stands in for lava-nc 0.10.0, which needs Python 3.10, so that the program of an export runs in every test. It is no
proof that lava does the same: ``scripts/prove_loihi`` runs lava itself.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
PROCESSES: list[Any] = []


class Out:
    """A port that sends to all that are connected."""

    def __init__(self) -> None:
        self.targets: list[In] = []

    def connect(self, target: In) -> None:
        self.targets.append(target)

    def send(self, values: Array) -> None:
        for target in self.targets:
            target.arrived = target.arrived + values


class In:
    """A port that adds up what arrives until it is read."""

    def __init__(self) -> None:
        self.arrived: Any = 0

    def take(self) -> Array:
        values, self.arrived = np.asarray(self.arrived), 0
        return values


class Source:
    def __init__(self, *, data: Array) -> None:
        self.data, self.s_out = data, Out()
        PROCESSES.append(self)

    def spike(self, time: int) -> None:
        self.s_out.send(self.data[:, (time - 1) % self.data.shape[1]].astype(np.int64))


class Sink:
    def __init__(self, *, shape: tuple[int, ...], buffer: int) -> None:
        self.a_in, self.held = In(), np.zeros((*shape, buffer))
        self.data = types.SimpleNamespace(get=lambda: self.held)
        PROCESSES.append(self)

    def end(self, time: int) -> None:
        self.held[:, (time - 1) % self.held.shape[1]] = self.a_in.take()


class Synapses:
    """Weights of 8 bits; those of both signs lose the last one. What arrives is handed on a step later."""

    def __init__(self, *, weights: Any, weight_exp: int, num_message_bits: int) -> None:
        whole = np.asarray(weights.todense() if hasattr(weights, "todense") else weights).astype(np.int64)
        if whole.min() < 0 < whole.max():
            whole = np.clip(whole, -256, 254) >> 1 << 1
        else:
            whole = np.clip(whole, -255, 255)
        self.weights, self.exponent, self.graded = whole, weight_exp, num_message_bits > 0
        self.s_in, self.a_out, self.held = In(), Out(), np.zeros(len(whole), np.int64)
        PROCESSES.append(self)

    def hand_on(self, time: int) -> None:
        self.a_out.send(self.held)

    def receive(self, time: int) -> None:
        sent = self.s_in.take()
        sums = self.weights @ (sent if self.graded else sent != 0).astype(np.int64)
        self.held = sums << self.exponent if self.exponent > 0 else sums >> -self.exponent


class LIFReset:
    """u = trunc(u (4095 - du) / 4096) + (a << 6);  v = trunc(v (4096 - dv) / 4096) + u + bias;  v > vth << 6 fires."""

    def __init__(
        self, *, shape: tuple[int, ...], du: int, dv: int, vth: int, bias_mant: Array, bias_exp: Array,
        reset_interval: int, reset_offset: int,
    ) -> None:  # fmt: skip
        assert 0 <= du < 4096
        assert 0 <= dv < 4096
        assert 0 <= vth < 1 << 17
        assert (np.abs(bias_mant) < 1 << 12).all()
        assert ((bias_exp >= 0) & (bias_exp < 8)).all()
        self.du, self.dv, self.vth, self.bias = du, dv, vth, bias_mant << bias_exp
        self.interval, self.offset = reset_interval, reset_offset % reset_interval
        self.u, self.v = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.a_in, self.s_out = In(), Out()
        PROCESSES.append(self)

    @staticmethod
    def _decayed(values: Array, kept: int) -> Array:
        return np.sign(values) * (np.abs(values) * kept >> 12)

    def spike(self, time: int) -> None:
        if time % self.interval == self.offset:
            self.u, self.v = 0 * self.u, 0 * self.v
        self.u = self._decayed(self.u, 4095 - self.du) + (self.a_in.take() << 6)
        assert (np.abs(self.u) < 1 << 23).all(), "a current wraps around"
        self.v = np.clip(self._decayed(self.v, 4096 - self.dv) + self.u + self.bias, 1 - 2**23, 2**23 - 1)
        fired = self.v > self.vth << 6
        self.v = np.where(fired, 0, self.v)
        self.s_out.send(fired.astype(np.int64))

    def run(self, *, condition: Any, run_cfg: Any) -> None:
        assert run_cfg == "fixed_pt"
        for time in range(1, condition + 1):
            for method in ("hand_on", "spike", "receive", "end"):
                for process in PROCESSES:
                    getattr(process, method, lambda _: None)(time)

    def stop(self) -> None:
        PROCESSES.clear()


class Monitor:
    def __init__(self) -> None:
        self.neurons: Any = None
        self.rows: list[Array] = []
        PROCESSES.append(self)

    def probe(self, potential: Array, steps: int) -> None:
        # lava hands out a variable; here its neurons are those whose potential was asked for.
        self.neurons = next(p for p in PROCESSES if getattr(p, "v", None) is potential)

    def end(self, time: int) -> None:
        self.rows.append(self.neurons.v.astype(float))

    def get_data(self) -> dict[str, dict[str, Array]]:
        return {"neurons": {"v": np.stack(self.rows)}}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``import lava...`` find the classes of this file."""
    names = {
        "magma.core.run_conditions": {"RunSteps": lambda num_steps: num_steps},
        "magma.core.run_configs": {"Loihi2SimCfg": lambda select_tag: select_tag},
        "proc.dense.process": {"Dense": Synapses},
        "proc.sparse.process": {"Sparse": Synapses},
        "proc.io.sink": {"RingBuffer": Sink},
        "proc.io.source": {"RingBuffer": Source},
        "proc.lif.process": {"LIFReset": LIFReset},
        "proc.monitor.process": {"Monitor": Monitor},
    }
    PROCESSES.clear()
    for path, held in names.items():
        parts = ["lava", *path.split(".")]
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        for key, value in held.items():
            monkeypatch.setattr(sys.modules[".".join(parts)], key, value, raising=False)
