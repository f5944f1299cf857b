"""How much a network's outputs change when one layer gets fewer bits: measured by running it, without labels.

    loss[layer][bits] = mean over images of KL( softmax(reference) || softmax(network with these bits of this layer) )

All other layers stay as fine as they can be, in the reference too, and so do the activations: with few levels of
activations the levels that flip hide what the weights do. The sum over layers predicts the loss of a mixture as long
as the layers' errors do not meet; where every layer has few bits they do, and without training nothing is left of the
outputs that the sum could predict. That is why layers are not measured around a network of few bits.

Source: the KL divergence of outputs as sensitivity after Cai et al., ZeroQ, CVPR 2020 (arXiv 2001.00281).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.conversion.mixed.variants import FINEST_STEPS, Variants
from bitspike.errors import ConstraintError

FINEST_BITS = 16
"""Bits of a weight that is as good as real."""


@dataclass(frozen=True)
class Sensitivity:
    """What fewer bits, and fewer steps, change about a network's outputs.

    Args:
        losses: KL divergence in nats, by layer and bits.
        steps: the same by T, with all weights as fine as can be; empty where it was not asked for.
        images: that were run.
        passes: of one image through the network, over all measurements.
    """

    losses: Mapping[str, Mapping[int, float]]
    steps: Mapping[int, float]
    images: int
    passes: int


def passes_for(variants: Variants, *, bits: Sequence[int], steps: Sequence[int] = (), images: int) -> int:
    """Return how many passes of one image a measurement takes."""
    return (1 + len(variants.weights) * len(bits) + len(steps)) * images


@torch.no_grad()
def sensitivity(
    variants: Variants, images: Iterable[Tensor], *, bits: Sequence[int], steps: Sequence[int] = ()
) -> Sensitivity:
    """Measure every layer with every number of bits, one at a time, and the whole network with every T.

    Args:
        variants: the network.
        images: batches as the network takes them; labels are not needed.
        bits: that each layer may have.
        steps: that the network may have.

    Raises:
        ConstraintError: there are no images, or the network returns something else than one row of scores an image.

    Example:
        >>> from bitspike.conversion.finetune.prepare import prepare
        >>> from bitspike.conversion.mixed.variants import variants_of
        >>> _ = torch.manual_seed(0)
        >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> images = torch.rand(32, 4)
        >>> measured = sensitivity(variants_of(prepare(ann, images, calibrate=images)), [images], bits=[2, 8])
        >>> measured.losses["2"][2] > measured.losses["2"][8] > 0, measured.passes
        (True, 96)
    """
    batches = list(images)
    if not batches or not sum(len(batch) for batch in batches):
        raise ConstraintError("sensitivity: there are no images to measure on", fix="some hundred training images")
    finest = dict.fromkeys(variants.weights, FINEST_BITS)
    reference = _outputs(variants.build(finest, FINEST_STEPS), batches)

    def loss(changed: Mapping[str, int], t: int = FINEST_STEPS) -> float:
        return divergence(reference, _outputs(variants.build({**finest, **changed}, t), batches))

    return Sensitivity(
        losses={path: {b: loss({path: b}) for b in bits} for path in variants.weights},
        steps={t: loss({}, t) for t in steps},
        images=sum(len(batch) for batch in batches),
        passes=passes_for(variants, bits=bits, steps=steps, images=sum(len(batch) for batch in batches)),
    )


def divergence(reference: Tensor, outputs: Tensor) -> float:
    """Return the mean KL divergence in nats of the softmax of two tensors of scores, [N, classes].

    Example:
        >>> divergence(torch.zeros(1, 2), torch.tensor([[0.0, 100.0]])), divergence(torch.ones(3, 2), torch.zeros(3, 2))
        (49.30685..., 0.0)
    """
    p, q = (F.log_softmax(x.double(), 1) for x in (reference, outputs))
    return float(F.kl_div(q, p, log_target=True, reduction="batchmean"))


def _outputs(network: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    outputs = [network(batch) for batch in batches]
    first = outputs[0]
    if not (isinstance(first, Tensor) and first.dim() == 2 and first.shape[1] > 1):
        what = f"shape {list(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        raise ConstraintError(
            f"sensitivity: the network returns {what}; one row of scores for each image is needed, [N, classes]",
            fix="a network that classifies",
        )
    return torch.cat(outputs)
