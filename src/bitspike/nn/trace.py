"""Follow the data through a model: a torch.fx graph whose leaves are the modules that Bitspike understands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, fx, nn

from bitspike.errors import LoweringError
from bitspike.nn import Encoder, Neuron, OverTime, QuantReLU, RateReadout, SumReadout, TimeDistributed, TimeLast
from bitspike.nn.arrange import Pad, Permute, Reshape, Slice, Upsample
from bitspike.nn.counts import Burst, Codes, CountMaxPool, Gain, SumPool
from bitspike.nn.element_wise import SpikeElementWise
from bitspike.nn.loops import time_in_forward
from bitspike.nn.norms.base import AffineNorm
from bitspike.nn.synapse import Synapse

LEAVES = (
    Encoder, Neuron, QuantReLU, TimeDistributed, TimeLast, RateReadout, SumReadout, AffineNorm, OverTime,
    Pad, Permute, Reshape, Slice, Upsample, Burst, Codes, CountMaxPool, Gain, SpikeElementWise, SumPool, Synapse,
)  # fmt: skip


class Tracer(fx.Tracer):
    """Stops at torch's own layers and at the modules of :mod:`bitspike.nn`; looks into everything else."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is one node of the graph."""
        plain = m.__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential)
        # torch gives a layer with a parametrized weight a class of its own; it still is the layer.
        layer = isinstance(m, nn.modules.conv._ConvNd | nn.Linear)
        return plain or layer or isinstance(m, LEAVES)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for the length of a block; afterwards every module has its own mode back.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with evaluation(model):
        ...     [m.training for m in model]
        [False, False]
        >>> [m.training for m in model]
        [True, False]
    """
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def listening(model: nn.Module, hear: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``hear(path, spikes [T, N, ...])`` after every call of what fires in a model, for the length of a block.

    Neurons fire, and so does a :class:`~bitspike.nn.SpikeElementWise` whose integers are those of a neuron.
    """

    def hook(path: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, spikes: hear(path, spikes)

    handles = [m.register_forward_hook(hook(path)) for path, m in model.named_modules() if fires(m)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fires(module: nn.Module) -> bool:
    """Tell whether a module sends spikes of neurons."""
    return isinstance(module, Neuron) or (isinstance(module, SpikeElementWise) and module.fires)


def trace(model: nn.Module) -> fx.Graph:
    """Return the graph of a model.

    Args:
        model: its forward must not branch on the values or shapes of tensors.

    Raises:
        LoweringError: the model cannot be followed; the message has the reason and the way out.

    Example:
        >>> [n.op for n in trace(nn.Sequential(nn.Flatten())).nodes]
        ['placeholder', 'call_module', 'output']
    """
    try:
        return Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, NameError, AttributeError) as error:
        if (reason := time_in_forward(model, error, converts=False)) is not None:
            raise LoweringError(f"{type(model).__name__} cannot be followed: {reason[0]}", fix=reason[1]) from error
        raise LoweringError(
            f"{type(model).__name__} cannot be followed: {error}",
            fix="keep branches on tensors out of forward, or move them before or after the network",
        ) from error
