"""How a spike-element-wise block joins its branch and its shortcut: spikes with spikes, after the last neuron."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.layers import plain

Connect = Literal["add", "and", "iand"]
"""The functions of Fang et al. 2021, table 1."""


@checked
class SpikeElementWise(nn.Module):
    """Join the spikes ``a`` of a residual branch and ``s`` of its shortcut, element by element.

        add     a + s           whole numbers, which layers after it read as they are: 2 where both fire
        and     a * s           1 where both fire
        iand    (1 - a) * s     1 where the shortcut fires and the branch does not

    A branch that never fires makes ``add`` and ``iand`` the identity; one that always fires makes ``and`` the identity.
    Spikes are 0 or 1 for ``and`` and ``iand``: ``bs.lower`` refuses anything else, such as what ``add`` sends.

    Args:
        connect: which of the three.

    Shape: two tensors [T, N, ...] of one shape to the same. Neither is changed in place.

    Raises:
        ConstraintError: an unknown function, or two shapes.

    Source: Fang et al., NeurIPS 2021, arXiv 2102.04159, table 1.

    Example:
        >>> import torch
        >>> a, s = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 1.0])
        >>> for connect in ("add", "and", "iand"):
        ...     print(SpikeElementWise(connect)(a, s).tolist())
        [0.0, 1.0, 1.0, 2.0]
        [0.0, 0.0, 0.0, 1.0]
        [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, connect: Connect = "add") -> None:
        super().__init__()
        if connect not in get_args(Connect):
            raise ConstraintError(
                f"SpikeElementWise(connect={connect!r}): allowed are 'add', 'and' and 'iand'", fix="connect='add'"
            )
        self.connect: Connect = connect

    @property
    def fires(self) -> bool:
        """Whether it sends 0 and 1 only, as a neuron does."""
        return self.connect != "add"

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        if plain(a) and plain(s) and a.shape != s.shape:
            raise ConstraintError(
                f"SpikeElementWise got a branch of {list(a.shape)} and a shortcut of {list(s.shape)}: needed is one "
                "shape",
                fix="a layer and a neuron as shortcut, which bring its input to the shape of the branch",
            )
        if self.connect == "add":
            return a + s
        return a * s if self.connect == "and" else (1 - a) * s

    def extra_repr(self) -> str:
        return repr(self.connect)
