"""One layer of a spiking network while it is fine-tuned; :mod:`~bitspike.conversion.quantized.layerwise` says how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.conversion.quantized.run import Run, Values, part_of
from bitspike.conversion.quantized.tuning import TunedLayer
from bitspike.conversion.quantized.units import OUTPUT, Unit
from bitspike.conversion.quantized.walk import Walk
from bitspike.conversion.timed import by_step
from bitspike.errors import ConstraintError
from bitspike.weights.attach import after_step

Judge = Callable[[], float]
Hear = Callable[[int, float, float | None, bool], None]
"""Is told the epoch, its loss, the accuracy after it, and whether it was kept."""


class Layer:
    """One unit, with what arrives at it and what is wanted of it.

    Args:
        unit: with at least one parameter that trains.
        network: the quantized network whose parameters are tuned.
        spiking: the walk of its spiking network, which stands before the unit.
        real: the walk of the target, which has stepped over it.
        optimizer: of the unit's parameters alone.
    """

    def __init__(
        self, unit: Unit, network: nn.Module, spiking: Walk, real: Walk, optimizer: torch.optim.Optimizer
    ) -> None:
        self.unit, self.spiking, self.real, self.optimizer = unit, spiking, real, optimizer
        # The quantized unit itself, on means of spikes.
        self.smooth = Run(spiking.run.flow, partial(part_of, network))
        paths = {str(call.target) for call in unit.calls if call.op == "call_module" and call.name != unit.name}
        self.modules = [part_of(network, path) for path in sorted(paths)]
        self.parameters = [p for p in unit.parameters.values() if p.requires_grad]
        states = [t for module in self.modules for t in (*module.parameters(), *module.buffers())]
        self.state = list({id(t): t for t in (*states, *self.parameters)}.values())

    def tune(
        self,
        epochs: int,
        *,
        judge: Judge | None,
        accuracy: float | None,
        force: bool,
        generator: torch.Generator,
        hear: Hear,
    ) -> TunedLayer:
        """Train for some epochs; in the end, however it ends, the layer is as after the last epoch that was kept.

        Args:
            epochs: at least 1.
            judge: returns the accuracy of the whole spiking network as it is; None without labels.
            accuracy: what it was before.
            force: keep every epoch, and judge once after the last.
            generator: draws the order of the batches.
            hear: is called after every epoch.
        """
        first, loss_before, kept = accuracy, self.loss(), 0
        best = self._copies()
        try:
            for epoch in range(1, epochs + 1):
                order = torch.randperm(len(self.spiking.batches), generator=generator).tolist()
                loss = sum(self.step(index) for index in order) / len(order)
                now = judge() if judge is not None and (not force or epoch == epochs) else None
                stays = force or now is None or accuracy is None or now >= accuracy
                if stays:
                    best, kept, accuracy = self._copies(), kept + 1, accuracy if now is None else now
                else:
                    self._restore(best)
                    self.optimizer.state.clear()  # its momentum came from steps that are taken back
                hear(epoch, loss, now, stays)
        finally:
            self._restore(best)
            for parameter in self.parameters:
                parameter.grad = None
        return TunedLayer(
            path=self.unit.path,
            parameters=tuple(name for name, p in self.unit.parameters.items() if p.requires_grad),
            epochs=epochs,
            epochs_kept=kept,
            loss_before=loss_before,
            loss_after=self.loss(),
            accuracy_before=first,
            accuracy_after=accuracy,
        )

    def step(self, index: int) -> float:
        """Train on one batch and return its loss, that of the spikes."""
        values, rows = self.spiking.arriving(index)
        sent, wanted = self._sent(values, rows), self._tensor(self.real.sent(index))
        y = self._tensor(self.smooth.carry_out(self.unit.calls, self._means(values), rows=rows))
        loss = nn.functional.mse_loss(y + (sent - y).detach(), wanted)
        # Not backward(): clips of activations are in the graph too, and nobody is to find gradients there.
        grads = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for parameter, grad in zip(self.parameters, grads, strict=True):
            parameter.grad = grad
        self.optimizer.step()
        for module in self.modules:
            after_step(module)
        return float(loss.detach())

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean squared error over all batches, as the layer is now."""
        total, count = 0.0, 0
        for index in range(len(self.spiking.batches)):
            difference = self._sent(*self.spiking.arriving(index)) - self._tensor(self.real.sent(index))
            total, count = total + float(difference.double().square().sum()), count + difference.numel()
        return total / count

    @torch.no_grad()
    def _sent(self, values: Values, rows: int) -> Tensor:
        """Return the mean over the steps of what the unit sends for what arrives."""
        sent = self._tensor(self.spiking.run.carry_out(self.unit.calls, dict(values), rows=rows))
        # The output of the network is a mean already.
        return sent if self.unit.path == OUTPUT else by_step(sent, self.spiking.run.flow.steps).mean(0)

    def _means(self, values: Values) -> Values:
        """Return what arrives, spikes as their means over the steps."""
        flow = self.spiking.run.flow
        return {name: by_step(x, flow.steps).mean(0) if name in flow.neurons else x for name, x in values.items()}

    def _tensor(self, result: Any) -> Tensor:
        if not isinstance(result, Tensor):
            raise ConstraintError(
                f"tune_layers: the network returns a {type(result).__name__}; its last layer can be tuned where it "
                "returns one tensor",
                fix='skip="output"',
            )
        return result

    def _copies(self) -> list[Tensor]:
        return [t.detach().clone() for t in self.state]

    @torch.no_grad()
    def _restore(self, copies: Sequence[Tensor]) -> None:
        for t, old in zip(self.state, copies, strict=True):
            t.copy_(old)
