"""An integer network run fast, by the best exact path of the machine.

:class:`Engine` runs it natively: neurons fused with the layers before them, the method of every layer chosen by
measurement. What the native library cannot hold, or a machine without it, runs through torch
(:class:`~bitspike.integer.engine.carriers.TorchEngine`). The definition is :mod:`bitspike.integer.simulate`; that all
agree is what ``verify`` shows.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict

import numpy as np
import torch

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Whole
from bitspike.integer.engine.carriers import TorchEngine
from bitspike.integer.engine.fuse import Fused, Unfit, fuse
from bitspike.integer.engine.native import Choice, Weights, Workspace, run
from bitspike.integer.engine.plan import Plan, Timing, chosen, fixed, moved, read_last, readers
from bitspike.integer.engine.race import affordable, choose, counts_spikes, foreseen
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Integers
from bitspike.integer.simulate import Trace, check_run
from bitspike.kernels.engine.structs import Method, OpStruct, library

__all__ = ["Engine", "Method", "Timing", "TorchEngine"]

_WORKSPACES = 4
_Ready = tuple[Workspace, ctypes.Array[OpStruct]]


@checked
class Engine:
    """Run an integer network on batches, fast and exactly.

    The first batch of a size takes a little longer: the methods that may be the fastest are raced, on a small piece of
    every kind of layer. What the races took is kept on disk for this machine, in the folder that BITSPIKE_METHODS names
    (``off`` keeps nothing), else ``bitspike/methods`` in the user's cache; the next process need not race again.

    Args:
        net: the network.
        threads: None takes torch's number.
        method: one method for all layers that know it, instead of the fastest.
        chunk: samples that are run at once; larger batches are split.

    Raises:
        ConstraintError: another word for the method, or no thread or sample.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> engine = Engine(one_convolution(threshold=8))
        >>> engine.predict(np.full((1, 2, 1, 4, 4), 4))["readout"][0, :3].tolist()
        [2, 2, 2]
    """

    def __init__(
        self, net: IntegerNetwork, *, threads: int | None = None, method: Method | None = None, chunk: int = 128
    ) -> None:
        if method not in (None, *Method):
            allowed = ", ".join(f"Method.{m.name}" for m in Method)
            raise ConstraintError(f"Engine(method={method!r}): allowed are None and {allowed}", fix="method=None")
        if any(number is not None and number < 1 for number in (threads, chunk)):
            raise ConstraintError(f"Engine(threads={threads}, chunk={chunk}): both count from 1", fix="Engine(net)")
        need_integers(net, "Engine")
        self.net, self.threads, self.method, self.chunk = net, threads, method, chunk
        self.reason = ""
        self._fused: Fused | None = None
        self._torch: TorchEngine | None = None
        self._weights = Weights()
        self._plans: dict[tuple[int, int], Plan] = {}
        self._works: OrderedDict[tuple[int, int, bool], _Ready] = OrderedDict()
        self._lock = threading.Lock()
        if library() is None:
            self.reason = "there is no native library"
        else:
            try:
                self._fused = fuse(net)
            except Unfit as unfit:
                self.reason = str(unfit)
        if self._fused is None:
            self._torch = TorchEngine(net)

    @property
    def native(self) -> bool:
        """Whether the network runs natively; ``reason`` says why not."""
        return self._fused is not None

    def take_plans(self, other: Engine) -> None:
        """Take the methods over that another engine chose, of a network that differs from this one in its codes alone.

        Methods that are not exact for these codes are not taken: they are chosen anew.
        """
        if self._fused is None or other._fused is None:
            return
        for key, plan in other._plans.items():
            if (choice := moved(plan.choice, other._fused, self._fused)) is not None:
                self._plans[key] = Plan(choice, plan.timings)

    @property
    def timings(self) -> tuple[Timing, ...]:
        """What was measured last, layer by layer: for the newest size of batches; empty before the first batch."""
        return next(reversed(self._plans.values())).timings if self._plans else ()

    def predict(self, codes: Whole, *, steps: int | None = None) -> dict[str, Integers]:
        """Run on integer codes and return the outputs alone.

        Args:
            codes: [1, N, ...] for an input that is constant in time, or [T, N, ...].
            steps: run only the first so many steps.

        Returns:
            by read-out id, int64 [N, ...].

        Raises:
            ConstraintError: the codes have another shape or leave the input's grid.
        """
        return self._run(codes, steps, trace=False).outputs

    def run(self, codes: Whole, *, steps: int | None = None) -> Trace:
        """Run on integer codes and keep everything, as :func:`bitspike.integer.simulate.simulate` does."""
        return self._run(codes, steps, trace=True)

    def _run(self, codes: Whole, steps: int | None, *, trace: bool) -> Trace:
        steps = check_run(self.net, codes, steps)
        if self._torch is not None:
            return self._torch.run(codes, steps=steps)
        # Batches of one size share memory, so only one thread may run.
        with self._lock:
            # An empty batch runs too: its results have shapes.
            starts = range(0, max(1, codes.shape[1]), self.chunk)
            parts = [self._part(codes[:, i : i + self.chunk], steps, trace=trace) for i in starts]
        return Trace(
            {id: np.concatenate([p.spikes[id] for p in parts], 1) for id in parts[0].spikes},
            {id: np.concatenate([p.potentials[id] for p in parts], 1) for id in parts[0].potentials},
            {id: np.concatenate([p.outputs[id] for p in parts]) for id in parts[0].outputs},
        )

    def _part(self, codes: Whole, steps: int, *, trace: bool) -> Trace:
        threads = self.threads or torch.get_num_threads()
        work, ops = self._work(codes, steps, threads, trace=trace)
        work.enter(codes, threads)
        run(ops, threads)
        return Trace(
            # Copies: the next batch writes to the same memory.
            {id: spikes.copy() for id, (spikes, _) in work.traces.items()},
            {id: potentials.astype(np.int64) for id, (_, potentials) in work.traces.items()},
            {id: result.copy() for id, result in work.results.items()},
        )

    def _work(self, codes: Whole, steps: int, threads: int, *, trace: bool) -> _Ready:
        """Return memory and operations for one size of batch; the sizes used last are kept."""
        assert self._fused is not None
        samples = codes.shape[1]
        key = samples, steps, trace
        if key not in self._works:
            work = self._workspace(self._plan(codes, steps, threads).choice, samples, steps, trace=trace)
            self._works[key] = work, (OpStruct * len(work.ops))(*work.ops)
            while len(self._works) > _WORKSPACES:
                self._works.popitem(last=False)
        self._works.move_to_end(key)
        return self._works[key]

    def _workspace(
        self, choice: Choice, samples: int, steps: int, *, trace: bool = False, keep: bool = False
    ) -> Workspace:
        """Return memory and operations; with ``keep`` every signal has memory of its own."""
        assert self._fused is not None
        work = Workspace(self._fused, samples, steps, self._weights)
        wanted = readers(self._fused, choice)
        for step, done in zip(self._fused.steps, read_last(self._fused), strict=True):
            outs = wanted.get(step.signal.id, set()) if hasattr(step, "signal") else set()
            work.ops += work.step(step, choice, outs, trace=trace)
            if not keep:
                work.release(done)
        return work

    def _plan(self, codes: Whole, steps: int, threads: int) -> Plan:
        """Return the plan for about so many samples: sizes within a factor of two share one."""
        assert self._fused is not None
        key = max(1, codes.shape[1]).bit_length(), steps
        if key not in self._plans:
            if self.method is not None or codes.shape[1] == 0:
                method = Method.POPCOUNT if self.method is None else self.method
                # Not kept in `_plans`: nothing was measured.
                return Plan(fixed(self._fused, method), ())
            rates = self._rates(codes, steps, threads)
            self._plans[key] = choose(self._fused, codes.shape[1], steps, rates)
            # Plans of other sizes may have chosen other methods, whose weights stay.
            self._weights.keep(set().union(*[chosen(self._fused, plan.choice) for plan in self._plans.values()]))
        return self._plans[key]

    def _rates(self, codes: Whole, steps: int, threads: int) -> dict[str, float]:
        """Count the spikes of one sample, where a method depends on them and one sample is within the allowance."""
        assert self._fused is not None
        samples = codes.shape[1]
        if not counts_spikes(self._fused, samples, steps) or not affordable(self._fused, samples, steps):
            return {}
        # Weights are packed for the methods of the whole batch: most of them are needed again.
        work = self._workspace(foreseen(self._fused, samples, steps), 1, steps, keep=True)
        work.enter(codes[:, :1], threads)
        run((OpStruct * len(work.ops))(*work.ops), threads)
        return work.rates()
