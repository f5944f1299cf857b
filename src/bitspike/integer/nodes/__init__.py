"""The kinds of nodes that an integer network is made of, one file a family."""

from bitspike.integer.arithmetic import Integers, Reals, Shape, Whole, multipliers, per_channel, still, window_shape
from bitspike.integer.nodes.base import Gained, Node
from bitspike.integer.nodes.border import Coding, Input, Readout
from bitspike.integer.nodes.few_bits import FewBitNeuron
from bitspike.integer.nodes.moves import Concat, Move, Pad, Reshape, Slice, Transpose, Upsample
from bitspike.integer.nodes.neuron import Neuron
from bitspike.integer.nodes.pools import CountMaxPool, MaxPool, Pool, SumPool
from bitspike.integer.nodes.sums import Add, Burst
from bitspike.integer.nodes.synapse import Synapse
from bitspike.integer.nodes.weighted import Convolution, Linear, TransposedConvolution, Weight, Weighted
from bitspike.ops.grids import Dyadic, Fire, Grid, Reset, Rounding

KINDS: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        Input, Convolution, TransposedConvolution, Linear, SumPool, MaxPool, CountMaxPool, Add, Concat, Slice, Upsample,
        Pad, Transpose, Reshape, Burst, Synapse, Neuron, FewBitNeuron, Readout,
    )
}  # fmt: skip
"""Every kind of node by its name, which is also its name in a saved package."""
